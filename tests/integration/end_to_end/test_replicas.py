"""Two replicas of the provider on one cluster: both answer, one leads, and whoever goes leaves nothing half done."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from testbed.provider import NAMESPACE, Provider
from testbed.world import World

from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.protocol.externalgrpc_pb2_grpc import CloudProviderStub

AUTOSCALING = {"maxReplicas": 20, "options": {"scaleDownUnneededSeconds": 60}}
HOUR = Timestamp(seconds=3600)


@pytest.fixture(scope="module")
def second(shared: World) -> Iterator[Provider]:
    with Provider(shared.cluster.control_plane, name="provider-2") as second:
        yield second


@pytest.fixture
def replicas(shared: World, second: Provider) -> Iterator[tuple[Provider, Provider]]:
    """The leader and the other one; both run again when the test is over."""
    both = shared.cluster.provider, second
    shared.wait(lambda: sum(map(shared.leads, both)) == 1, "one of them leads")
    leader = next(filter(shared.leads, both))
    yield leader, both[both.index(leader) - 1]
    for provider in both:
        if not provider.process.running:
            provider.start()


@pytest.fixture(scope="module")
def world(shared: World) -> World:
    shared.node_class("small", "small-2")
    shared.node_class("nobodys", "any", driver="elsewhere", credentialsRef=None)
    return shared


def holder(world: World) -> str:
    lease = world.get("lease", "nodeset-provider", f"--namespace={NAMESPACE}")
    return str(lease["spec"].get("holderIdentity", ""))


def answers(door: CloudProviderStub, group: str, node: pb.ExternalGrpcNode) -> list[Message]:
    """What a replica says of a group and one of its nodes, to everything that can be asked."""
    pod = core_pb2.Pod(spec=core_pb2.PodSpec(containers=[core_pb2.Container(name="main")]))
    pod.spec.containers[0].resources.requests["cpu"].string = "1"
    return [
        door.NodeGroups(pb.NodeGroupsRequest(), timeout=10),
        door.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id=group), timeout=10),
        _sorted(door.NodeGroupNodes(pb.NodeGroupNodesRequest(id=group), timeout=10)),
        door.NodeGroupTemplateNodeInfo(pb.NodeGroupTemplateNodeInfoRequest(id=group), timeout=10),
        door.NodeGroupForNode(pb.NodeGroupForNodeRequest(node=node), timeout=10),
        door.NodeGroupGetOptions(pb.NodeGroupAutoscalingOptionsRequest(id=group), timeout=10),
        door.GPULabel(pb.GPULabelRequest(), timeout=10),
        door.GetAvailableGPUTypes(pb.GetAvailableGPUTypesRequest(), timeout=10),
        door.PricingNodePrice(
            pb.PricingNodePriceRequest(node=node, startTimestamp=Timestamp(), endTimestamp=HOUR), timeout=10
        ),
        door.PricingPodPrice(
            pb.PricingPodPriceRequest(pod_bytes=pod.SerializeToString(), startTimestamp=Timestamp(), endTimestamp=HOUR),
            timeout=10,
        ),
    ]


def _sorted(nodes: pb.NodeGroupNodesResponse) -> pb.NodeGroupNodesResponse:
    return pb.NodeGroupNodesResponse(instances=sorted(nodes.instances, key=lambda instance: instance.id))


def an_instance(world: World, nodeset: str) -> pb.ExternalGrpcNode:
    machine = world.machines(nodeset)[0]
    return pb.ExternalGrpcNode(name=machine["metadata"]["name"], providerID=machine["status"]["providerID"])


def test_both_say_the_same_and_from_their_caches_while_one_leads(
    world: World, replicas: tuple[Provider, Provider]
) -> None:
    leader, other = replicas
    world.node_set("same", "small", autoscaling=AUTOSCALING)
    with world.door(other) as door:
        world.wait(lambda: world.get("nodeset", "same").get("status", {}).get("template") is not None, "a template")
        door.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="same", delta=3), timeout=10)
        target = door.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="same"), timeout=10).targetSize
        assert target == 3, "who wrote it sees it at once, leader or not"
    world.wait(lambda: world.complete("same", 3), "the leader made what the other one was asked for")
    node = an_instance(world, "same")
    with world.door(leader) as one, world.door(other) as two:
        world.wait(lambda: answers(one, "same", node) == answers(two, "same", node), "both have heard of everything")
        before = answers(one, "same", node)
        api_server = world.cluster.control_plane.pids["kube-apiserver"]
        os.kill(api_server, signal.SIGSTOP)
        try:
            assert answers(one, "same", node) == before
            assert answers(two, "same", node) == before
        finally:
            os.kill(api_server, signal.SIGCONT)
    states = {instance.status.instanceState for instance in before[2].instances}  # type: ignore[attr-defined]
    assert states == {pb.InstanceStatus.instanceRunning}
    world.delete("nodeset", "same")


def test_changes_through_both_at_once_add_up(world: World, replicas: tuple[Provider, Provider]) -> None:
    # Nobody here serves the driver, so no Machine disturbs the figures.
    world.node_set("sum", "nobodys", autoscaling=AUTOSCALING)
    with world.door(replicas[0]) as one, world.door(replicas[1]) as two:
        world.wait(lambda: all(knows(door, "sum") for door in (one, two)), "both know the group")

        def grow(door: CloudProviderStub) -> bool:
            try:
                door.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="sum", delta=1), timeout=30)
            except grpc.RpcError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(grow, islice(cycle((one, two)), 16)))
        assert any(done)
        assert world.replicas("sum") == sum(done), "as many as were said to be done"
        for door in (one, two):
            world.wait(lambda door=door: targets(door, "sum") == sum(done), "it has heard of it")
            listed = door.NodeGroupNodes(pb.NodeGroupNodesRequest(id="sum"), timeout=10).instances
            assert len(listed) == sum(done), "each is listed before there is a Machine"
    world.delete("nodeset", "sum")


def knows(door: CloudProviderStub, group: str) -> bool:
    return group in {known.id for known in door.NodeGroups(pb.NodeGroupsRequest(), timeout=10).nodeGroups}


def targets(door: CloudProviderStub, group: str) -> int:
    return door.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id=group), timeout=10).targetSize


def kill(provider: Provider) -> None:
    assert provider.kill() == -signal.SIGKILL


def terminate(provider: Provider) -> None:
    assert provider.stop(30) == 0


@pytest.mark.parametrize("end", [kill, terminate])
def test_who_takes_over_in_the_middle_finishes_with_exactly_what_was_asked(
    world: World, replicas: tuple[Provider, Provider], end: Callable[[Provider], None]
) -> None:
    leader, other = replicas
    name = f"mid-{end.__name__}"
    world.fault("hang", name, when="before", count=2)
    world.fault("hang", name, when="after", count=2)
    world.node_set(name, "small", replicas=6)
    world.wait(lambda: len(world.alive(name)) == 4 and world.struck(name), "4 of 6 are made, 2 nobody heard of")
    end(leader)
    if end is terminate:
        assert holder(world) != leader.name, "the Lease was given up before the process ended"
    world.wait(lambda: world.leads(other), "the other one leads")
    world.wait(lambda: world.complete(name, 6), "it finishes")
    assert world.made_once(name)

    leader.start()
    assert not world.leads(leader), "who comes back does not take the Lease from who has it"
    world.fault("hang", name, operation="delete", when="before", count=2)
    world.fault("hang", name, operation="delete", when="after", count=2)
    world.cluster.kubectl("scale", "nodeset", name, "--replicas=1")
    world.wait(lambda: len(world.alive(name)) == 3 and world.struck(name), "3 of 5 are gone, 2 nobody heard of")
    end(other)
    world.wait(lambda: world.leads(leader), "the first one leads again")
    world.wait(lambda: world.complete(name, 1), "it finishes")
    assert world.made_once(name)
    assert world.never_twice()
    world.delete("nodeset", name)
    world.wait(lambda: not world.leftovers(name), "nothing is left")
