"""Providers crash, connections break, hosts lose power: what was begun goes on, and nothing is done twice."""

import asyncio
import subprocess
from contextlib import suppress

import pytest
from nodeset_driver_ssh.remote import host_program
from ssh_hosts import STATE, Site, cloud_config, commands, eventually

from nodeset_provider.driverkit.contract import CreateRequest, Deletion, Instance, InstanceKey, InstanceState
from nodeset_provider.driverkit.errors import InsufficientCapacity, NotFound, Transient

COUNT_AND_WAIT = "echo x >>/srv/made/second; while [ ! -e /srv/made/go ]; do sleep 0.05; done"


async def test_two_providers_that_race_for_one_host_get_it_once(site: Site) -> None:
    requests = [site.request() for _ in range(4)]
    answers = await asyncio.gather(*(site.another().create(request) for request in requests), return_exceptions=True)
    won = [answer for answer in answers if isinstance(answer, Instance)]
    assert len(won) == 1
    assert site.owner() == won[0].token
    assert [type(answer) for answer in answers if answer is not won[0]] == [InsufficientCapacity] * 3


async def test_host_that_dies_in_a_step_goes_on_and_repeats_no_step_before_it(site: Site) -> None:
    request = site.request(
        commands("mkdir /srv/made", "echo x >>/srv/made/first", COUNT_AND_WAIT, "echo x >>/srv/made/last")
    )
    await site.driver.create(request)
    await eventually(lambda: _lines(site, "/srv/made/second", 1))
    site.host.power_off()
    with pytest.raises(Transient, match=site.host.name):
        await site.driver.get(site.key(request))
    site.host.path("/srv/made/go").touch()
    site.host.power_on()
    assert (await site.settled(request)).state is InstanceState.RUNNING
    counted = [site.lines(f"/srv/made/{name}") for name in ("first", "second", "last")]
    assert counted == [1, 2, 1]


async def test_command_that_is_broken_off_twice_is_not_begun_a_third_time(site: Site) -> None:
    request = site.request(commands("mkdir /srv/made", COUNT_AND_WAIT))
    await site.driver.create(request)
    for times in (1, 2):
        await eventually(lambda times=times: _lines(site, "/srv/made/second", times))  # type: ignore[misc]
        site.host.power_off()
        site.host.power_on()
        found = await site.driver.get(site.key(request))
    found = await site.settled(request)
    assert found.state is InstanceState.FAILED
    assert "broken off twice" in found.message
    assert site.lines("/srv/made/second") == 2


async def test_reboot_of_a_host_that_has_joined_repeats_nothing(site: Site) -> None:
    user_data = cloud_config(
        hostname="node-1",
        runcmd=[["sh", "-c", "mkdir -p /srv/made; echo x >>/srv/made/first; rm -f /etc/made"]],
        write_files=[{"path": "/etc/made", "content": "x"}],
    )
    request = site.request(user_data)
    made = await site.driver.create(request)
    assert (await site.settled(request)).state is InstanceState.RUNNING
    site.host.power_off()
    site.host.power_on()
    for driver in (site.driver, site.another()):
        found = await driver.get(site.key(request))
        assert (found.state, found.provider_id) == (InstanceState.RUNNING, made.provider_id)
        assert (await driver.create(request)).state is InstanceState.RUNNING
    assert site.host.run("hostname") == "node-1\n"
    assert site.lines("/srv/made/first") == 1
    assert not site.host.path("/etc/made").exists()


async def test_connection_that_breaks_does_not_disturb_the_steps(site: Site) -> None:
    request = site.request(commands("mkdir /srv/made", COUNT_AND_WAIT, "echo x >>/srv/made/last"))
    await site.driver.create(request)
    await eventually(lambda: _lines(site, "/srv/made/second", 1))
    await site.driver.close()
    site.host.path("/srv/made/go").touch()
    await eventually(lambda: _lines(site, "/srv/made/last", 1))
    assert site.lines("/srv/made/second") == 1


async def test_crash_between_the_claim_and_the_first_step_is_taken_up_by_whoever_asks(site: Site) -> None:
    site.host.install("/usr/local/sbin/ln", '#!/bin/sh\n/usr/bin/ln "$@"\nkill -KILL $PPID\n')
    request = site.request(commands("mkdir /srv/made", "echo x >>/srv/made/first"))
    with pytest.raises(Transient):
        await site.driver.create(request)
    assert site.owner() == request.token
    assert not site.host.path("/srv/made").exists()
    site.host.path("/usr/local/sbin/ln").unlink()
    assert (await site.settled(request, site.another())).state is InstanceState.RUNNING
    assert site.lines("/srv/made/first") == 1


async def test_crash_before_the_claim_leaves_a_free_host(site: Site) -> None:
    site.host.install("/usr/local/sbin/ln", "#!/bin/sh\nkill -KILL $PPID\n")
    request = site.request()
    with pytest.raises(Transient):
        await site.driver.create(request)
    site.host.path("/usr/local/sbin/ln").unlink()
    with pytest.raises(NotFound):
        await site.another().get(site.key(request))
    other = site.request()
    await site.another().create(other)
    assert site.owner() == other.token
    assert [path.name for path in site.host.path(f"{STATE}/machines").iterdir()] == [other.token]


async def test_machine_is_found_on_a_host_that_was_out_of_reach_and_no_other_is_claimed(large_site: Site) -> None:
    site = large_site
    request = site.request()
    await site.driver.create(request)
    (owner,) = [host for host in site.hosts if site.owner(host)]
    owner.power_off()
    for _ in range(2):
        with pytest.raises(Transient, match=owner.name):
            await site.another().create(request)
    assert [site.owner(host) for host in site.hosts if host is not owner] == [""] * 4
    owner.power_on()
    again = await site.another().create(request)
    assert again.provider_id == f"ssh://{owner.name}/{request.token}"


async def test_dead_hosts_do_not_keep_new_machines_from_the_others(large_site: Site) -> None:
    site = large_site
    for host in site.hosts[:2]:
        host.power_off()
    try:
        requests = [site.request() for _ in range(3)]
        for request in requests:
            await site.driver.create(request)
        assert sorted(site.owner(host) for host in site.hosts) == sorted(["", "", *(r.token for r in requests)])
        with pytest.raises(InsufficientCapacity, match="3 claimed, 0 in quarantine, 2 not to be asked"):
            await site.driver.create(site.request())
    finally:
        for host in site.hosts[:2]:
            host.power_on()


async def test_reset_in_the_middle_of_a_step_ends_it_and_puts_everything_back(site: Site) -> None:
    site.host.path("/etc/made").mkdir()
    site.host.path("/etc/made/kept").write_text("as it was\n")
    site.host.install("/usr/local/bin/kubeadm", '#!/bin/sh\necho "$*" >>/srv/kubeadm\n')
    site.host.run("cp", "/bin/sleep", "/usr/local/bin/kubelet")
    user_data = cloud_config(
        hostname="node-1",
        write_files=[
            {"path": "/etc/made/kept", "content": "changed"},
            {"path": "/etc/made/deep/er/new", "content": "new", "permissions": "0600", "owner": "operator:operator"}
            | {"defer": True},
            {"path": "/etc/systemd/system/agent.service", "content": "[Service]\n"},
        ],
        users=["default", {"name": "operator", "ssh_authorized_keys": ["ssh-ed25519 AAAA o"], "sudo": "ALL=(ALL) ALL"}],
        runcmd=[
            ["sh", "-c", "setsid kubelet 1000 >/dev/null 2>&1 & mkdir -p /var/lib/kubelet/pki"],
            ["touch", "/var/lib/kubelet/kubeadm-flags.env", "/var/lib/kubelet/pki/key"],
            ["sh", "-c", "mkdir -p /srv/made; " + COUNT_AND_WAIT],
        ],
    )
    request = site.request(user_data, resetCommands=["rm -rf /srv/made"])
    await site.driver.create(request)
    await eventually(lambda: _lines(site, "/srv/made/second", 1))
    assert site.host.run("hostname") == "node-1\n"
    assert site.host.run("stat", "-c", "%a %U", "/etc/made/deep/er/new") == "600 operator\n"
    assert site.host.path("/etc/made/kept").read_text() == "changed"
    await site.deleted(request)
    assert site.host.run("hostname") == f"{site.host.name}\n"
    assert site.host.path("/etc/made/kept").read_text() == "as it was\n"
    for gone in ("/etc/made/deep", "/srv/made", "/home/operator", "/etc/sudoers.d/90-nodeset-operator"):
        assert not site.host.path(gone).exists()
    assert list(site.host.path("/var/lib/kubelet").iterdir()) == []
    assert "operator" not in site.host.path("/etc/passwd").read_text()
    assert "kubelet" not in site.host.run("ps", "-eo", "comm")
    assert site.host.path("/srv/kubeadm").read_text() == "reset --force\n"
    asked = site.host.path("/throwaway/systemctl").read_text()
    assert "disable --now agent.service" in asked
    again = site.request()
    await site.driver.create(again)
    assert site.owner() == again.token


async def test_reset_ends_no_process_that_bears_a_number_of_before_a_reboot(site: Site) -> None:
    request = site.request(commands("true"))
    await site.driver.create(request)
    await site.settled(request)
    folder = f"{STATE}/machines/{request.token}"
    site.host.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $! >" + f"{folder}/run.pid")
    site.host.run("sh", "-c", f"setsid flock {folder}/run.lock sleep 3 >/dev/null 2>&1 &")
    with pytest.raises(Transient, match="has just begun"):
        await site.driver.delete(site.key(request))
    await asyncio.wait_for(_deleted_when_asked_again(site, request), 60)
    assert site.host.run("ps", "-eo", "args").count("sleep 1000") == 1


async def test_upload_that_ended_between_two_files_changes_nothing(site: Site) -> None:
    """tar takes it for whole; a reset would leave out the commands that are missing."""
    request = site.request()
    await site.driver.create(request)
    agent = host_program("agent.sh").decode()
    send = 'mkdir /srv/made /srv/made/commands; cat >/srv/made/agent.sh; : >/srv/made/reset.sh; exec "$@"'
    call = ("env", "NODESET_UPLOAD=/srv/made", "sh", "/srv/made/agent.sh", "reset", request.token, site.cluster)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        site.host.run("sh", "-c", send, "send", *call, stdin=agent)
    assert "the upload is not complete" in refused.value.stderr
    assert (await site.driver.get(site.key(request))).state is not InstanceState.DELETING


async def test_reset_that_a_power_cut_broke_off_goes_on(site: Site) -> None:
    waiting = "echo x >>/srv/resets; while [ ! -e /srv/go ]; do sleep 0.05; done"
    request = site.request(commands("mkdir -p /srv/made"), resetCommands=[waiting, "rm -rf /srv/made"])
    await site.driver.create(request)
    await site.settled(request)
    assert await site.driver.delete(site.key(request)) is Deletion.IN_PROGRESS
    assert (await site.driver.get(site.key(request))).state is InstanceState.DELETING
    site.host.power_off()
    site.host.path("/srv/go").touch()
    site.host.power_on()
    assert site.owner() == request.token
    await site.deleted(request)
    assert site.lines("/srv/resets") == 2
    assert not site.host.path("/srv/made").exists()


async def test_late_create_of_a_deleted_machine_claims_nothing(large_site: Site) -> None:
    site = large_site
    request = site.request()
    await site.driver.create(request)
    await site.deleted(request)
    with pytest.raises(Exception, match="deleted"):
        await site.another().create(request)
    assert {site.owner(host) for host in site.hosts} == {""}


async def test_file_that_was_written_over_is_put_back_as_a_link(site: Site) -> None:
    site.host.run("sh", "-c", "mkdir /etc/made; echo target >/etc/made/target; ln -s target /etc/made/link")
    request = site.request(cloud_config(write_files=[{"path": "/etc/made/link", "content": "ours"}]))
    await site.driver.create(request)
    await site.settled(request)
    assert site.host.path("/etc/made/link").read_text() == "ours"
    await site.deleted(request)
    assert site.host.run("readlink", "/etc/made/link") == "target\n"
    assert site.host.path("/etc/made/target").read_text() == "target\n"


async def test_one_machine_is_known_by_one_id_whatever_a_pool_calls_its_host(site: Site) -> None:
    request = site.request()
    made = await site.driver.create(request)
    other = site.config()
    del other["hosts"][0]["name"]
    listed = [found async for found in site.driver.list(site.cluster, [other, request.config])]
    assert [found.provider_id for found in listed] == [made.provider_id]
    key = InstanceKey(cluster=site.cluster, token=request.token, provider_id=made.provider_id, config=request.config)
    assert (await site.driver.get(key)).provider_id == made.provider_id


async def _deleted_when_asked_again(site: Site, request: CreateRequest) -> None:
    while True:
        with suppress(Transient):
            return await site.deleted(request)


async def _lines(site: Site, path: str, count: int) -> bool:
    return site.lines(path) == count
