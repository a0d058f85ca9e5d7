"""A libvirtd in namespaces of the test run's own, an image of one mebibyte, and an sshd that leads to it."""

import os
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec

import pytest
from nodeset_driver_libvirt import LibvirtDriver, create_driver
from testbed.libvirt_host import POOL_BYTES, LibvirtHost, Requests, SshDoor
from testbed.libvirt_proxy import LibvirtProxy
from testbed.libvirtd import Libvirtd


def not_here(reason: str) -> None:
    """Skip the test, if there is a reason; in CI nothing may be skipped for such a one."""
    if reason and os.environ.get("CI"):
        pytest.fail(f"nothing may be skipped in CI, and {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def libvirt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtHost]:
    not_here(Libvirtd.missing())
    if find_spec("libvirt") is None:
        not_here("libvirt-python is not installed: run tools/install-libvirt.sh, then make setup")
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
    not_here(SshDoor.missing())
    with SshDoor(libvirt.daemon, tmp_path_factory.mktemp("sshd")) as door:
        yield door
