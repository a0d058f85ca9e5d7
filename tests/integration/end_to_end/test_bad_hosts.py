"""Whatever is wrong with a host over SSH: people and the autoscaler are told why, nothing is left, mended it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncssh
import grpc
import pytest
from racks import (
    CALL_SECONDS,
    KUBELET_SAYS,
    SECRET,
    Rack,
    allow,
    ask,
    begin,
    come_back,
    die,
    give_back,
    hang,
    license_it,
    lock,
    patience,
    reinstall,
    silence,
    stranger,
    take,
    unlicensed,
    unlock,
    vouch,
    wake,
)
from testbed.cluster import grant_secret
from testbed.throwaway_host import ADMIN, ASKED, ThrowawayHost
from testbed.world import World

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.protocol.externalgrpc_pb2_grpc import CloudProviderStub

pytestmark = pytest.mark.parametrize(
    "cluster",
    [pytest.param({"kubelets": False, "provider_configuration": {"drivers": ["ssh"]}}, id="ssh")],
    indirect=True,
)

OUT_OF_RESOURCES, OTHER = 1, 99


@dataclass(frozen=True)
class Case:
    """What is wrong with a host, and what is said of it."""

    break_it: Callable[[Rack], None]
    """Applies the class too."""
    mend: Callable[[Rack, str], None]
    """With what was told."""
    code: str
    words: tuple[str, ...]
    """Beside the host's name."""
    error_class: int = OTHER
    condition: str = "Launched"
    asks_host: bool = False
    """The machine's end cannot be known before the host answers again."""
    afterwards: Callable[[Rack], None] | None = None
    """Once there is a Machine."""


CASES = {
    "changed-key": Case(
        reinstall, vouch, "Unauthorized", ("shows the host key", "hosts[0].fingerprint", "installed anew", "correct it")
    ),
    "login": Case(lock, unlock, "Unauthorized", (f"{ADMIN}@", "ssh-privatekey", f"~{ADMIN}/.ssh/authorized_keys")),
    "sudo": Case(ask, allow, "Unauthorized", ("a password is required", f"`{ASKED} ALL=(ALL) NOPASSWD: ALL`")),
    "hangs": Case(
        hang, wake, "Transient", (f"gave no answer within {CALL_SECONDS} s after the login",), asks_host=True
    ),
    "taken": Case(
        take,
        give_back,
        "InsufficientCapacity",
        ("none of the 1 hosts is free: 1 claimed", "config.hosts"),
        OUT_OF_RESOURCES,
    ),
    "command": Case(
        unlicensed, license_it, "InstanceFailed", ("step ", "failed with exit code 7", "/srv/licence is missing")
    ),
    "no-kubelet": Case(
        silence, patience, "RegistrationTimeout", ("no Node ", "within 8 s", KUBELET_SAYS), condition="Registered"
    ),
    "dies": Case(
        begin,
        come_back,
        "RegistrationTimeout",
        ("no Node ", "within 20 s", "cannot be reached"),
        condition="Registered",
        asks_host=True,
        afterwards=die,
    ),
}
AT_CLASS = {
    "unknown-key": Case(
        stranger, vouch, "Unauthorized", ("for which nobody vouches", "ssh-keygen -lf", "hosts[0].fingerprint")
    ),
    "changed-key": CASES["changed-key"],
    "login": CASES["login"],
    "sudo": CASES["sudo"],
    "hangs": CASES["hangs"],
}
"""What a class says of itself where it looks its capacity up on the host."""


@pytest.fixture(scope="module")
def racks(shared: World, make_hosts: Callable[..., list[ThrowawayHost]], key: asyncssh.SSHKey) -> dict[str, Rack]:
    """A host for each case, all of them broken: what takes its time passes while others are looked at."""
    private, public = key.export_private_key().decode(), key.export_public_key().decode().strip()
    grant_secret(shared.cluster.control_plane, SECRET, {"ssh-privatekey": private})
    names = [*CASES, "again", "comes-back", "class"]
    hosts = make_hosts(len(names))
    racks = {name: Rack(shared, host, public, name) for name, host in zip(names, hosts, strict=True)}
    unlicensed(racks["again"])
    begin(racks["comes-back"])
    racks["comes-back"].offer(launchTimeoutSeconds=600)
    for name in ("again", "comes-back"):
        shared.node_set(name, name, replicas=1)
    for name, case in CASES.items():
        case.break_it(racks[name])
        shared.node_set(name, name, replicas=1, autoscaling={"maxReplicas": 2})
        if case.afterwards is not None:
            case.afterwards(racks[name])
    die(racks["comes-back"])
    racks["comes-back"].host.power_on()
    return racks


@pytest.fixture(scope="module")
def licensed(racks: dict[str, Rack]) -> dict[str, Any]:
    """The failure of a first attempt whose cause was mended right after it: the back-off takes half a minute."""
    rack = racks["again"]

    def failure() -> dict[str, Any]:
        found: dict[str, Any] = next(iter(rack.world.machines(rack.name)), {}).get("status", {}).get("lastFailure", {})
        return found

    rack.world.wait(lambda: bool(failure()), "its first attempt has failed", seconds=120)
    license_it(rack, "")
    return failure()


@pytest.fixture(autouse=True)
def _early(licensed: dict[str, Any]) -> None:
    """The back-off goes by while other tests run."""


def told_instance(world: World, door: CloudProviderStub, name: str, code: str) -> pb.Instance:
    """The one instance of a group, once it is told with that error."""

    def instances() -> list[pb.Instance]:
        try:
            return list(door.NodeGroupNodes(pb.NodeGroupNodesRequest(id=name), timeout=10).instances)
        except grpc.RpcError:
            return []  # it has not heard of the group yet

    world.wait(lambda: [i.status.errorInfo.errorCode for i in instances()] == [code], "the failure is told")
    (told,) = instances()
    assert told.status.instanceState == pb.InstanceStatus.instanceCreating
    return told


def take_back(door: CloudProviderStub, name: str, told: pb.Instance) -> None:
    """As the autoscaler does with an instance that has an error."""
    nodes = [pb.ExternalGrpcNode(name=told.id, providerID=told.id)]
    door.NodeGroupDeleteNodes(pb.NodeGroupDeleteNodesRequest(id=name, nodes=nodes), timeout=10)


@pytest.mark.parametrize("name", CASES)
def test_autoscaler_hears_why_gives_it_back_and_the_next_one_works(racks: dict[str, Rack], name: str) -> None:
    case, rack, world = CASES[name], racks[name], racks[name].world
    with world.door() as door:
        told = told_instance(world, door, name, case.code)
        assert told.status.errorInfo.instanceErrorClass == case.error_class

        (machine,) = world.names(name)
        failed = world.condition("machine", machine, case.condition)
        assert (failed["status"], failed["reason"]) == ("False", case.code)
        message = failed["message"]
        for word in (*case.words, "1 hosts" if name == "taken" else rack.host.name):
            assert word in message
        assert "\n" not in message
        world.wait(lambda: bool(world.warnings("Machine", machine)), "there is an event")
        world.wait(lambda: world.condition("nodeset", name, "Ready").get("reason") == case.code, "the set says it too")
        assert message[:100] in world.condition("nodeset", name, "Ready")["message"]

        take_back(door, name, told)
        assert world.replicas(name) == 0
        if case.asks_host:
            world.wait(lambda: bool(world.condition("machine", machine, "Deleted")), "what holds its end up is told")
            assert rack.host.name in world.condition("machine", machine, "Deleted")["message"]
        else:
            world.wait(lambda: not world.leftovers(name), "it is gone")
        case.mend(rack, message)
        world.wait(lambda: not world.leftovers(name) and rack.is_clean(), "nothing is left, the host is free")
        door.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id=name, delta=1), timeout=10)
    world.wait(rack.runs, "the next one works")
    world.delete("nodeset", name)
    world.wait(lambda: not world.leftovers(name) and rack.is_clean(), "it goes as it came")


@pytest.mark.parametrize("name", AT_CLASS)
def test_class_that_looks_capacity_up_says_what_is_wrong_and_its_set_works_once_it_is_mended(
    racks: dict[str, Rack], name: str
) -> None:
    case, world = AT_CLASS[name], racks["class"].world
    rack = Rack(world, racks["class"].host, racks["class"].key, f"class-{name}", declares=False)
    passing = case.code == "Transient"
    case.break_it(rack)
    world.node_set(rack.name, rack.name, replicas=1)
    for kind in ("Valid", "Ready"):
        world.wait(lambda kind=kind: bool(world.condition("nodeclass", rack.name, kind)), "it is judged")
        judged = world.condition("nodeclass", rack.name, kind)
        assert (judged["status"], judged["reason"]) == ("Unknown" if passing else "False", case.code)
        for word in (*case.words, rack.host.name):
            assert word in judged["message"]
        assert "\n" not in judged["message"]
    if not passing:
        world.wait(lambda: bool(world.warnings("NodeClass", rack.name)), "there is an event")
    reason = "NodeClassPending" if passing else "NodeClassInvalid"
    world.wait(lambda: world.condition("nodeset", rack.name, "Ready").get("reason") == reason, "the set says it too")
    assert judged["message"][:100] in world.condition("nodeset", rack.name, "Ready")["message"]
    assert not world.machines(rack.name), "no machine is tried that cannot work"
    case.mend(rack, judged["message"])
    world.wait(rack.runs, "it works")
    assert world.condition("nodeclass", rack.name, "Valid")["status"] == "True"
    world.delete("nodeset", rack.name)
    world.wait(lambda: not world.leftovers(rack.name) and rack.is_clean(), "it goes as it came")
    world.delete("nodeclass", rack.name)
    rack.host.path("/etc/sudoers.d/zz-mended").unlink(missing_ok=True)


def test_autoscaler_hears_of_a_pool_that_nobody_vouches_for_where_no_machine_is_tried(racks: dict[str, Rack]) -> None:
    world, name = racks["class"].world, "group-of-strangers"
    rack = Rack(world, racks["class"].host, racks["class"].key, name)
    stranger(rack)
    world.node_set(name, name, replicas=1, autoscaling={"maxReplicas": 2})
    with world.door() as door:
        told = told_instance(world, door, name, "NodeClassInvalid")
        assert told.status.errorInfo.instanceErrorClass == OTHER
        assert rack.host.name in told.status.errorInfo.errorMessage
        with pytest.raises(grpc.RpcError) as refused:
            door.NodeGroupTemplateNodeInfo(pb.NodeGroupTemplateNodeInfoRequest(id=name), timeout=10)
        said = refused.value.details()
        for word in (*AT_CLASS["unknown-key"].words, rack.host.name):
            assert word in said
        take_back(door, name, told)
        assert world.replicas(name) == 0
        vouch(rack, said)
        world.wait(lambda: world.condition("nodeclass", name, "Valid").get("status") == "True", "the class is valid")
        door.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id=name, delta=1), timeout=10)
    world.wait(rack.runs, "the next one works")
    world.delete("nodeset", name)
    world.wait(lambda: not world.leftovers(name) and rack.is_clean(), "it goes as it came")
    world.delete("nodeclass", name)


def test_host_that_dies_in_the_middle_of_a_step_and_comes_back_goes_on_with_it(racks: dict[str, Rack]) -> None:
    rack, world = racks["comes-back"], racks["comes-back"].world
    began, ended = rack.host.path("/srv/began"), rack.host.path("/srv/ended")
    world.wait(lambda: began.read_text().count("began") == 2, "the step is begun once more")
    assert not ended.exists()
    rack.host.install("/srv/go", "")
    world.wait(rack.runs, "the machine is finished")
    assert (began.read_text().count("began"), ended.read_text().count("ended")) == (2, 1)
    (machine,) = world.machines(rack.name)
    assert machine["status"]["attempt"] == 1
    assert "lastFailure" not in machine["status"]


def test_command_that_failed_is_tried_again_on_the_host_that_was_mended(
    racks: dict[str, Rack], licensed: dict[str, Any]
) -> None:
    rack, world = racks["again"], racks["again"].world
    assert licensed["code"] == "InstanceFailed"
    assert "/srv/licence is missing" in licensed["message"]
    world.wait(rack.runs, "the second attempt works")
    (machine,) = world.machines(rack.name)
    assert machine["status"]["attempt"] == 2
    assert machine["status"]["clientToken"] == rack.owner
