"""What hosts say (errors, consoles, addresses, capabilities) becomes what people and controllers can use."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodeset_driver_libvirt.config import parse_config
from nodeset_driver_libvirt.console import plain_end
from nodeset_driver_libvirt.failures import Code, call_failure, connect_failure, start_failure
from nodeset_driver_libvirt.guests import read_guests
from nodeset_driver_libvirt.identity import NAMESPACE, Belonging
from nodeset_driver_libvirt.library import Domain, Libvirt, LibvirtError
from nodeset_driver_libvirt.sightings import Sighting, sight, usable_addresses

from nodeset_provider.driverkit.contract import InstanceState
from nodeset_provider.driverkit.errors import (
    DriverError,
    InsufficientCapacity,
    InvalidSpec,
    Transient,
    Unauthorized,
)

CAPABILITIES = """<capabilities><guest><os_type>hvm</os_type><arch name='x86_64'>
<machine maxCpus='255'>pc-i440fx-7.2</machine><machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine>
<domain type='qemu'/><domain type='kvm'/></arch></guest>
<guest><arch name='aarch64'><machine>virt</machine></arch></guest>
</capabilities>"""


@pytest.mark.parametrize(
    ("code", "message", "kind", "hint"),
    [
        (38, "Cannot recv data: Host key verification failed.: Connection reset by peer", Unauthorized, "ssh-keyscan"),
        (
            38,
            "Cannot recv data: u@h: Permission denied (publickey).: Connection reset",
            Unauthorized,
            "authorized_keys",
        ),
        (38, "Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied", Unauthorized, "group"),
        (38, 'Cannot recv data: Load key "/x/key": error in libcrypto', Unauthorized, "passphrase"),
        (45, "authentication failed: no agent is available", Unauthorized, "no right"),
        (38, "Failed to connect socket to '/run/x': No such file or directory", Transient, "no connection"),
        (38, "Cannot recv data: ssh: Could not resolve hostname h: Connection reset", Transient, "resolve"),
    ],
)
def test_why_there_is_no_connection(code: int, message: str, kind: type[DriverError], hint: str) -> None:
    error = connect_failure(code, message, "host")
    assert type(error) is kind
    assert hint in error.message


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (Code.CONFIG_UNSUPPORTED, "unsupported configuration: no such thing", InvalidSpec),
        (Code.ACCESS_DENIED, "access denied", Unauthorized),
        (Code.SYSTEM_ERROR, "cannot create file: No space left on device", InsufficientCapacity),
        (Code.INTERNAL_ERROR, "cannot set up guest memory 'pc.ram': Cannot allocate memory", InsufficientCapacity),
        (Code.INTERNAL_ERROR, "something new", Transient),
        (4711, "something newer", Transient),
    ],
)
def test_what_a_failed_call_means(code: int, message: str, kind: type[DriverError]) -> None:
    assert type(call_failure(code, message, "host")) is kind


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Cannot get interface MTU on 'br7': No such device", "bridge"),
        ("Requested operation is not valid: network 'default' is not active", "network"),
        ("operation failed: Unable to find any firmware to satisfy 'efi'", "firmware"),
        ("internal error: process exited while connecting to monitor: qemu-system-x86_64: no", "extraXML"),
    ],
)
def test_why_a_machine_was_not_started(message: str, field: str) -> None:
    error = start_failure(1, message, "host", bridge="br7", extra=True)
    assert isinstance(error, InvalidSpec)
    assert error.field == field


@given(st.text(max_size=3000))
def test_message_of_any_kind_is_one_line_that_can_be_read(message: str) -> None:
    said = call_failure(1, message, "host").message
    assert said.isprintable()
    assert len(said) < 600


@given(st.binary(max_size=4000), st.integers(1, 300))
def test_end_of_a_console_is_short_and_printable(console: bytes, limit: int) -> None:
    end = plain_end(console, limit)
    assert len(end) <= limit
    assert end.replace("\n", "").isprintable() or end == ""


def test_end_of_a_console_has_no_colours_no_redrawn_bars_no_empty_lines() -> None:
    console = b"old\r\n\x1b[0;32m  OK  \x1b[0m Started \x1b]0;title\x07it\r\n\r\n10%\r50%\r100%\r\nlogin: \x00\xff"
    assert plain_end(console, 200) == "old\n  OK   Started it\n100%\nlogin: \ufffd"
    assert plain_end(console, 16) == "100%\nlogin: \ufffd"


def test_line_that_is_written_over_and_over_is_there_once() -> None:
    """As systemd's of a job that it waits for; the last state of it stays."""
    job = b"[ %s ] Job network running (%ds)\r\n"
    console = b"before\r\n" + job % (b"*", 1)
    for number in range(2, 9):
        console += b"\x1bM\r\x1b[K" + job % (b"*" * number, number)
    assert plain_end(console + b"\x1bM\r\x1b[K[  OK  ] Network\r\nafter", 200) == "before\n[  OK  ] Network\nafter"


def test_last_line_that_is_too_long_is_cut_at_its_front() -> None:
    assert plain_end(b"0123456789", 4) == "6789"


def test_addresses_are_of_the_machines_own_interfaces() -> None:
    interfaces = {
        "lo": {"hwaddr": "00:00:00:00:00:00", "addrs": [{"addr": "127.0.0.1"}]},
        "eth0": {
            "hwaddr": "52:AA:00:00:00:01",
            "addrs": [{"addr": "fd00::5"}, {"addr": "10.0.0.5"}, {"addr": "fe80::1"}, {"addr": "nonsense"}],
        },
        "cni0": {"hwaddr": "aa:aa:aa:aa:aa:aa", "addrs": [{"addr": "10.244.0.1"}]},
        "down": {"hwaddr": "52:aa:00:00:00:01", "addrs": None},
    }
    found = usable_addresses(interfaces, frozenset({"52:aa:00:00:00:01"}))
    assert [(address.type, address.address) for address in found] == [
        ("InternalIP", "10.0.0.5"),
        ("InternalIP", "fd00::5"),
    ]


def test_machine_cannot_fill_a_status_with_addresses() -> None:
    interfaces = {"eth0": {"hwaddr": "52:aa:00:00:00:01", "addrs": [{"addr": f"10.0.0.{n}"} for n in range(200)]}}
    assert len(usable_addresses(interfaces, frozenset({"52:aa:00:00:00:01"}))) == 16


class Guest:
    """A running machine of ours on a bridge, whose agent answers ``guest-sync`` and nothing after it."""

    XML = f"""<domain type='kvm'><metadata>
      <n:machine xmlns:n='{NAMESPACE}' cluster='c' machine='m' token='t' pool='p' created='0' started='yes'/></metadata>
      <devices><interface><mac address='52:aa:00:00:00:01'/></interface>
      <channel><target name='org.qemu.guest_agent.0' state='connected'/></channel></devices></domain>"""

    def __init__(self) -> None:
        self.patience = -2  # libvirt waits for ever unless it is told otherwise

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802 - libvirt's name
        return self.XML

    def state(self, _flags: int) -> list[int]:
        return [1, 1]

    def agentSetResponseTimeout(self, timeout: int, _flags: int) -> int:  # noqa: N802 - libvirt's name
        self.patience = timeout
        return 0

    def interfaceAddresses(self, source: int, _flags: int) -> dict[str, Any]:  # noqa: N802 - libvirt's name
        if source == 1:
            assert 0 < self.patience <= 5, "a thread would wait here for as long as the guest likes"
            raise LibvirtError
        return {"eth0": {"hwaddr": "52:aa:00:00:00:01", "addrs": [{"addr": "10.0.0.5"}]}} if source == 2 else {}


def test_guest_whose_agent_never_answers_holds_nobody_up() -> None:
    libvirt = SimpleNamespace(
        libvirtError=LibvirtError,
        VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE=0,
        VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT=1,
        VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP=2,
    )
    found = sight(cast("Libvirt", libvirt), cast("Domain", Guest()))
    assert found is not None
    assert [address.address for address in found.addresses] == ["10.0.0.5"]


def sighting(*, active: bool, started: bool, state: int = 1, reason: int = 1) -> Sighting:
    owner = Belonging(cluster="c", machine="m", token="t", pool="p", created_at=0.0, started=started)
    return Sighting(belonging=owner, active=active, state=state, reason=reason, kvm=False, addresses=())


def test_machine_exists_once_it_has_been_started() -> None:
    begun = sighting(active=False, started=False, state=5)
    assert (begun.exists, begun.instance().state) == (False, InstanceState.CREATING)
    assert sighting(active=True, started=False).exists  # a crash between the start and its mark


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (sighting(active=False, started=True, state=5, reason=1), "powered itself off"),
        (sighting(active=False, started=True, state=5, reason=3), "crashed"),
        (sighting(active=False, started=True, state=5, reason=0), "restart of its host"),
        (sighting(active=True, started=True, state=3, reason=5), "pool is full"),
        (sighting(active=True, started=True, state=6), "crashed"),
    ],
)
def test_machine_that_will_never_run_has_failed_and_says_why(one: Sighting, words: str) -> None:
    assert one.instance().state is InstanceState.FAILED
    assert words in one.instance().message
    assert words in one.describe()


def test_host_says_which_machine_types_it_has() -> None:
    guests = read_guests(CAPABILITIES)
    assert guests.kvm
    good = {"image": "i", "memory": "1Gi", "vcpus": 2}
    guests.check(parse_config({**good, "machine": "pc-q35-7.2", "vcpus": 288}), "host")
    with pytest.raises(InvalidSpec, match="q35") as unknown:
        guests.check(parse_config({**good, "machine": "q36"}), "host")
    with pytest.raises(InvalidSpec, match="288") as many:
        guests.check(parse_config({**good, "vcpus": 289}), "host")
    assert (unknown.value.field, many.value.field) == ("machine", "vcpus")
    with pytest.raises(InvalidSpec, match="no QEMU"):
        read_guests("<capabilities/>").check(parse_config(good), "host")
