"""The config of driver libvirt is read strictly, and what is wrong in it is named with the remedy."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodeset_driver_libvirt import create_driver
from nodeset_driver_libvirt.config import parse_config, parse_location
from nodeset_driver_libvirt.credentials import Credentials, parse_credentials
from nodeset_driver_libvirt.sizes import GIB, MIB, human, parse_size
from nodeset_driver_libvirt.uri import parse_uri

from nodeset_provider.driverkit.errors import DriverError, InvalidSpec

GOOD: dict[str, Any] = {"image": "debian.qcow2", "memory": "2Gi", "vcpus": 2}
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n"


def test_least_config_has_the_usual_places() -> None:
    config = parse_config(GOOD)
    assert (config.target.uri, config.pool, config.network_name, config.memory_bytes, config.disk_bytes) == (
        "qemu:///system",
        "default",
        "default",
        2 * GIB,
        0,
    )
    assert parse_config({**GOOD, "bridge": "br0"}).network_name == ""


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        ({"memroy": "1Gi"}, "memroy", "did you mean memory"),
        ({"password": "x"}, "password", "known are"),
        ({"image": ""}, "image", "is missing"),
        ({"image": "../../etc/shadow"}, "image", "name of a volume"),
        ({"image": ".hidden"}, "image", "name of a volume"),
        ({"image": 7}, "image", "Expected"),
        ({"memory": "2 GB"}, "memory", "2Gi"),
        ({"memory": "1Mi"}, "memory", "32 MiB"),
        ({"memory": -5}, "memory", "is no size"),
        ({"vcpus": 0}, "vcpus", "from 1"),
        ({"vcpus": "two"}, "vcpus", "Expected"),
        ({"disk": "lots"}, "disk", "is no size"),
        ({"pool": "a/b"}, "pool", "virsh pool-list"),
        ({"network": "a b"}, "network", "virsh net-list"),
        ({"bridge": "x" * 16}, "bridge", "bridge"),
        ({"bridge": "br0", "network": "default"}, "bridge", "exclude"),
        ({"initrd": "initrd.img"}, "initrd", "kernel"),
        ({"kernelCommandLine": "quiet"}, "kernelCommandLine", "kernel"),
        ({"kernel": "k", "kernelCommandLine": "a\nb"}, "kernelCommandLine", "one line"),
        ({"acceleration": "yes"}, "acceleration", "Invalid enum"),
        ({"firmware": "uefi"}, "firmware", "Invalid enum"),
        ({"zone": "Zürich 1"}, "zone", "label"),
        ({"extraXML": {"device": ""}}, "extraXML", "device"),
        ({"extraXML": {"devices": "<a>"}}, "extraXML.devices", "well-formed"),
        ({"extraXML": {"devices": "a"}}, "extraXML.devices", "outside"),
        ({"extraXML": {"devices": "</fragment><b/><fragment>"}}, "extraXML.devices", "well-formed"),
        ({"extraXML": {"devices": "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"}}, "extraXML.devices", "well-formed"),
        ({"extraXML": {"domain": "<uuid>x</uuid>"}}, "extraXML.domain", "<uuid>"),
        ({"extraXML": {"domain": "<devices/>"}}, "extraXML.domain", "extraXML.devices"),
        ({"uri": "xen:///system"}, "uri", "qemu"),
    ],
    ids=str,
)
def test_wrong_config_names_the_field_and_the_remedy(change: dict[str, Any], field: str, hint: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        parse_config({**GOOD, **change})
    assert error.value.field.startswith(field)
    assert hint in error.value.message


@pytest.mark.parametrize("key", ["image", "memory", "vcpus"])
def test_required_key_that_is_missing_is_named(key: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        parse_config({name: value for name, value in GOOD.items() if name != key})
    assert error.value.field == key


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from([*GOOD, "uri", "disk", "pool", "kernel", "extraXML", "zone"]) | st.text(), JSON))
def test_whatever_is_written_is_a_config_or_refused(change: dict[str, Any]) -> None:
    try:
        parse_config({**GOOD, **change})
    except InvalidSpec as error:
        assert error.message  # noqa: PT017 - any other exception fails the test


def test_machine_is_found_whatever_else_is_wrong_in_its_config() -> None:
    location = parse_location({"uri": "qemu+ssh://u@h:22/system", "pool": "fast", "memory": "?", "gone": 1})
    assert (location.target.host, location.pool) == ("h", "fast")
    assert parse_location({}).target.uri == "qemu:///system"


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system",
        "qemu:///session",
        "qemu+unix:///system?socket=/run/other/libvirt-sock",
        "qemu+ssh://root@host.example.com/system",
        "qemu+ssh://host:2222/system",
        "qemu+ssh://u@[fd00::1]:22/system?socket=/run/l",
    ],
)
def test_served_uri_stays_as_it_is(uri: str) -> None:
    assert parse_uri(uri).uri == uri
    assert parse_uri(parse_uri(uri).uri) == parse_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "qemu+ssh:///system",
        "qemu+ssh://h/system?command=/bin/evil",
        "qemu+ssh://h/system?no_verify=1",
        "qemu+ssh://h/system?socket=/a&keyfile=/etc/shadow",
        "qemu+ssh://h/system?socket=/a;b",
        "qemu+ssh://-oProxyCommand=evil/system",
        "qemu+ssh://-l@h/system",
        "qemu+ssh://u:pa55word@h/system",
        "qemu+ssh://h:port/system",
        "qemu+ext://h/system",
        "qemu+tcp://h/system",
        "qemu://h/system",
        "qemu:///system#x",
        "qemu:///etc",
    ],
)
def test_uri_that_can_do_more_than_name_a_host_is_refused(uri: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        parse_uri(uri)
    assert error.value.field == "uri"
    assert "pa55word" not in error.value.message


@given(st.text() | st.from_regex(r"qemu(\+ssh|\+unix)?://[ -~]{0,30}/system(\?socket=[ -~]{0,20})?", fullmatch=True))
def test_uri_is_read_or_refused_and_what_is_read_holds_nothing_for_a_shell(text: str) -> None:
    try:
        target = parse_uri(text)
    except InvalidSpec:
        return
    assert not set(target.user + target.host + target.socket) & set(" '\"$`;|&<>\\\n*?()")
    assert not target.host.startswith("-")
    assert not target.user.startswith("-")


@given(st.integers(min_value=0, max_value=2**50))
def test_size_in_any_unit_is_bytes(size: int) -> None:
    assert parse_size(size) == parse_size(str(size)) == size
    assert parse_size(f"{size}Ki") == size * 1024


def test_sizes() -> None:
    assert (parse_size("1.5Gi"), parse_size("2k"), human(1536 * MIB), human(5)) == (
        1536 * MIB,
        2000,
        "1.5 GiB",
        "5 bytes",
    )


def test_credentials_are_in_no_text() -> None:
    credentials = parse_credentials(
        {"ssh-privatekey": KEY.encode(), "known_hosts": b"h ssh-ed25519 AAAA", "more": b"x"}
    )
    assert "b3Bl" not in repr(credentials)
    assert credentials.private_key.endswith("-----\n")
    credentials.require_ssh()


@pytest.mark.parametrize(
    "value", [b"ssh-ed25519 AAAA user", b"\xff\xfe", b"-----BEGIN X PRIVATE KEY-----\n\0"], ids=str
)
def test_key_that_is_none_is_refused_without_showing_it(value: bytes) -> None:
    with pytest.raises(InvalidSpec) as error:
        parse_credentials({"ssh-privatekey": value})
    assert error.value.field == "ssh-privatekey"
    assert "AAAA" not in error.value.message


def test_ssh_without_a_secret_says_what_belongs_into_it() -> None:
    with pytest.raises(InvalidSpec, match="ssh-privatekey and known_hosts"):
        Credentials().require_ssh()


def test_missing_library_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)  # as where it is not installed
    with pytest.raises(DriverError, match=r"libvirt-dev.*pip install libvirt-python") as error:
        create_driver({})
    assert error.value.code == "InvalidSpec"
