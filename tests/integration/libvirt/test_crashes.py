"""Whatever breaks off at whatever call, there is one machine in the end or none, and nothing that belongs to nobody."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from nodeset_driver_libvirt import LibvirtDriver, connection, create_driver
from testbed.libvirt_host import LibvirtHost, Requests
from testbed.libvirt_proxy import DOMAIN_CREATE, DOMAIN_DEFINE, VOLUME_CREATE, Cut, LibvirtProxy

from nodeset_provider.driverkit.contract import Deletion, InstanceState
from nodeset_provider.driverkit.errors import NotFound, Transient

CHANGES = {
    VOLUME_CREATE: "volume made",
    94: "volume deleted",
    DOMAIN_CREATE: "started",
    12: "stopped",
    208: "uploaded",
    231: "undefined",
    264: "marked",
    DOMAIN_DEFINE: "defined",
}
"""Procedures that change something (src/remote/remote_protocol.x)."""


async def changes_of_a_create(driver: LibvirtDriver, proxy: LibvirtProxy, requests: Requests) -> list[int]:
    proxy.record()
    await driver.create(requests.new())
    return [call for call in proxy.calls if call in CHANGES]


async def test_crash_after_any_change_of_a_create_leaves_one_machine(
    driver: LibvirtDriver, libvirt: LibvirtHost, proxy: LibvirtProxy, requests: Requests
) -> None:
    changes = await changes_of_a_create(driver, proxy, requests)
    assert [CHANGES[call] for call in changes] == [
        "defined",
        "volume made",
        "volume made",
        "volume made",
        "uploaded",
        "started",
        "marked",
    ]
    for number, call in enumerate(changes):
        request = requests.new()
        proxy.cut(Cut("after", call, nth=changes[: number + 1].count(call)))
        with pytest.raises(Transient):
            await driver.create(request)
        successor = create_driver({})
        found = [instance async for instance in successor.list(request.cluster, [request.config])]
        assert request.token in [instance.token for instance in found], CHANGES[call]  # nothing is without an owner
        made = await successor.create(request)
        assert made.state is InstanceState.RUNNING
        assert libvirt.domains(request.token) == [f"machine-1.{request.token}"]
        assert len(libvirt.volumes(request.token)) == 3
        await successor.delete(requests.key(request))
        await successor.close()


async def test_crash_after_any_change_of_a_create_is_undone_by_a_delete(
    driver: LibvirtDriver, libvirt: LibvirtHost, proxy: LibvirtProxy, requests: Requests
) -> None:
    changes = await changes_of_a_create(driver, proxy, requests)
    for number, call in enumerate(changes):
        request = requests.new()
        proxy.cut(Cut("after", call, nth=changes[: number + 1].count(call)))
        with pytest.raises(Transient):
            await driver.create(request)
        assert await driver.delete(requests.key(request)) is Deletion.GONE
        assert (libvirt.domains(request.token), libvirt.volumes(request.token)) == ([], []), CHANGES[call]


async def test_crash_after_any_change_of_a_delete_is_ended_by_the_next(
    driver: LibvirtDriver, libvirt: LibvirtHost, proxy: LibvirtProxy, requests: Requests
) -> None:
    request = requests.new()
    await driver.create(request)
    proxy.record()
    await driver.delete(requests.key(request))
    changes = [call for call in proxy.calls if call in CHANGES]
    assert [CHANGES[call] for call in changes] == ["stopped", *["volume deleted"] * 3, "undefined"]
    for number, call in enumerate(changes):
        request = requests.new()
        await driver.create(request)
        proxy.cut(Cut("after", call, nth=changes[: number + 1].count(call)))
        with pytest.raises(Transient):
            await driver.delete(requests.key(request))
        assert await driver.delete(requests.key(request)) is Deletion.GONE
        assert (libvirt.domains(request.token), libvirt.volumes(request.token)) == ([], []), CHANGES[call]


async def test_machine_that_was_begun_and_never_started_is_not_there_yet(
    driver: LibvirtDriver, proxy: LibvirtProxy, requests: Requests
) -> None:
    """Or nobody would ever start it: the controllers create again only what they do not find."""
    request = requests.new()
    proxy.cut(Cut("before", DOMAIN_CREATE))
    with pytest.raises(Transient):
        await driver.create(request)
    with pytest.raises(NotFound):
        await driver.get(requests.key(request))
    [begun] = [instance async for instance in driver.list(request.cluster, [request.config])]
    assert begun.state is InstanceState.CREATING


async def test_libvirtd_that_is_killed_during_creates_makes_each_machine_once_when_it_is_back(
    driver: LibvirtDriver, libvirt: LibvirtHost, proxy: LibvirtProxy, requests: Requests
) -> None:
    proxy.record()
    wanted = [requests.new(f"machine-{number}") for number in range(4)]
    creates = [asyncio.create_task(driver.create(request)) for request in wanted]
    await asyncio.to_thread(proxy.wait_for, VOLUME_CREATE)
    await asyncio.to_thread(libvirt.daemon.kill)
    outcomes = await asyncio.gather(*creates, return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, Transient)]
    for request in wanted:
        with pytest.raises(Transient):
            await driver.get(requests.key(request))
    await asyncio.to_thread(libvirt.daemon.start)
    for request in wanted:
        made = await driver.create(request)
        assert made.state is InstanceState.RUNNING
        assert len(libvirt.domains(request.token)) == 1
        assert len(libvirt.volumes(request.token)) == 3
    listed = [instance async for instance in driver.list(requests.cluster, [requests.config])]
    assert sorted(instance.token for instance in listed) == sorted(request.token for request in wanted)


async def test_host_that_answers_nothing_is_lost_after_a_while_and_found_again(
    driver: LibvirtDriver, proxy: LibvirtProxy, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr(connection, "KEEPALIVE_COUNT", 1)
    request = requests.new()
    await driver.create(request)
    proxy.hold()
    async with asyncio.timeout(20):
        with pytest.raises(Transient, match="was lost"):
            await driver.get(requests.key(request))
    proxy.resume()
    assert (await driver.get(requests.key(request))).state is InstanceState.RUNNING


async def test_disk_whose_making_was_broken_off_is_made_anew(
    driver: LibvirtDriver, libvirt: LibvirtHost, proxy: LibvirtProxy, requests: Requests
) -> None:
    request = requests.new()
    libvirt.daemon.virsh("vol-create-as", "default", f"nodeset-{request.token}.qcow2", "4096", "--format", "raw")
    await driver.create(request)
    kept = libvirt.daemon.virsh("vol-dumpxml", "--pool", "default", f"nodeset-{request.token}.qcow2")
    assert "<format type='qcow2'/>" in kept
    assert "base.img</path>" in kept


async def test_stray_volumes_of_a_token_go_with_a_delete_of_it(
    driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests
) -> None:
    """As a provider leaves them that was not ours, or an administrator who undefined the domain by hand."""
    request, other = requests.new(), requests.new("other")
    await driver.create(other)
    for name in (f"nodeset-{request.token}.qcow2", f"nodeset-{request.token}-seed.iso", "nodeset-of-somebody"):
        libvirt.daemon.virsh("vol-create-as", "default", name, "4096", "--format", "raw")
    assert await driver.delete(requests.key(request)) is Deletion.GONE
    assert libvirt.volumes(request.token) == []
    assert len(libvirt.volumes(other.token)) == 3
    assert {"base.img", "nodeset-of-somebody"} <= set(libvirt.volumes())


async def test_machine_whose_pool_was_undefined_is_not_gone_while_its_disks_are_there(
    driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests, tmp_path: Path
) -> None:
    request = requests.new()
    await driver.create(request)
    description = libvirt.daemon.virsh("pool-dumpxml", "default", "--inactive")
    libvirt.daemon.virsh("pool-destroy", "default")
    if "default" in libvirt.daemon.virsh("pool-list", "--all", "--name").split():
        libvirt.daemon.virsh("pool-undefine", "default")
    try:
        with pytest.raises(Transient, match=f"no pool default any more.*virsh undefine {request.token}"):
            await driver.delete(requests.key(request))
    finally:
        (tmp_path / "pool.xml").write_text(description)
        libvirt.daemon.virsh("pool-define", str(tmp_path / "pool.xml"))
        libvirt.daemon.virsh("pool-start", "default")
    assert await driver.delete(requests.key(request)) is Deletion.GONE
    assert (libvirt.domains(request.token), libvirt.volumes(request.token)) == ([], [])


async def test_host_that_is_down_does_not_hide_the_machines_of_the_others(
    driver: LibvirtDriver, requests: Requests, tmp_path: Path
) -> None:
    request = requests.new()
    await driver.create(request)
    nobody = {**request.config, "uri": f"qemu+unix:///system?socket={tmp_path}/nobody"}
    found: list[str] = []

    async def take() -> None:
        async for instance in driver.list(request.cluster, [nobody, request.config]):
            found.append(instance.token)  # noqa: PERF401 - it raises at its end

    with pytest.raises(Transient, match=r"not all hosts could be asked: .*/nobody"):
        await take()
    assert found == [request.token]


async def test_delete_waits_for_a_create_that_nobody_waits_for(
    driver: LibvirtDriver, libvirt: LibvirtHost, proxy: LibvirtProxy, requests: Requests
) -> None:
    """Else the create would make its machine after the delete had said that there is none."""
    request = requests.new()
    proxy.record()
    create = asyncio.create_task(driver.create(request))
    await asyncio.to_thread(proxy.wait_for, DOMAIN_DEFINE)
    proxy.hold()
    create.cancel()
    with suppress(asyncio.CancelledError):
        await create
    delete = asyncio.create_task(driver.delete(requests.key(request)))
    await asyncio.sleep(0.1)
    assert not delete.done()
    proxy.resume()
    assert await delete is Deletion.GONE
    await driver.resolve(request.config)
    assert (libvirt.domains(request.token), libvirt.volumes(request.token)) == ([], [])


async def test_image_stays_as_it_was(
    driver: LibvirtDriver, libvirt: LibvirtHost, requests: Requests, tmp_path: Path
) -> None:
    def content() -> bytes:
        libvirt.daemon.virsh("vol-download", "--pool", "default", "base.img", str(tmp_path / "copy"))
        return (tmp_path / "copy").read_bytes()

    before = content()
    request = requests.new()
    await driver.create(request)
    await driver.delete(requests.key(request))
    assert content() == before
