"""People scale with kubectl, the autoscaler with its protocol; both get exactly what they asked for."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from testbed.world import World

from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.protocol.externalgrpc_pb2_grpc import CloudProviderStub

RUNNING, CREATING, DELETING = (
    pb.InstanceStatus.instanceRunning,
    pb.InstanceStatus.instanceCreating,
    pb.InstanceStatus.instanceDeleting,
)
HOUR = Timestamp(seconds=3600)


@pytest.fixture(scope="module")
def world(shared: World) -> World:
    shared.node_class("small", "small-2")
    shared.node_class("gpu", "gpu-1")
    shared.node_class("nobodys", "any", driver="elsewhere", credentialsRef=None)
    return shared


def scaled(world: World, name: str, replicas: int) -> None:
    """By kubectl, and all of it came true."""
    world.cluster.kubectl("scale", "nodeset", name, f"--replicas={replicas}")
    world.wait(lambda: world.complete(name, replicas), f"{replicas} machines are ready")


def gone(world: World, name: str) -> None:
    """The NodeSet and all that it had."""
    world.delete("nodeset", name)
    world.wait(lambda: not world.leftovers(name), "nothing is left of its machines")
    assert not world.cluster.kubectl("get", "nodeset", name, "--ignore-not-found")


def as_node(machine: dict[str, Any]) -> pb.ExternalGrpcNode:
    return pb.ExternalGrpcNode(name=machine["metadata"]["name"], providerID=machine["status"]["providerID"])


# --- kubectl ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "more", [pytest.param({}, id="peoples"), pytest.param({"autoscaling": {"maxReplicas": 1}}, id="autoscaled")]
)
def test_kubectl_scale_grows_shrinks_and_is_not_bound_by_the_autoscalers_limits(
    world: World, more: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    name = f"scale-{request.node.callspec.id}"
    world.node_set(name, "small", **more)
    scaled(world, name, 3)
    first = set(world.names(name))
    scaled(world, name, 1)
    assert set(world.names(name)) < first, "it shrank by machines that were there, and made none"
    gone(world, name)
    assert world.never_twice()


def test_scale_subresource_counts_the_machines_that_its_selector_selects(world: World) -> None:
    world.node_set("sub", "small", replicas=2)
    world.wait(lambda: world.complete("sub", 2), "2 machines are ready")
    raw = world.cluster.kubectl("get", "--raw", "/apis/nodeset.dev/v1alpha1/nodesets/sub/scale")
    scale = json.loads(raw)
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["replicas"]) == ("Scale", 2, 2)
    selector = scale["status"]["selector"]
    for kind in ("machines", "nodes"):
        selected = world.items(kind, "-l", selector)
        assert sorted(item["metadata"]["name"] for item in selected) == world.names("sub")
    world.delete("nodeset", "sub")


def test_remove_first_names_exactly_those_that_go(world: World) -> None:
    world.node_set("named", "small", replicas=4)
    world.wait(lambda: world.complete("named", 4), "4 machines are ready")
    names = [machine["metadata"]["name"] for machine in world.machines("named")]
    world.patch("nodeset", "named", {"spec": {"replicas": 2, "removeFirst": names[:2]}})
    world.wait(lambda: world.complete("named", 2), "2 machines are left")
    assert world.names("named") == sorted(names[2:])
    # Named without fewer replicas: another one comes in its place.
    world.patch("nodeset", "named", {"spec": {"removeFirst": [names[2]]}})
    world.wait(lambda: names[2] not in world.names("named") and world.complete("named", 2), "it is replaced")
    assert names[3] in world.names("named")
    world.wait(lambda: not world.get("nodeset", "named")["spec"].get("removeFirst"), "what is done is off the list")
    world.delete("nodeset", "named")


def test_machine_deleted_by_kubectl_is_replaced(world: World) -> None:
    world.node_set("lost", "small", replicas=2)
    world.wait(lambda: world.complete("lost", 2), "2 machines are ready")
    victim, other = world.names("lost")
    world.cluster.kubectl("delete", "machine", victim)
    assert victim not in world.alive("lost"), "the Machine goes after its machine"
    world.wait(lambda: world.complete("lost", 2), "another one takes its place")
    assert other in world.names("lost")
    gone(world, "lost")


# --- the autoscaler's protocol ----------------------------------------------------------------------------------------
def group(world: World, name: str, node_class: str, **autoscaling: Any) -> str:
    world.node_set(name, node_class, autoscaling={"maxReplicas": 5, **autoscaling})
    with world.door() as door:
        world.wait(lambda: name in ids(door.NodeGroups(pb.NodeGroupsRequest(), timeout=10)), "the group is known")
    return name


def ids(groups: pb.NodeGroupsResponse) -> set[str]:
    return {known.id for known in groups.nodeGroups}


class Door:
    """The questions about one group."""

    def __init__(self, stub: CloudProviderStub, group: str) -> None:
        self.stub = stub
        self.group = group

    @property
    def target(self) -> int:
        return int(self.stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id=self.group), timeout=10).targetSize)

    def states(self) -> dict[str, int]:
        listed = self.stub.NodeGroupNodes(pb.NodeGroupNodesRequest(id=self.group), timeout=10).instances
        states = {instance.id: instance.status.instanceState for instance in listed}
        assert len(states) == len(listed), "no id is there twice"
        return states

    def increase(self, delta: int) -> None:
        self.stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id=self.group, delta=delta), timeout=10)

    def decrease(self, delta: int) -> None:
        request = pb.NodeGroupDecreaseTargetSizeRequest(id=self.group, delta=delta)
        self.stub.NodeGroupDecreaseTargetSize(request, timeout=10)

    def delete(self, *nodes: pb.ExternalGrpcNode) -> None:
        self.stub.NodeGroupDeleteNodes(pb.NodeGroupDeleteNodesRequest(id=self.group, nodes=nodes), timeout=10)

    def group_of(self, node: pb.ExternalGrpcNode) -> pb.NodeGroup:
        answer = self.stub.NodeGroupForNode(pb.NodeGroupForNodeRequest(node=node), timeout=10)
        found: pb.NodeGroup = answer.nodeGroup
        return found


def test_increase_is_seen_at_once_and_refused_whole_beyond_the_maximum(world: World) -> None:
    group(world, "inc", "small")
    world.wait(lambda: bool(world.condition("nodeset", "inc", "Ready")), "it is looked at")
    with world.door() as stub:
        door = Door(stub, "inc")
        door.increase(2)
        assert door.target == 2
        assert len(door.states()) == 2, "each is listed from the first moment on"
        assert set(door.states().values()) <= {CREATING, RUNNING}
        with pytest.raises(grpc.RpcError) as refused:
            door.increase(4)
        assert refused.value.code() is grpc.StatusCode.OUT_OF_RANGE
        assert "spec.autoscaling.maxReplicas" in refused.value.details()
        world.wait(lambda: set(door.states().values()) == {RUNNING} and world.complete("inc", 2), "both run")
        nodes = world.items("nodes", "-l", "nodeset.dev/nodeset=inc")
        assert door.states().keys() == {node["spec"]["providerID"] for node in nodes}, "what the autoscaler matches by"
        assert door.target == 2
    gone(world, "inc")
    assert world.never_twice()


def test_delete_nodes_repeated_and_at_once_takes_each_away_once(world: World) -> None:
    group(world, "del", "small", minReplicas=4)
    scaled(world, "del", 4)
    machines = world.machines("del")
    with world.door() as stub, ThreadPoolExecutor(6) as pool:
        door = Door(stub, "del")
        victims = [as_node(machine) for machine in machines[:2]]
        # Both, one of them, both: whatever the order, two are gone, and a minimum is no reason to keep them.
        requests = [victims, victims[:1], victims, victims[1:], victims, victims[:1]]
        list(pool.map(lambda nodes: door.delete(*nodes), requests))
        assert door.target == 2
        assert set(door.states()) >= {as_node(machine).providerID for machine in machines[2:]}
        assert all(door.states().get(victim.providerID, DELETING) == DELETING for victim in victims)
        assert not door.group_of(victims[0]).id, "one that goes is nobody's, else it would be counted"
        world.wait(lambda: world.complete("del", 2), "two are left")
        assert set(world.names("del")) == {machine["metadata"]["name"] for machine in machines[2:]}
        door.delete(*victims)
        assert (door.target, world.replicas("del")) == (2, 2), "gone already: the same answer, and nobody else goes"
        with pytest.raises(grpc.RpcError) as refused:
            door.delete(pb.ExternalGrpcNode(name="stranger", providerID="other://i-1"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    world.delete("nodeset", "del")


def test_decrease_takes_back_only_what_is_not_there(world: World) -> None:
    # Nobody here serves the class's driver: what is asked for stays a wish.
    group(world, "wish", "nobodys")
    group(world, "has", "small")
    scaled(world, "has", 2)
    names = world.names("has")
    with world.door() as stub:
        wish, has = Door(stub, "wish"), Door(stub, "has")
        wish.increase(4)
        wish.decrease(-3)
        assert (wish.target, len(wish.states()), world.replicas("wish")) == (1, 1, 1)
        has.decrease(-2)
        assert (has.target, world.names("has"), world.replicas("has")) == (2, names, 2)
    world.wait(lambda: world.complete("has", 2), "both are still there")
    assert world.names("has") == names
    world.delete("nodeset", "wish", "has")


def test_node_group_for_node_tells_ours_from_everybody_elses(world: World) -> None:
    group(world, "mine", "small", minReplicas=1)
    world.node_set("peoples", "small", replicas=1)
    scaled(world, "mine", 1)
    world.wait(lambda: world.complete("peoples", 1), "the other one is there")
    with world.door() as stub:
        door = Door(stub, "mine")
        found = door.group_of(as_node(world.machines("mine")[0]))
        assert (found.id, found.minSize, found.maxSize) == ("mine", 1, 5)
        assert not door.group_of(as_node(world.machines("peoples")[0])).id, "a set without autoscaling is no group"
        assert not door.group_of(pb.ExternalGrpcNode(name="control-plane-1", providerID="other://i-1")).id
    world.delete("nodeset", "mine", "peoples")


def test_options_prices_and_gpus_reach_the_autoscaler(world: World) -> None:
    group(world, "cheap", "small", options={"scaleDownUnneededSeconds": 42, "zeroOrMaxNodeScaling": True})
    group(world, "dear", "small", pricePerHour="3.5")
    group(world, "gpus", "gpu")
    for name in ("cheap", "dear", "gpus"):
        world.wait(lambda name=name: "template" in world.get("nodeset", name).get("status", {}), "it has a template")
    with world.door() as stub:
        defaults = pb.NodeGroupAutoscalingOptions(
            scaleDownUtilizationThreshold=0.5,
            scaleDownUnneededDuration=Duration(seconds=600),
            scaleDownUnreadyDuration=Duration(seconds=1200),
            MaxNodeProvisionDuration=Duration(seconds=900),
        )
        for name, has in (("cheap", True), ("dear", False)):
            request = pb.NodeGroupAutoscalingOptionsRequest(id=name, defaults=defaults)
            answer = stub.NodeGroupGetOptions(request, timeout=10)
            assert answer.HasField("nodeGroupAutoscalingOptions") == has
            if has:
                options = answer.nodeGroupAutoscalingOptions
                assert options.scaleDownUnneededDuration == Duration(seconds=42)
                assert options.zeroOrMaxNodeScaling
                assert options.scaleDownUtilizationThreshold == 0.5
                assert options.MaxNodeProvisionDuration == Duration(seconds=900)
        for name, price in (("cheap", 0.05), ("dear", 3.5), ("gpus", 0.95)):
            node = pb.ExternalGrpcNode(name=f"template-node-for-{name}-1", labels={"nodeset.dev/nodeset": name})
            request = pb.PricingNodePriceRequest(node=node, startTimestamp=Timestamp(), endTimestamp=HOUR)
            assert stub.PricingNodePrice(request, timeout=10).price == pytest.approx(price)
        pod = core_pb2.Pod(spec=core_pb2.PodSpec(containers=[core_pb2.Container(name="main")]))
        request = pb.PricingPodPriceRequest(startTimestamp=Timestamp(), endTimestamp=HOUR)
        prices = []
        for cpu in ("1", "2"):
            pod.spec.containers[0].resources.requests["cpu"].string = cpu
            request.pod_bytes = pod.SerializeToString()
            prices.append(stub.PricingPodPrice(request, timeout=10).price)
        assert prices[1] == pytest.approx(2 * prices[0])
        assert 0 < prices[0] < 0.05
        label = stub.GPULabel(pb.GPULabelRequest(), timeout=10).label
        assert label == "nodeset.dev/gpu"
        assert set(stub.GetAvailableGPUTypes(pb.GetAvailableGPUTypesRequest(), timeout=10).gpuTypes) == {"nvidia-sim"}
        node = core_pb2.Node.FromString(template(stub, "gpus").nodeBytes)
        assert node.metadata.labels[label] == "nvidia-sim"
    world.delete("nodeset", "cheap", "dear", "gpus")


def template(stub: CloudProviderStub, name: str) -> pb.NodeGroupTemplateNodeInfoResponse:
    answer: pb.NodeGroupTemplateNodeInfoResponse = stub.NodeGroupTemplateNodeInfo(
        pb.NodeGroupTemplateNodeInfoRequest(id=name), timeout=10
    )
    assert answer.nodeInfo == answer.nodeBytes, "the field of old releases says the same as that of new ones"
    return answer
