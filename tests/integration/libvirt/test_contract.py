"""The libvirt driver keeps the driver contract on a real libvirtd, through its socket and over SSH."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nodeset_driver_libvirt import create_driver
from testbed.libvirt_host import LibvirtHost, SshDoor
from testbed.libvirt_proxy import DOMAIN_CREATE, DOMAIN_UNDEFINE_FLAGS, Cut, LibvirtProxy

pytest.register_assert_rewrite("nodeset_provider.driverkit.conformance.rules")

from nodeset_provider.driverkit.conformance import ContractTests, Harness  # noqa: E402
from nodeset_provider.driverkit.contract import Driver  # noqa: E402
from nodeset_provider.driverkit.errors import DriverError, InsufficientCapacity, Transient  # noqa: E402

FILLER = "filler.img"


class LibvirtHarness(Harness):
    patience = 120.0

    def __init__(self, host: LibvirtHost, proxy: LibvirtProxy, uri: str, door: SshDoor | None) -> None:
        super().__init__()
        self._host = host
        self._proxy = proxy
        self._door = door
        self._filled = False
        self.config = host.config(uri)
        self.secrets = (door.key.splitlines()[2], door.other_key.splitlines()[2]) if door else ("no secret is needed",)
        self.wrong_configs = (
            ({**self.config, "memroy": "1Gi"}, "memroy"),
            ({**self.config, "image": "none.img"}, "image"),
            ({**self.config, "image": "/nowhere/none.img"}, "image"),
            ({**self.config, "kernel": "no-kernel"}, "kernel"),
            ({**self.config, "pool": "moon"}, "pool"),
            ({**self.config, "network": "moon"}, "network"),
            ({**self.config, "machine": "q36"}, "machine"),
            ({**self.config, "vcpus": 400}, "vcpus"),
            ({**self.config, "memory": "15Ti"}, "memory"),
            ({**self.config, "disk": "1Ti"}, "disk"),
            ({**self.config, "disk": 1 << 19}, "disk"),
            ({key: value for key, value in self.config.items() if key != "image"}, "image"),
            ({**self.config, "uri": "qemu+ssh://h/system?command=/bin/true"}, "uri"),
        )

    def make_driver(self) -> Driver:
        return create_driver(self._door.credentials() if self._door else {})

    def make_driver_with_wrong_credentials(self) -> Driver:
        if self._door is None:
            pytest.skip("a UNIX socket asks for no credentials")
        return create_driver({**self._door.credentials(), "ssh-privatekey": self._door.other_key.encode()})

    async def machines(self, token: str) -> int:
        return len(self._host.domains(token))

    async def billed(self, token: str) -> int:
        return len(self._host.domains(token)) + len(self._host.volumes(token))

    async def lose_answer(self, operation: str) -> None:
        procedure = DOMAIN_CREATE if operation == "create" else DOMAIN_UNDEFINE_FLAGS
        self._proxy.cut(Cut("after", procedure))

    async def leave_side_resource(self) -> None:
        """libvirt leaves every volume; and what a log daemon puts beside the console's log is known to nobody."""
        [name] = [name for name in self._host.volumes() if name.endswith("-console.log")]
        self._host.daemon.virsh("vol-create-as", "default", f"{name}.0", "4096", "--format", "raw")

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        self._proxy.refuse(refusing=True)
        yield
        self._proxy.refuse(refusing=False)

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        self._proxy.hold()
        yield
        self._proxy.resume()

    async def refuse(self, error: type[DriverError]) -> None:
        if error is InsufficientCapacity:
            available = int(self._host.daemon.virsh("pool-info", "default", "--bytes").split()[-1])
            self._host.daemon.virsh("vol-create-as", "default", FILLER, str(available - (1 << 20)), "--format", "raw")
            self._filled = True
        elif error is Transient:
            self._proxy.cut(Cut("before", DOMAIN_CREATE))
        else:
            pytest.skip("libvirt knows no quota and no rate limit")

    def restore(self) -> None:
        """Leave the host as it was."""
        if self._filled:
            self._host.daemon.virsh("vol-delete", "--pool", "default", FILLER)
        self._host.sweep()


@pytest.fixture(params=["socket", "ssh"])
async def harness(
    request: pytest.FixtureRequest, libvirt: LibvirtHost, proxy: LibvirtProxy
) -> AsyncIterator[LibvirtHarness]:
    door = request.getfixturevalue("ssh_door") if request.param == "ssh" else None
    uri = door.uri(proxy.socket) if door else proxy.uri
    async with LibvirtHarness(libvirt, proxy, uri, door) as harness:
        yield harness
    harness.restore()


class TestContract(ContractTests):
    pass
