"""A libvirtd in namespaces of the test run's own, an image of one mebibyte, and an sshd that leads to it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from nodeset_driver_libvirt import LibvirtDriver, create_driver
from testbed.libvirt_host import POOL_BYTES, LibvirtHost, Requests, SshDoor
from testbed.libvirt_proxy import LibvirtProxy
from testbed.libvirtd import Libvirtd


@pytest.fixture(scope="session")
def libvirt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtHost]:
    missing = Libvirtd.missing()
    if missing:
        pytest.skip(missing)
    pytest.importorskip(
        "libvirt", reason="libvirt-python is not installed: run tools/install-libvirt.sh, then make setup"
    )
    with Libvirtd(tmp_path_factory.mktemp("libvirt"), pool_bytes=POOL_BYTES) as daemon:
        host = LibvirtHost(daemon)
        host.prepare()
        yield host


@pytest.fixture
def proxy(libvirt: LibvirtHost) -> Iterator[LibvirtProxy]:
    with LibvirtProxy(libvirt.daemon.socket) as proxy:
        yield proxy


@pytest.fixture
async def driver() -> AsyncIterator[LibvirtDriver]:
    driver = create_driver({})
    yield driver
    await driver.close()


@pytest.fixture
def requests(libvirt: LibvirtHost, proxy: LibvirtProxy) -> Iterator[Requests]:
    """Through the proxy; their machines are gone afterwards."""
    yield Requests(libvirt.config(proxy.uri))
    libvirt.sweep()


@pytest.fixture(scope="session")
def ssh_door(libvirt: LibvirtHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshDoor]:
    if SshDoor.missing():
        pytest.skip(SshDoor.missing())
    with SshDoor(libvirt.daemon, tmp_path_factory.mktemp("sshd")) as door:
        yield door
