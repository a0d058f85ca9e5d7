"""Two providers in one cluster, each with its own driver: each serves its own, and neither speaks of the other's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from testbed.binaries import TOOLS
from testbed.provider import NAMESPACE, Provider
from testbed.world import World

from nodeset_provider.protocol import externalgrpc_pb2 as pb

EXAMPLE = TOOLS.parent / "deploy" / "examples" / "several-providers"
A, B = "simulated", "simulated-b"
"""The same cloud under two names of drivers."""
LEASES = {A: "nodeset-provider", B: "nodeset-provider-b"}
PATIENCE_SECONDS = 120.0
"""Until a class that nobody judges, or a provider that went, is told of."""
AUTOSCALING = {"maxReplicas": 9}

pytestmark = pytest.mark.parametrize("cluster", [{"provider_configuration": {"drivers": [A]}}], indirect=True)


@dataclass(frozen=True)
class Pair:
    world: World
    first: Provider
    second: Provider
    nobodys_since: float
    """Moment at which the class of a driver that nobody serves was made."""


@pytest.fixture(scope="module")
def pair(shared: World) -> Iterator[Pair]:
    cluster = shared.cluster
    cluster.kubectl("apply", "--server-side", f"--filename={EXAMPLE / 'access.yaml'}")
    shared.node_class("nobodys", "any", driver="elsewhere", credentialsRef=None)
    shared.node_set("nobodys", "nobodys", replicas=2)
    since = time.monotonic()
    configuration = {"drivers": [B], "leaderElection": {"leaseName": LEASES[B]}}
    with Provider(cluster.control_plane, name="provider-b", configuration=configuration) as second:
        shared.wait(lambda: shared.leads() and shared.leads(second), "both lead")
        shared.node_class("a", "small-2", driver=A)
        shared.node_class("b", "small-2", driver=B)
        yield Pair(shared, cluster.provider, second, since)


def door_says(world: World, name: str) -> dict[str, Any]:
    """What the first provider's front door says of a group."""
    with world.door() as door:
        door.Refresh(pb.RefreshRequest(), timeout=10)
        groups = {group.id for group in door.NodeGroups(pb.NodeGroupsRequest(), timeout=10).nodeGroups}
        listed = door.NodeGroupNodes(pb.NodeGroupNodesRequest(id=name), timeout=10).instances
        return {
            "known": name in groups,
            "target": door.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id=name), timeout=10).targetSize,
            "template": door.NodeGroupTemplateNodeInfo(
                pb.NodeGroupTemplateNodeInfoRequest(id=name), timeout=10
            ).nodeBytes,
            "states": [instance.status.instanceState for instance in listed],
        }


def test_each_makes_the_machines_of_its_own_driver_and_only_those(pair: Pair) -> None:
    world = pair.world
    world.node_set("web-a", "a", replicas=2)
    world.node_set("web-b", "b", replicas=2)
    for name in ("web-a", "web-b"):
        world.wait(lambda name=name: world.complete(name, 2), f"{name} is ready")
        assert world.made_once(name)
    for provider, own in ((pair.first, A), (pair.second, B)):
        text = world.metrics_text(provider)
        asked = {line.split('driver="')[1].split('"')[0] for line in text.splitlines() if 'driver="' in line}
        assert asked == {own}
    holders = {name: world.get("lease", lease, f"--namespace={NAMESPACE}") for name, lease in LEASES.items()}
    assert holders[A]["spec"]["holderIdentity"] == pair.first.name
    assert holders[B]["spec"]["holderIdentity"] == pair.second.name
    assert {own: lease["metadata"]["annotations"]["nodeset.dev/drivers"] for own, lease in holders.items()} == {
        A: A,
        B: B,
    }


def test_neither_complains_of_the_others_objects(pair: Pair) -> None:
    world = pair.world
    for kind, names in {"NodeClass": ["a", "b"], "NodeSet": ["web-a", "web-b"]}.items():
        for name in names:
            assert not world.warnings(kind, name)
    machines = [machine["metadata"]["name"] for name in ("web-a", "web-b") for machine in world.machines(name)]
    assert not [event for name in machines for event in world.warnings("Machine", name)]
    for provider, others in ((pair.first, "web-b"), (pair.second, "web-a")):
        assert others not in provider.log.read_text(), "not even in its log"


def test_front_door_of_one_serves_the_sets_of_both(pair: Pair) -> None:
    world = pair.world
    for name, node_class in (("grown-a", "a"), ("grown-b", "b")):
        world.node_set(name, node_class, autoscaling=AUTOSCALING)
        world.wait(lambda name=name: bool(world.get("nodeset", name).get("status", {}).get("template")), "its template")
        with world.door() as door:
            door.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id=name, delta=2), timeout=10)
        world.wait(lambda name=name: world.complete(name, 2), f"{name} has grown")
        said = door_says(world, name)
        assert said["known"]
        assert said["target"] == 2
        assert said["template"]
        assert said["states"] == [pb.InstanceStatus.instanceRunning] * 2
        victim = world.machines(name)[0]
        node = pb.ExternalGrpcNode(name=victim["metadata"]["name"], providerID=victim["status"]["providerID"])
        with world.door() as door:
            door.NodeGroupDeleteNodes(pb.NodeGroupDeleteNodesRequest(id=name, nodes=[node]), timeout=10)
        world.wait(lambda name=name: world.complete(name, 1), f"{name} has shrunk")
        assert victim["metadata"]["name"] not in world.names(name)
        world.delete("nodeset", name)
        world.wait(lambda name=name: not world.leftovers(name), "nothing is left")


def test_deleted_node_is_answered_by_whoever_made_its_machine(pair: Pair) -> None:
    world = pair.world
    for name in ("web-a", "web-b"):
        victim = world.names(name)[0]
        world.cluster.kubectl("delete", "node", victim, timeout=120)
        assert victim not in world.alive(name), "the Node goes after its machine"
        world.wait(lambda name=name: world.complete(name, 2), "another one takes its place")
        assert victim not in world.names(name)


def test_one_that_dies_leaves_the_other_as_it_was_and_finds_its_own_work_when_it_comes_back(pair: Pair) -> None:
    world = pair.world
    world.node_set("later-b", "b", autoscaling=AUTOSCALING)
    world.wait(lambda: bool(world.get("nodeset", "later-b").get("status", {}).get("template")), "its template")
    before = world.names("web-b")
    pair.second.kill()
    with world.door() as door:
        door.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="later-b", delta=2), timeout=10)
    world.cluster.kubectl("scale", "nodeset", "web-a", "--replicas=4")
    world.wait(lambda: world.complete("web-a", 4), "the other one goes on")
    world.cluster.kubectl("scale", "nodeset", "web-a", "--replicas=1")
    world.wait(lambda: world.complete("web-a", 1), "in both directions")
    assert world.names("web-b") == world.alive("web-b") == before, "nobody touches what is not his"
    assert not world.machines("later-b")
    assert door_says(world, "later-b")["states"] == [pb.InstanceStatus.instanceCreating] * 2
    pair.second.start()
    world.wait(lambda: world.complete("later-b", 2), "it finds what it was asked for meanwhile")
    world.wait(lambda: world.complete("web-b", 2), "and has lost nothing")
    assert world.names("web-b") == before
    assert world.never_twice()


def test_class_of_a_driver_that_nobody_serves_says_so_and_one_whose_provider_went_for_good(pair: Pair) -> None:
    world = pair.world
    pair.second.stop()
    passed = time.monotonic() - pair.nobodys_since
    if passed < PATIENCE_SECONDS - 5:
        assert not world.get("nodeclass", "nobodys").get("status"), "its provider may only be slow"
    world.wait(
        lambda: bool(world.condition("nodeclass", "nobodys", "Valid")), "it is told", seconds=PATIENCE_SECONDS + 60
    )
    told = world.condition("nodeclass", "nobodys", "Valid")
    assert (told["status"], told["reason"]) == ("Unknown", "DriverNotServed")
    assert "'elsewhere'" in told["message"]
    world.wait(lambda: bool(world.condition("nodeset", "nobodys", "Ready")), "its set says so")
    assert world.condition("nodeset", "nobodys", "Ready")["reason"] == "DriverNotServed"
    assert world.condition("nodeclass", "a", "Valid")["status"] == "True"
    assert not world.machines("nobodys")
    assert len({event["metadata"]["name"] for event in world.warnings("NodeClass", "nobodys")}) == 1, "by one of them"

    def unserved(kind: str, name: str, condition: str) -> bool:
        return world.condition(kind, name, condition)["reason"] == "DriverNotServed"

    world.wait(lambda: unserved("nodeclass", "b", "Valid"), "its provider is missed", seconds=2 * PATIENCE_SECONDS)
    world.wait(lambda: unserved("nodeset", "web-b", "Ready"), "its set says so")
    assert world.ready("web-b") == 2, "its machines run on"
    pair.second.start()
    world.wait(lambda: world.condition("nodeclass", "b", "Valid")["status"] == "True", "its provider has the last word")
    world.wait(lambda: world.condition("nodeset", "web-b", "Ready")["status"] == "True", "and its set is well again")
