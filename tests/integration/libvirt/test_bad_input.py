"""What is wrong with a class or a host is said with its field and remedy; once it is mended, the next attempt works."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any, TypeVar

import pytest
from nodeset_driver_libvirt import ACCELERATION_LABEL, LibvirtDriver, create_driver
from nodeset_driver_libvirt.acceleration import TRIAL_PREFIX
from testbed.libvirt_host import LAST_OF_FIRMWARE, SPEAKING_FIRMWARE, LibvirtHost, Requests, SshDoor
from testbed.processes import wait_until

from nodeset_provider.driverkit.contract import CreateRequest, Deletion, InstanceState
from nodeset_provider.driverkit.errors import DriverError, InsufficientCapacity, InvalidSpec, Transient, Unauthorized

Refusal = TypeVar("Refusal", bound=DriverError)


async def refused(driver: LibvirtDriver, libvirt: LibvirtHost, request: CreateRequest, kind: type[Refusal]) -> Refusal:
    """The error of a create, after which nothing is left of it."""
    with pytest.raises(kind) as error:
        await driver.create(request)
    assert (libvirt.domains(request.token), libvirt.volumes(request.token)) == ([], [])
    return error.value


async def test_image_that_does_not_exist(driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests) -> None:
    error = await refused(driver, libvirt, requests.new(image="later.img"), InvalidSpec)
    assert error.field == "image"
    assert "virsh vol-list default" in error.message
    libvirt.daemon.virsh("vol-create-as", "default", "later.img", "1M", "--format", "raw")
    try:
        assert (await driver.create(requests.new(image="later.img"))).state is InstanceState.RUNNING
    finally:
        libvirt.sweep()
        libvirt.daemon.virsh("vol-delete", "--pool", "default", "later.img")


async def test_image_by_its_path(driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests) -> None:
    path = libvirt.daemon.virsh("vol-path", "--pool", "default", "base.img").strip()
    assert (await driver.create(requests.new(image=path))).state is InstanceState.RUNNING


async def test_network_that_is_down(driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests) -> None:
    libvirt.daemon.virsh("net-destroy", "default")
    try:
        with pytest.raises(InvalidSpec, match="virsh net-start default") as resolved:
            await driver.resolve(requests.config)
        assert resolved.value.field == "network"
        assert (await refused(driver, libvirt, requests.new(), InvalidSpec)).field == "network"
    finally:
        libvirt.daemon.virsh("net-start", "default")
    assert (await driver.create(requests.new())).state is InstanceState.RUNNING


async def test_pool_that_is_not_active(driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests) -> None:
    request = requests.new()
    await driver.create(request)
    libvirt.daemon.virsh("pool-destroy", "default")
    try:
        with pytest.raises(InvalidSpec, match="virsh pool-start default") as resolved:
            await driver.resolve(requests.config)
        assert resolved.value.field == "pool"
        with pytest.raises(DriverError):
            await driver.delete(requests.key(request))  # its volumes cannot be seen, so nobody may call it gone
    finally:
        libvirt.daemon.virsh("pool-start", "default")
    assert await driver.delete(requests.key(request)) is Deletion.GONE
    assert libvirt.volumes(request.token) == []


async def test_pool_that_is_full(driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests) -> None:
    available = int(libvirt.daemon.virsh("pool-info", "default", "--bytes").split()[-1])
    libvirt.daemon.virsh("vol-create-as", "default", "filler", str(available - (4 << 20)), "--format", "raw")
    try:
        error = await refused(driver, libvirt, requests.new(), InsufficientCapacity)
        assert "pool default" in error.message
        await refused(driver, libvirt, requests.new(overcommitDisk=True), InsufficientCapacity)
    finally:
        libvirt.daemon.virsh("vol-delete", "--pool", "default", "filler")
    assert (await driver.create(requests.new())).state is InstanceState.RUNNING


async def test_disks_that_may_still_grow_are_not_sold_twice(
    driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests
) -> None:
    """The overlays take some KiB at first; counted so, a pool of 64 MiB would take any number of them."""
    first = requests.new("first", disk="32Mi")
    await driver.create(first)
    error = await refused(driver, libvirt, requests.new("second", disk="32Mi"), InsufficientCapacity)
    assert "may still take" in error.message
    assert (await driver.create(requests.new("third", disk="32Mi", overcommitDisk=True))).state is InstanceState.RUNNING


async def test_host_without_memory(driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests) -> None:
    total = int(libvirt.daemon.virsh("nodememstats").split("total")[1].split()[1]) << 10
    error = await refused(driver, libvirt, requests.new(memory=total - (700 << 20)), InsufficientCapacity)
    assert "memory left" in error.message
    never = await refused(driver, libvirt, requests.new(memory=total), InvalidSpec)
    assert never.field == "memory"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bridge": "br-nowhere"}, "bridge"),
        ({"extraXML": {"devices": "<hostdev2/>"}}, "extraXML"),
        ({"extraXML": {"domain": "<qemu:commandline><qemu:arg value='-nonsense'/></qemu:commandline>"}}, "extraXML"),
        ({"kernel": "/nowhere/vmlinuz"}, "kernel"),
    ],
    ids=str,
)
async def test_what_the_host_refuses_names_its_field_and_leaves_nothing(
    driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests, change: dict[str, Any], field: str
) -> None:
    assert (await refused(driver, libvirt, requests.new(**change), InvalidSpec)).field == field


async def test_extra_xml_is_in_the_machine(driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests) -> None:
    request = requests.new(
        extraXML={
            "devices": "<watchdog model='i6300esb' action='reset'/>",
            "domain": "<features><hap state='off'/></features>",
        }
    )
    await driver.create(request)
    assert "<watchdog model='i6300esb'" in libvirt.daemon.virsh("dumpxml", request.token)
    assert "<hap state='off'/>" in libvirt.daemon.virsh("dumpxml", request.token)


async def test_machine_that_went_off_has_failed_and_says_why(
    driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests
) -> None:
    request = requests.new()
    await driver.create(request)
    libvirt.daemon.virsh("destroy", request.token)
    found = await driver.get(requests.key(request))
    assert found.state is InstanceState.FAILED
    assert "stopped the machine" in found.message
    assert (await driver.create(request)).state is InstanceState.FAILED  # it is never started a second time


async def test_diagnosis_is_the_end_of_the_console(
    driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests
) -> None:
    """The firmware itself is made to speak on the serial line; then, as a guest would, somebody writes to its end."""
    request = requests.new(extraXML={"domain": SPEAKING_FIRMWARE})
    await driver.create(request)
    async with asyncio.timeout(60):
        while LAST_OF_FIRMWARE not in await driver.diagnose(requests.key(request)):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.2)
    path = libvirt.daemon.virsh("vol-path", "--pool", "default", f"nodeset-{request.token}-console.log").strip()
    line = rf"printf '\033[31mkubelet: no such host\033[0m\r\n' >>{path}"
    await asyncio.to_thread(subprocess.run, [*libvirt.daemon.inside, "sh", "-c", line], check=True)
    said = (await driver.diagnose(requests.key(request))).splitlines()
    assert said[0].startswith("libvirt: running, emulated, without KVM")
    assert said[-2:] == [LAST_OF_FIRMWARE, "kubelet: no such host"]


async def test_kvm_is_used_only_where_a_machine_has_run_on_it(
    driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests
) -> None:
    offering = await driver.resolve({**requests.config, "acceleration": "auto"})
    assert not [name for name in libvirt.daemon.virsh("list", "--all", "--name").split() if TRIAL_PREFIX in name]
    request = requests.new(acceleration="auto")
    await driver.create(request)
    runs_on = "kvm" if "<domain type='kvm'" in libvirt.daemon.virsh("dumpxml", request.token) else "tcg"
    assert offering.labels[ACCELERATION_LABEL] == runs_on
    if runs_on == "tcg":
        with pytest.raises(InvalidSpec, match="no KVM that works") as demanded:
            await driver.resolve({**requests.config, "acceleration": "kvm"})
        assert demanded.value.field == "acceleration"


async def test_no_libvirtd_is_transient(driver: LibvirtDriver, requests: Requests, tmp_path: Path) -> None:
    with pytest.raises(Transient, match="no connection to libvirt"):
        await driver.resolve({**requests.config, "uri": f"qemu+unix:///system?socket={tmp_path}/none"})


async def test_ssh_without_the_secret_says_what_belongs_into_it(
    driver: LibvirtDriver, libvirt: LibvirtHost, ssh_door: SshDoor
) -> None:
    with pytest.raises(InvalidSpec, match="ssh-privatekey and known_hosts") as error:
        await driver.resolve(libvirt.config(ssh_door.uri(libvirt.daemon.socket)))
    assert error.value.field == "uri"


async def test_ssh_host_with_another_key_is_refused_and_no_key_is_shown_to_it(
    libvirt: LibvirtHost, ssh_door: SshDoor
) -> None:
    host, kind, _ = ssh_door.known_hosts.split()
    wrong = f"{host} {kind} AAAAC3NzaC1lZDI1NTE5AAAAIFZPsLvVtqEPtgZLhR6Qz0m6mSSBK0Fb7Qm6nFQ2nDxC\n"
    for known_hosts in (wrong, "other.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFZPsLvVtqEPtgZLhR6Qz0m6\n"):
        driver = create_driver({**ssh_door.credentials(), "known_hosts": known_hosts.encode()})
        with pytest.raises(Unauthorized, match="not among known_hosts"):
            await driver.resolve(libvirt.config(ssh_door.uri(libvirt.daemon.socket)))
        await driver.close()


async def test_key_is_on_disk_only_while_the_driver_is_open(
    libvirt: LibvirtHost, ssh_door: SshDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    driver = create_driver(ssh_door.credentials())
    await driver.resolve(libvirt.config(ssh_door.uri(libvirt.daemon.socket)))
    [folder] = tmp_path.iterdir()  # noqa: ASYNC240 - the test has its loop for itself
    assert {(path.name, oct(path.stat().st_mode & 0o777)) for path in folder.iterdir()} == {
        ("key", "0o600"),
        ("known_hosts", "0o600"),
        ("ssh", "0o700"),
    }
    assert folder.stat().st_mode & 0o077 == 0
    await driver.close()
    wait_until(lambda: not list(tmp_path.iterdir()), timeout=5, what="the files were gone")
