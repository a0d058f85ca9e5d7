"""What is wrong with a host of virtual machines is said to people and the autoscaler; mended, the next attempt works.

The libvirtd is a real one; its machines are tiny, emulated, and have an empty disk, so that no kubelet ever comes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pytest
from testbed.libvirt_host import IMAGE, LAST_OF_FIRMWARE, SPEAKING_FIRMWARE, LibvirtHost, SshDoor
from testbed.libvirt_proxy import LibvirtProxy
from testbed.libvirtd import Libvirtd
from testbed.virtual_hosts_world import (
    MIB,
    Act,
    Site,
    fill_pool,
    install_anew,
    memory,
    network,
    no_volume,
    take_memory,
    volume,
)
from testbed.world import World

from nodeset_provider.protocol import externalgrpc_pb2 as pb

pytestmark = pytest.mark.parametrize(
    "cluster", [{"kubelets": False, "provider_configuration": {"drivers": ["libvirt"]}}], indirect=True
)

POOL_BYTES = 96 * MIB
OUT_OF_RESOURCES, OTHER = 1, 99
LAUNCH_SECONDS = 15
"""For a kubelet that never comes: longer than firmware takes on a busy computer to find nothing on the disk."""
UNSETTLED = "NotSettled"
"""In place of Unauthorized: where a create broke off, or may have been another process's, the host is asked first what
became of it. While it cannot be asked the attempt stays open."""
STRANGER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFZPsLvVtqEPtgZLhR6Qz0m6mSSBK0Fb7Qm6nFQ2nDxC"
SECRETS = "ssh", "other-ssh"


@dataclass(frozen=True)
class Case:
    """Something that goes wrong. ``words``: the cause and what to do, as people read it."""

    reason: str
    words: tuple[str, ...]
    mend: Act
    spec: Callable[[Site], dict[str, Any]] = field(default=lambda _: {})
    """What its class has otherwise than others."""
    error_class: int = OTHER
    breaks: Act = field(default=lambda _: None)


LATER: dict[str, Case] = {
    "host-key": Case(
        "Unauthorized",
        ("its SSH host key is not among known_hosts",),
        spec=lambda site: {"config": {"uri": site.over_ssh()}, "secret": SECRETS[0]},
        breaks=install_anew,
        mend=lambda site: site.know_host(SECRETS[0]),
    ),
    "image": Case(
        "InvalidSpec",
        ("spec.config.image", "no volume gone.img", "virsh vol-list default"),
        spec=lambda _: {"config": {"image": "gone.img"}},
        breaks=no_volume("gone.img"),
        mend=volume("gone.img"),
    ),
    "network": Case(
        "InvalidSpec",
        ("spec.config.network", "virsh net-start lab"),
        spec=lambda _: {"config": {"network": "lab"}},
        breaks=lambda site: site.virsh("net-destroy", "lab"),
        mend=lambda site: site.virsh("net-start", "lab"),
    ),
    "pool": Case(
        "InsufficientCapacity",
        ("pool default of qemu", "are free"),
        error_class=OUT_OF_RESOURCES,
        breaks=fill_pool,
        mend=no_volume("filler"),
    ),
    # Last: it is looked at before the pool is.
    "memory": Case(
        "InsufficientCapacity",
        ("of memory left", "running machines may still take"),
        error_class=OUT_OF_RESOURCES,
        breaks=take_memory,
        mend=lambda site: site.virsh("destroy", "hog"),
    ),
}
"""What goes wrong with a host after its class was found valid: the Machine says so."""

AT_ONCE: dict[str, Case] = {
    "image": Case(
        "InvalidConfig",
        ("spec.config.image", "no volume later.img", "virsh vol-list default"),
        spec=lambda _: {"config": {"image": "later.img"}},
        mend=volume("later.img"),
    ),
    "network": Case(
        "InvalidConfig",
        ("spec.config.network", "virsh net-start later"),
        spec=lambda _: {"config": {"network": "later"}},
        mend=lambda site: site.virsh("net-start", "later"),
    ),
    "pool": Case(
        "InvalidConfig",
        ("spec.config.pool", "virsh pool-start later"),
        spec=lambda site: {"config": {"pool": "later", "image": site.path_of_image()}},
        mend=lambda site: [site.virsh(f"pool-{step}", "later") for step in ("build", "start")],
    ),
    "memory": Case(
        "InvalidConfig",
        ("spec.config.memory", "can never be had there"),
        spec=lambda site: {"config": {"memory": memory(site)}},
        mend=lambda site: site.node_class("at-once-memory"),
    ),
    "host-key": Case(
        "Unauthorized",
        ("SSH host key is not among known_hosts of the credentials Secret", "ssh-keyscan"),
        spec=lambda site: {"config": {"uri": site.over_ssh()}, "secret": SECRETS[1]},
        breaks=lambda site: site.know_host(SECRETS[1], f"{site.ssh.known_hosts.split()[0]} {STRANGER}\n"),
        mend=lambda site: site.know_host(SECRETS[1]),
    ),
}
"""What is wrong from the beginning: the class says so, and no machine is tried."""


def not_here(reason: str) -> None:
    """Skip, if there is a reason; in CI nothing may be skipped for such a one."""
    if reason and os.environ.get("CI"):
        pytest.fail(f"nothing may be skipped in CI, and {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtHost]:
    not_here(Libvirtd.missing() or SshDoor.missing())
    if find_spec("libvirt") is None:
        not_here("libvirt-python is not installed: run tools/install-libvirt.sh, then make setup")
    with Libvirtd(tmp_path_factory.mktemp("libvirt"), pool_bytes=POOL_BYTES) as daemon:
        host = LibvirtHost(daemon)
        host.prepare()
        yield host


@pytest.fixture(scope="module")
def site(host: LibvirtHost, shared: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with SshDoor(host.daemon, tmp_path_factory.mktemp("sshd")) as door:
        site = Site(shared, host, door)
        volume("gone.img")(site)
        network(site, "lab", "virbr1")
        site.virsh("net-start", "lab")
        network(site, "later", "virbr2")
        folder = host.daemon.pool_folder.parent / "later-pool"
        site.virsh("pool-define-as", "later", "dir", "--target", str(folder))
        site.know_host(SECRETS[0])
        yield site


@pytest.fixture(scope="module")
def failed(site: Site) -> Site:
    """Of each case a set of the autoscaler and one without, whose first attempts have failed."""
    for name, case in LATER.items():
        site.node_class(name, **case.spec(site))
        site.world.node_set(f"scaled-{name}", name, autoscaling={"maxReplicas": 2})
        site.world.node_set(f"fixed-{name}", name)
    for name in LATER:
        site.world.wait(lambda name=name: site.resolved(f"fixed-{name}", f"scaled-{name}"), "what to make is known")
    for name, case in LATER.items():
        case.breaks(site)
        site.increase(f"scaled-{name}")
        site.world.patch("nodeset", f"fixed-{name}", {"spec": {"replicas": 1}})
        for kind in ("scaled", "fixed"):
            site.world.wait(lambda made=f"{kind}-{name}": reason(site, made, "Launched") != "", f"{name} has failed")
    return site


@pytest.fixture(scope="module")
def mended(failed: Site) -> Site:
    """The causes are gone. The next attempts come after a pause, in which other tests run."""
    for case in reversed(LATER.values()):
        case.mend(failed)
    failed.node_class("silent", config={"extraXML": {"domain": SPEAKING_FIRMWARE}}, launchTimeoutSeconds=LAUNCH_SECONDS)
    failed.world.node_set("scaled-silent", "silent", replicas=1, autoscaling={"maxReplicas": 2})
    failed.world.node_set("fixed-silent", "silent", replicas=1)
    return failed


def drop(site: Site, *nodesets: str) -> None:
    """They go, and nothing of them is left."""
    site.world.delete("nodeset", *nodesets)
    for name in nodesets:
        site.world.wait(lambda name=name: not site.world.leftovers(name), f"nothing of {name} is in the cluster")
        assert not site.domains(name)
    assert not site.stray()


def reason(site: Site, nodeset: str, condition: str) -> str:
    """Why that condition of its only Machine is False; empty where it is not."""
    for name in site.world.names(nodeset):
        found = site.world.condition("machine", name, condition)
        return str(found["reason"]) if found.get("status") == "False" else ""
    return ""


def said_of_machine(site: Site, name: str, case: Case, condition: str) -> None:
    """The Machine and its set say what is wrong and what to do, in one line, and there is an event."""
    [machine] = site.world.names(f"fixed-{name}")
    said = site.world.condition("machine", machine, condition)
    assert said["status"] == "False"
    assert said["reason"] in {case.reason, UNSETTLED if case.reason == "Unauthorized" else ""}
    site.world.wait(
        lambda: site.world.condition("nodeset", f"fixed-{name}", "Ready").get("reason") == said["reason"],
        "the set says it",
    )
    about = site.world.condition("nodeset", f"fixed-{name}", "Ready")["message"]
    site.world.wait(lambda: bool(site.world.warnings("Machine", machine)), "there is an event")
    event = site.world.warnings("Machine", machine)[0]
    for text in (said["message"], about, event["message"]):
        assert [word for word in case.words if word not in text] == [], text
        assert "\n" not in text


def told_and_taken_away(site: Site, name: str, case: Case) -> None:
    """The autoscaler hears the error's class, and what it then takes away is gone, while the cause lasts."""
    group = f"scaled-{name}"
    assert site.told(group) == [(case.reason, case.error_class)]
    [instance] = site.instances(group)
    assert instance.status.instanceState == pb.InstanceStatus.instanceCreating
    assert [word for word in case.words if word not in instance.status.errorInfo.errorMessage] == []
    unsettled = reason(site, group, "Launched") == UNSETTLED
    site.take_away(group)
    assert site.world.replicas(group) == 0
    if unsettled:
        return  # it goes once the host can be asked
    site.world.wait(lambda: not site.world.leftovers(group), "it is gone")
    assert not site.domains(group)
    assert not site.stray()


@pytest.mark.parametrize("name", LATER)
def test_cause_is_said_on_the_machine_with_its_remedy_and_nothing_is_left(failed: Site, name: str) -> None:
    said_of_machine(failed, name, LATER[name], "Launched")
    assert not failed.domains(f"fixed-{name}")
    assert not failed.stray()


@pytest.mark.parametrize("name", LATER)
def test_autoscaler_hears_the_class_of_the_error_and_takes_the_machine_away(failed: Site, name: str) -> None:
    told_and_taken_away(failed, name, LATER[name])


@pytest.mark.parametrize("name", AT_ONCE)
def test_class_that_cannot_work_says_why_and_works_once_it_is_mended(mended: Site, name: str) -> None:
    site, case, about = mended, AT_ONCE[name], f"at-once-{name}"
    case.breaks(site)
    site.node_class(about, **case.spec(site))
    site.world.node_set(about, about, replicas=1)
    site.world.wait(
        lambda: site.world.condition("nodeset", about, "Ready").get("reason") == "NodeClassInvalid", "the set says it"
    )
    said = site.world.condition("nodeclass", about, "Valid")
    assert (said["status"], said["reason"]) == ("False", case.reason)
    for text in (said["message"], site.world.condition("nodeset", about, "Ready")["message"]):
        assert [word for word in case.words if word not in text] == [], text
        assert "\n" not in text
    assert not site.world.machines(about), "no machine is tried that cannot work"
    case.mend(site)
    site.world.wait(lambda: site.launched(about), "it works")
    assert site.valid(about)
    drop(site, about)


def test_next_machine_of_the_autoscaler_works_too(mended: Site) -> None:
    for name in LATER:
        mended.increase(f"scaled-{name}")
    for name in LATER:
        mended.world.wait(lambda name=name: mended.launched(f"scaled-{name}"), f"the next one of {name} is made")
    drop(mended, *(f"scaled-{name}" for name in LATER))


@pytest.mark.parametrize("name", LATER)
def test_next_attempt_works_once_the_cause_is_mended(mended: Site, name: str) -> None:
    about = f"fixed-{name}"
    mended.world.wait(lambda: mended.launched(about), "it is made")
    [machine] = mended.world.machines(about)
    assert machine["status"]["lastFailure"]["code"] == LATER[name].reason
    assert machine["status"]["attempt"] > (LATER[name].reason != "Unauthorized"), "the same Machine"
    drop(mended, about)


def test_kubelet_that_never_comes_is_explained_by_the_end_of_the_serial_console(mended: Site) -> None:
    case = Case(
        "RegistrationTimeout", (f"within {LAUNCH_SECONDS} s of the launch", LAST_OF_FIRMWARE), mend=lambda _: None
    )
    for kind in ("fixed", "scaled"):
        mended.world.wait(
            lambda name=f"{kind}-silent": "RegistrationTimeout" in last_failure(mended, name), f"{kind} is given up"
        )
    told_and_taken_away(mended, "silent", case)
    machine = mended.world.machines("fixed-silent")[0]
    for word in case.words:
        assert word in machine["status"]["lastFailure"]["message"]
    assert "\n" not in machine["status"]["lastFailure"]["message"]


def last_failure(site: Site, nodeset: str) -> str:
    return "".join(one.get("status", {}).get("lastFailure", {}).get("code", "") for one in site.world.machines(nodeset))


def test_machine_after_one_that_never_came_joins(mended: Site) -> None:
    """Its kubelet is played: an empty disk has none."""
    site, world = mended, mended.world
    [machine] = world.machines("fixed-silent")
    name = machine["metadata"]["name"]
    world.wait(
        lambda: world.get("machine", name)["status"]["attempt"] > 1 and site.launched("fixed-silent"),
        "the next attempt is made",
    )
    provider_id = world.get("machine", name)["status"]["providerID"]
    world.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"providerID": provider_id}})
    info = '{"status": {"nodeInfo": {"kubeletVersion": "v1.36.1"}}}'
    world.cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", f"--patch={info}")
    world.wait(lambda: world.condition("machine", name, "Registered").get("status") == "True", "it has joined")
    drop(site, "fixed-silent", "scaled-silent")


def test_user_data_as_large_as_a_class_can_hold_is_below_what_the_driver_takes(site: Site) -> None:
    """So nobody hears UserDataTooLarge of this driver: the API server refuses such a class before."""
    files = [{"path": f"/etc/large-{number}", "content": "ä" * 65_536} for number in range(7)]
    site.node_class("large", provisioning={"files": files})
    site.world.node_set("large", "large", replicas=1)
    site.world.wait(lambda: site.launched("large"), "it is made")
    drop(site, "large")


def test_libvirtd_that_is_down_loses_nothing_and_is_not_besieged(site: Site) -> None:
    world, daemon = site.world, site.host.daemon
    with LibvirtProxy(daemon.socket) as proxy:
        site.node_class("away", config={"uri": proxy.uri})
        for name in ("stays", "grows"):
            world.node_set(name, "away", replicas=1 if name == "stays" else 0)
        world.node_set("asked", "away", autoscaling={"maxReplicas": 2})
        world.wait(lambda: site.launched("stays"), "one is made before")
        world.wait(lambda: site.resolved("grows", "asked"), "what to make is known")
        [before] = site.running("stays")
        daemon.kill()
        attempts, began = proxy.attempts, time.monotonic()
        world.cluster.kubectl("scale", "nodeset", "grows", "--replicas=1")
        site.increase("asked")
        world.node_set("new", "away", replicas=1)
        world.wait(lambda: site.told("asked") == [("Transient", OTHER)], "the autoscaler hears of it")
        world.wait(lambda: reason(site, "grows", "Launched") == "Transient", "the Machine says it")
        world.wait(lambda: world.condition("nodeset", "new", "Ready").get("reason") == "Transient", "so does a new set")
        [grows] = world.names("grows")
        for kind, name, condition in (("machine", grows, "Launched"), ("nodeset", "new", "Ready")):
            assert "no connection to libvirt" in world.condition(kind, name, condition)["message"]
        assert (proxy.attempts - attempts) / (time.monotonic() - began) < 2, "attempts per second, of three who wait"
        assert site.valid("away"), "the class is as good as it was"
        assert not reason(site, "stays", "Launched")
        site.take_away("asked")
        daemon.start()
        for name in ("stays", "grows", "new"):
            world.wait(lambda name=name: site.launched(name), f"{name} has its machine")
        world.wait(lambda: not world.leftovers("asked"), "what the autoscaler took back is gone")
        assert not site.domains("asked")
        assert site.running("stays") == [before]
        assert world.get("machine", grows)["status"]["attempt"] == 1, "nothing had failed"
        drop(site, "stays", "grows", "new", "asked")
    assert set(site.host.volumes()) == {IMAGE, "gone.img", "later.img"}, "nothing but the images"
