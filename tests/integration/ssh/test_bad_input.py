"""Everything that can be wrong with a host, a key or user-data ends in an error that says what to do; then it works."""

from collections.abc import Callable
from typing import Any

import asyncssh
import pytest
from ssh_hosts import STATE, Site, cloud_config, commands
from testbed.cable import Plug
from testbed.throwaway_host import ADMIN, ASKED, ThrowawayHost

from nodeset_provider.driverkit.contract import Deletion, Instance, InstanceState
from nodeset_provider.driverkit.errors import InsufficientCapacity, InvalidSpec, Transient, Unauthorized


async def runs(site: Site, **config: Any) -> bool:
    """Whether a machine can be made now, with the cause mended."""
    request = site.request(**config)
    await site.another().create(request)
    return (await site.settled(request)).state is InstanceState.RUNNING


async def test_unknown_host_key_is_refused_with_its_fingerprint_and_where_it_belongs(site: Site) -> None:
    request = site.request(fingerprint=False)
    for call in (site.driver.resolve(request.config), site.driver.create(request)):
        with pytest.raises(Unauthorized) as refused:
            await call
        for said in (site.host.name, site.host.fingerprint, "hosts[0].fingerprint", "known_hosts"):
            assert said in refused.value.message
    assert site.owner() == ""
    assert await runs(site)


async def test_known_hosts_of_the_secret_vouch_for_a_host(site: Site) -> None:
    place = f"[{site.host.address}]:{site.host.cable.port}"
    driver = site.another({"known_hosts": f"{place} {site.host.host_key}\n".encode()})
    request = site.request(fingerprint=False)
    await driver.resolve(request.config)
    assert isinstance(await driver.create(request), Instance)


async def test_key_other_than_in_known_hosts_is_refused_though_first_use_is_trusted(site: Site) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    driver = site.another({"known_hosts": f"[{site.host.address}]:{site.host.cable.port} {other}".encode()})
    with pytest.raises(Unauthorized, match="known_hosts of the credentials Secret"):
        await driver.create(site.request(fingerprint=False, trustOnFirstUse=True))


async def test_changed_host_key_is_refused_even_where_first_use_is_trusted(site: Site) -> None:
    request = site.request(fingerprint=False, trustOnFirstUse=True)
    await site.driver.create(request)
    site.host.new_host_key()
    await site.driver.close()
    with pytest.raises(Unauthorized, match=r"shows the host key ssh-ed25519 SHA256:.*installed anew"):
        await site.driver.get(site.key(request))
    site.host.run("rm", "-rf", STATE)
    assert await runs(site)


async def test_login_that_another_class_trusts_at_first_use_is_none_for_a_class_with_a_fingerprint(site: Site) -> None:
    right = site.config()
    site.host.new_host_key()
    await site.driver.resolve(site.config(fingerprint=False, trustOnFirstUse=True))
    with pytest.raises(Unauthorized, match=r"not that of hosts\[0\]\.fingerprint"):
        await site.driver.resolve(right)


async def test_fingerprint_of_another_key_is_refused(site: Site) -> None:
    config = site.config()
    site.host.new_host_key()
    with pytest.raises(Unauthorized, match=r"not that of hosts\[0\]\.fingerprint"):
        await site.driver.resolve(config)
    assert await runs(site)


async def test_key_that_opens_no_login_names_user_and_host(site: Site) -> None:
    wrong = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(Unauthorized, match=f"{ADMIN}@{site.host.name} does not take the ssh-privatekey") as refused:
        await site.another({"ssh-privatekey": wrong.export_private_key()}).create(site.request())
    assert wrong.get_fingerprint() not in refused.value.message
    assert await runs(site)


async def test_sudo_that_asks_for_a_password_names_the_remedy(site: Site) -> None:
    with pytest.raises(Unauthorized, match=rf"a password is required.*`{ASKED} ALL=\(ALL\) NOPASSWD: ALL`"):
        await site.driver.create(site.request(user=ASKED))
    assert site.owner() == ""
    assert await runs(site)


async def test_login_that_is_not_root_and_may_not_use_sudo_names_the_setting(site: Site) -> None:
    with pytest.raises(InvalidSpec, match=r"is not root; set config\.sudo") as refused:
        await site.driver.create(site.request(sudo=False))
    assert refused.value.field == "sudo"
    assert await runs(site, user="root", sudo=False)


async def test_host_that_hangs_after_the_login_is_transient_within_the_time_out(site: Site) -> None:
    site.host.install("/throwaway/hang", "#!/bin/sh\nexec sleep 1000\n")
    site.host.run("usermod", "--shell", "/throwaway/hang", ADMIN)
    try:
        with pytest.raises(Transient, match=f"{site.host.name} gave no answer within 8 s after the login"):
            await site.driver.create(site.request())
    finally:
        site.host.run("usermod", "--shell", "/bin/sh", ADMIN)
    assert await runs(site)


async def test_host_that_says_nothing_at_all_is_transient_within_the_time_out(site: Site) -> None:
    site.host.cable.plug = Plug.SILENT
    with pytest.raises(Transient, match=f"{site.host.name} let nobody in within 6 s"):
        await site.driver.create(site.request())
    site.host.cable.plug = Plug.IN
    assert await runs(site)


async def test_failing_command_fails_the_machine_with_its_step_and_what_it_said(site: Site) -> None:
    request = site.request(commands("true", "echo no route to host >&2; exit 7", "touch /srv/made"))
    await site.driver.create(request)
    failed = await site.settled(request)
    assert failed.state is InstanceState.FAILED
    for said in (site.host.name, "step 2 of 3, command sh, failed with exit code 7", "no route to host"):
        assert said in failed.message
    assert not site.host.path("/srv/made").exists()
    assert "no route to host" in await site.driver.diagnose(site.key(request))
    await site.deleted(request)
    assert await runs(site)


async def test_command_that_never_ends_is_ended(site: Site) -> None:
    request = site.request(commands("sleep 1000"), timeoutSeconds={"step": 1})
    await site.driver.create(request)
    failed = await site.settled(request)
    assert failed.state is InstanceState.FAILED
    assert "ran longer than 1 s" in failed.message


async def test_token_that_a_command_prints_reaches_nobody(site: Site) -> None:
    token = "abcdef.0123456789abcdef"
    request = site.request(commands(f"echo refused: {token} >&2; false"))
    await site.driver.create(request)
    said = [(await site.settled(request)).message, await site.driver.diagnose(site.key(request))]
    assert all("refused: (secret)" in text and token not in text for text in said)


@pytest.mark.parametrize("user_data", [b"\x00garbage", b"#!/bin/sh\nreboot\n", cloud_config(bootcmd=["reboot"])])
async def test_user_data_that_cannot_be_applied_claims_nothing(site: Site, user_data: bytes) -> None:
    with pytest.raises(InvalidSpec, match="user-data"):
        await site.driver.create(site.request(user_data))
    assert site.owner() == ""


async def test_file_in_the_place_of_a_directory_fails_with_its_path(site: Site) -> None:
    request = site.request(cloud_config(write_files=[{"path": "/etc/ssh", "content": "x"}]))
    await site.driver.create(request)
    assert "file /etc/ssh, failed" in (await site.settled(request)).message


async def test_full_disk_is_said_and_taken_up_again_when_there_is_room(
    make_hosts: Callable[..., list[ThrowawayHost]], key: asyncssh.SSHKey
) -> None:
    async with Site(make_hosts(1, disk_mib=24), key) as site:
        ballast = site.host.path("/var/ballast")
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(b"x" * (24 << 20))
        request = site.request(commands("touch /srv/made"))
        with pytest.raises(Transient, match=f"{site.host.name} failed .*the disk is full"):
            await site.driver.create(request)
        ballast.unlink()
        await site.driver.create(request)
        assert (await site.settled(request)).state is InstanceState.RUNNING


async def test_failing_reset_is_told_once_and_quarantines_the_host_until_a_person_ends_it(site: Site) -> None:
    request = site.request(resetCommands=["true", "echo disk is on fire >&2; exit 3"])
    await site.driver.create(request)
    with pytest.raises(Transient, match=r"in quarantine.*config\.resetCommands\[1\]: disk is on fire") as told:
        await site.deleted(request)
    assert site.host.name in told.value.message
    assert await site.driver.delete(site.key(request)) is Deletion.GONE
    assert site.owner() == ""
    with pytest.raises(InsufficientCapacity, match=r"0 claimed, 1 in quarantine.*disk is on fire"):
        await site.driver.create(site.request())
    site.host.path(f"{STATE}/quarantine").unlink()
    assert await runs(site)


async def test_quarantine_that_a_person_ended_at_once_is_not_begun_again(site: Site) -> None:
    request = site.request(resetCommands=["exit 3"])
    await site.driver.create(request)
    with pytest.raises(Transient, match="in quarantine"):
        await site.deleted(request)
    site.host.path(f"{STATE}/quarantine").unlink()
    assert await site.driver.delete(site.key(request)) is Deletion.GONE
    assert await runs(site)


async def test_keys_of_a_user_whose_ssh_folder_leads_elsewhere_are_not_written(site: Site) -> None:
    """He would choose whose they become."""
    site.host.run(
        "sh", "-c", f"mkdir -p /srv/made && ln -sfn /srv/made ~{ADMIN}/.ssh && chown -h {ADMIN} ~{ADMIN}/.ssh"
    )
    try:
        request = site.request(cloud_config(users=[{"name": ADMIN, "ssh_authorized_keys": ["ssh-ed25519 AAAA a"]}]))
        await site.driver.create(request)
        failed = await site.settled(request)
    finally:
        site.host.run("sh", "-c", f"rm ~{ADMIN}/.ssh")
    assert failed.state is InstanceState.FAILED
    assert f"/home/{ADMIN}/.ssh is a link" in failed.message
    assert list(site.host.path("/srv/made").iterdir()) == []


async def test_link_in_the_place_of_a_file_that_is_being_written_is_not_followed(site: Site) -> None:
    site.host.run("sh", "-c", "mkdir /srv/made; echo kept >/srv/made/kept; ln -s kept /srv/made/.nodeset-0001")
    request = site.request(cloud_config(write_files=[{"path": "/srv/made/file", "content": "ours"}]))
    await site.driver.create(request)
    assert (await site.settled(request)).state is InstanceState.RUNNING
    assert site.host.path("/srv/made/kept").read_text() == "kept\n"
    assert site.host.path("/srv/made/file").read_text() == "ours"


async def test_kubelet_that_cannot_be_stopped_keeps_the_machine(site: Site) -> None:
    site.host.run("cp", "/bin/sleep", "/usr/local/bin/kubelet")
    request = site.request()
    await site.driver.create(request)
    keeper = "setsid sh -c 'while [ ! -e /run/enough ]; do kubelet 1000; done' >/dev/null 2>&1 &"
    site.host.run("sh", "-c", keeper)
    with pytest.raises(Transient, match=f"{site.host.name}: the machine cannot be stopped: stopping the kubelet"):
        await site.deleted(request)
    assert site.owner() == request.token
    site.host.run("touch", "/run/enough")
    await site.deleted(request)
    assert site.owner() == ""
