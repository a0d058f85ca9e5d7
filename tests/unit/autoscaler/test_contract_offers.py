"""Templates, options, prices and GPUs. Each docstring names the contract's section and rule."""

import grpc
import pytest
from autoscaler_world import TEMPLATE, World, denied
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb

MINUTE = 60


# --- templates -------------------------------------------------------------------------------------------------------


async def test_both_template_fields_hold_the_same_raw_node(world: World) -> None:
    """§1: bytes nodeInfo = 1 and nodeBytes = 2 both filled with the same raw v1.Node, no k8s envelope."""
    world.node_set()
    answer = await world.call("NodeGroupTemplateNodeInfo", id="a")
    assert answer.nodeInfo == answer.nodeBytes
    assert not answer.nodeInfo.startswith(b"k8s\0")
    node = core_pb2.Node.FromString(answer.nodeInfo)
    assert {name: quantity.string for name, quantity in node.status.allocatable.items()} == TEMPLATE["allocatable"]
    assert {name: quantity.string for name, quantity in node.status.capacity.items()} == TEMPLATE["capacity"]
    assert dict(node.metadata.annotations) == TEMPLATE["annotations"]
    assert [(taint.key, taint.value, taint.effect) for taint in node.spec.taints] == [
        ("dedicated", "batch", "NoSchedule")
    ]
    assert [(condition.type, condition.status) for condition in node.status.conditions] == [("Ready", "True")]
    assert not node.spec.providerID


async def test_the_template_carries_the_group_in_a_label(world: World) -> None:
    """§3: NodePrice gets a made-up node without provider id: put the group id in a label."""
    world.node_set("a", template={**TEMPLATE, "labels": {"zone": "z"}})
    node = core_pb2.Node.FromString((await world.call("NodeGroupTemplateNodeInfo", id="a")).nodeBytes)
    assert dict(node.metadata.labels) == {"zone": "z", "nodeset.dev/nodeset": "a"}


@pytest.mark.parametrize("missing", ["cpu", "memory", "pods"])
async def test_a_template_without_a_required_resource_is_none(world: World, missing: str) -> None:
    """§3: allocatable cpu, memory and pods are required: capacity alone or no pods → no scale-up."""
    allocatable = {name: quantity for name, quantity in TEMPLATE["allocatable"].items() if name != missing}
    world.node_set(template={**TEMPLATE, "allocatable": allocatable})
    refusal = await denied(world.call("NodeGroupTemplateNodeInfo", id="a"))
    assert refusal.code is grpc.StatusCode.UNIMPLEMENTED
    assert refusal.message.endswith(f"lacks {missing}")


async def test_a_group_without_template_hinders_no_other_group(world: World) -> None:
    """§1: neither field set crashes the autoscaler. §3: one group without a template blocked every scale-up on 1.30.7,

    which skips only a group that answers UNIMPLEMENTED. The message is the NodeSet's own Ready condition.
    """
    world.node_set(template=None)
    assert (await denied(world.call("NodeGroupTemplateNodeInfo", id="a"))).code is grpc.StatusCode.UNIMPLEMENTED
    body = world.api.objects["/apis/nodeset.dev/v1alpha1/nodesets", "a"]
    ready = {"type": "Ready", "status": "False", "reason": "NoClass", "message": "there is no NodeClass 'general'"}
    world.api.write("/apis/nodeset.dev/v1alpha1/nodesets", "a", {**body, "status": {"conditions": [ready]}})
    world.catch_up()
    refusal = await denied(world.call("NodeGroupTemplateNodeInfo", id="a"))
    assert refusal.code is grpc.StatusCode.UNIMPLEMENTED
    assert "there is no NodeClass 'general'" in refusal.message


async def test_a_new_template_is_answered_at_once(world: World) -> None:
    """§2: the autoscaler keeps a template per NodeGroup object, so ours may not be older than its question."""
    world.node_set()
    await world.call("NodeGroupTemplateNodeInfo", id="a")
    world.node_set(template={**TEMPLATE, "allocatable": {"cpu": "1", "memory": "1Gi", "pods": "8"}})
    node = core_pb2.Node.FromString((await world.call("NodeGroupTemplateNodeInfo", id="a")).nodeBytes)
    assert node.status.allocatable["pods"].string == "8"


# --- options ---------------------------------------------------------------------------------------------------------

DEFAULTS_NEW = pb.NodeGroupAutoscalingOptions(
    scaleDownUtilizationThreshold=0.5,
    scaleDownGpuUtilizationThreshold=0.4,
    scaleDownUnneededDuration=Duration(seconds=4),
    scaleDownUnreadyDuration=Duration(seconds=1200),
    MaxNodeProvisionDuration=Duration(seconds=8, nanos=5),
    zeroOrMaxNodeScaling=True,
    ignoreDaemonSetsUtilization=True,
)
DEFAULTS_OLD = pb.NodeGroupAutoscalingOptions(
    scaleDownUtilizationThreshold=0.5,
    scaleDownGpuUtilizationThreshold=0.4,
    scaleDownUnneededTime=pb.KubernetesDuration(duration=4_000_000_000),
    scaleDownUnreadyTime=pb.KubernetesDuration(duration=1_200_000_000_000),
)


@pytest.mark.parametrize("options", [None, {}])
@pytest.mark.parametrize("defaults", [DEFAULTS_NEW, DEFAULTS_OLD, None])
async def test_without_overrides_the_answer_is_ok_and_unset(
    world: World, options: dict[str, object] | None, defaults: pb.NodeGroupAutoscalingOptions | None
) -> None:
    """§1: no overrides → answer OK with field 1 unset; UNIMPLEMENTED blocks all scale-down ≤ 1.28 (scenario 27)."""
    world.node_set(options=options)
    answer = await world.call("NodeGroupGetOptions", id="a", defaults=defaults)
    assert answer == pb.NodeGroupAutoscalingOptionsResponse()
    assert not answer.HasField("nodeGroupAutoscalingOptions")


async def test_with_overrides_every_other_field_echoes_the_defaults(world: World) -> None:
    """§1: with overrides: echo the request's defaults and set every field, old and new."""
    world.node_set(options={"scaleDownUnneededSeconds": 90})
    answer = await world.call("NodeGroupGetOptions", id="a", defaults=DEFAULTS_NEW)
    options = answer.nodeGroupAutoscalingOptions
    assert {field.name for field, _ in options.ListFields()} == set(
        pb.NodeGroupAutoscalingOptions.DESCRIPTOR.fields_by_name
    )
    assert (options.scaleDownUtilizationThreshold, options.scaleDownGpuUtilizationThreshold) == (0.5, 0.4)
    assert options.scaleDownUnneededDuration == Duration(seconds=90)
    assert options.scaleDownUnreadyDuration == Duration(seconds=1200)
    assert options.MaxNodeProvisionDuration == Duration(seconds=8, nanos=5)
    assert (options.zeroOrMaxNodeScaling, options.ignoreDaemonSetsUtilization) == (True, True)


async def test_durations_are_set_in_both_forms(world: World) -> None:
    """§1: options present with any duration left out → nil dereference; metav1.Duration is in nanoseconds."""
    world.node_set(options={"maxNodeProvisionSeconds": 600})
    options = (await world.call("NodeGroupGetOptions", id="a", defaults=DEFAULTS_OLD)).nodeGroupAutoscalingOptions
    assert options.scaleDownUnneededTime.duration == 4_000_000_000
    assert options.scaleDownUnneededDuration == Duration(seconds=4)
    assert options.scaleDownUnreadyTime.duration == 1_200_000_000_000
    assert options.scaleDownUnreadyDuration == Duration(seconds=1200)
    assert options.MaxNodeProvisionTime.duration == 600_000_000_000
    assert options.MaxNodeProvisionDuration == Duration(seconds=600)


async def test_new_fields_are_read_before_old_ones(world: World) -> None:
    """§1: read new fields first, then old ones."""
    world.node_set(options={"scaleDownUnreadySeconds": 7})
    both = pb.NodeGroupAutoscalingOptions()
    both.MergeFrom(DEFAULTS_OLD)
    both.scaleDownUnneededDuration.seconds = 11
    options = (await world.call("NodeGroupGetOptions", id="a", defaults=both)).nodeGroupAutoscalingOptions
    assert options.scaleDownUnneededTime.duration == 11_000_000_000


async def test_a_duration_that_the_request_lacks_is_the_flags_default(world: World) -> None:
    """§1: ≤ 1.28 sends no MaxNodeProvisionTime; left out it would mean 0."""
    world.node_set(options={"scaleDownUtilizationThreshold": 0.7})
    options = (await world.call("NodeGroupGetOptions", id="a")).nodeGroupAutoscalingOptions
    assert options.scaleDownUtilizationThreshold == 0.7
    assert options.scaleDownUnneededDuration == Duration(seconds=10 * MINUTE)
    assert options.scaleDownUnreadyDuration == Duration(seconds=20 * MINUTE)
    assert options.MaxNodeProvisionDuration == Duration(seconds=15 * MINUTE)


async def test_an_override_may_be_zero_or_false(world: World) -> None:
    """§1: an override of 0 or false is not "no override"."""
    world.node_set(options={"scaleDownUnneededSeconds": 0, "zeroOrMaxNodeScaling": False})
    options = (await world.call("NodeGroupGetOptions", id="a", defaults=DEFAULTS_NEW)).nodeGroupAutoscalingOptions
    assert options.HasField("scaleDownUnneededDuration")
    assert options.scaleDownUnneededDuration == Duration()
    assert options.zeroOrMaxNodeScaling is False


# --- prices ----------------------------------------------------------------------------------------------------------

HOUR_NEW = {"startTimestamp": Timestamp(seconds=1000), "endTimestamp": Timestamp(seconds=4600)}
HOUR_OLD = {"startTime": Timestamp(seconds=1000), "endTime": Timestamp(seconds=4600)}


def pod(*containers: dict[str, str], **spec: object) -> bytes:
    return core_pb2.Pod(
        spec=core_pb2.PodSpec(containers=[container(**requests) for requests in containers], **spec)
    ).SerializeToString()


def container(restart: str = "", **requests: str) -> core_pb2.Container:
    quantities = {name.replace("_", "."): core_pb2.Quantity(string=text) for name, text in requests.items()}
    return core_pb2.Container(resources=core_pb2.ResourceRequirements(requests=quantities), restartPolicy=restart)


async def node_price(world: World, **fields: object) -> float:
    node = pb.ExternalGrpcNode(**{key: fields.pop(key) for key in ("name", "providerID", "labels") if key in fields})
    return (await world.call("PricingNodePrice", node=node, **(fields or HOUR_NEW))).price


async def test_a_template_node_is_priced_by_its_label(world: World) -> None:
    """§3: a node named template-node-for-<group>-<rand> with labels and no providerID (scenario 25)."""
    world.node_set("a")
    world.node_set("b", price="0.05")
    name = "template-node-for-a-4711"
    assert await node_price(world, name=name, labels={"nodeset.dev/nodeset": "a"}) == pytest.approx(0.2)
    assert await node_price(world, name=name, labels={"nodeset.dev/nodeset": "b"}) == pytest.approx(0.05)
    assert await node_price(world, name="template-node-for-b-4711") == pytest.approx(0.05)


async def test_a_real_node_is_priced_by_its_provider_id(world: World) -> None:
    """§3: resolve by providerID first."""
    world.node_set("a")
    world.node_set("b", price="0.05")
    world.machine("b", provider_id="cloud://1", registered=True)
    price = await node_price(world, name="n", providerID="cloud://1", labels={"nodeset.dev/nodeset": "a"})
    assert price == pytest.approx(0.05)


async def test_the_period_is_read_from_new_or_old_fields(world: World) -> None:
    """§1: Timestamps 4, 5 from 1.34.2; metav1.Time 2, 3 before, the same on the wire."""
    world.node_set("a")
    label = {"labels": {"nodeset.dev/nodeset": "a"}}
    assert await node_price(world, **label, **HOUR_OLD) == pytest.approx(0.2)
    half = {"startTimestamp": Timestamp(), "endTimestamp": Timestamp(seconds=1800)}
    assert await node_price(world, **label, **HOUR_OLD, **half) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "period",
    [{"startTimestamp": Timestamp(seconds=1)}, {"startTime": Timestamp(seconds=9), "endTime": Timestamp(seconds=8)}],
    ids=["incomplete", "backwards"],
)
async def test_a_period_has_to_make_sense(world: World, period: dict[str, Timestamp]) -> None:
    world.node_set("a")
    refusal = await denied(node_price(world, labels={"nodeset.dev/nodeset": "a"}, **period))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_group_without_price_says_how_to_get_one(world: World) -> None:
    """§3: never UNIMPLEMENTED: with --expander=price that means no scale-up ever; an error skips this group only."""
    world.node_set("a", template={**TEMPLATE, "pricePerHour": ""})
    refusal = await denied(node_price(world, labels={"nodeset.dev/nodeset": "a"}))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "spec.autoscaling.pricePerHour" in refusal.message
    refusal = await denied(world.call("PricingPodPrice", pod_bytes=pod({"cpu": "1"}), **HOUR_NEW))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_node_of_no_group_has_no_price(world: World) -> None:
    world.node_set("a", maximum=None)
    refusal = await denied(node_price(world, name="template-node-for-a-1", labels={"nodeset.dev/nodeset": "a"}))
    assert refusal.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("field", ["pod", "pod_bytes"])
async def test_a_pod_is_read_from_the_new_or_the_old_field(world: World, field: str) -> None:
    """§1: pod_bytes=4 from 1.34.2, v1.Pod in field 1 before."""
    world.node_set("a")  # 4 cores + 16 GiB / 8 = 6 units for 0.2
    answer = await world.call("PricingPodPrice", **{field: pod({"cpu": "1500m", "memory": "4Gi"})}, **HOUR_NEW)
    assert answer.price == pytest.approx(0.2 * 2 / 6)


async def test_the_new_pod_field_wins(world: World) -> None:
    """§1: read new fields first."""
    world.node_set("a")
    answer = await world.call("PricingPodPrice", pod_bytes=pod({"cpu": "3"}), pod=pod({"cpu": "1"}), **HOUR_OLD)
    assert answer.price == pytest.approx(0.1)


async def test_a_pod_costs_what_the_cheapest_group_asks(world: World) -> None:
    """The theoretical minimum on a perfectly matching machine."""
    world.node_set("a")
    world.node_set("b", price="0.1")
    world.node_set("person", maximum=None, template={**TEMPLATE, "pricePerHour": "0.001"})
    price = (await world.call("PricingPodPrice", pod_bytes=pod({"cpu": "6"}), **HOUR_NEW)).price
    assert price == pytest.approx(0.1)
    world.node_set("b", price="0.3")
    price = (await world.call("PricingPodPrice", pod_bytes=pod({"cpu": "6"}), **HOUR_NEW)).price
    assert price == pytest.approx(0.2)


async def test_a_gpu_costs_what_its_group_asks_above_cores_and_memory(world: World) -> None:
    world.node_set("a")
    gpus = {**TEMPLATE, "capacity": {**TEMPLATE["capacity"], "nvidia.com/gpu": "2"}, "pricePerHour": "2.2"}
    world.node_set("g", template=gpus)
    request = pod({"cpu": "3", "nvidia_com/gpu": "1"})
    assert (await world.call("PricingPodPrice", pod_bytes=request, **HOUR_NEW)).price == pytest.approx(0.1 + 1.0)


async def test_init_containers_sidecars_and_overhead_count_as_the_scheduler_counts_them(world: World) -> None:
    """KEP-753: max(sidecars so far + init step, sidecars + containers) + overhead."""
    world.node_set("a", price="6")  # 1 a unit
    spec = {
        "initContainers": [container("Always", cpu="1"), container(cpu="5"), container("Always", cpu="1")],
        "overhead": {"cpu": core_pb2.Quantity(string="250m")},
    }
    assert (await world.call("PricingPodPrice", pod=pod({"cpu": "1"}, **spec), **HOUR_NEW)).price == pytest.approx(6.25)
    assert (await world.call("PricingPodPrice", pod=pod({"cpu": "5"}, **spec), **HOUR_NEW)).price == pytest.approx(7.25)


async def test_a_pod_without_requests_is_free(world: World) -> None:
    """The expander adds a stabilisation price of its own."""
    world.node_set("a")
    assert (await world.call("PricingPodPrice", pod=pod({}), **HOUR_NEW)).price == 0


@pytest.mark.parametrize(
    "fields",
    [{}, {"pod": b"\xff\xff"}, {"pod": pod({"cpu": "much"})}],
    ids=["missing", "garbage", "no quantity"],
)
async def test_an_unreadable_pod_is_refused(world: World, fields: dict[str, bytes]) -> None:
    world.node_set("a")
    refusal = await denied(world.call("PricingPodPrice", **fields, **HOUR_NEW))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_one_unreadable_template_does_not_take_the_prices_from_the_others(world: World) -> None:
    world.node_set("a")
    world.node_set("b", template={**TEMPLATE, "capacity": {"cpu": "many"}})
    assert (await world.call("PricingPodPrice", pod=pod({"cpu": "6"}), **HOUR_NEW)).price == pytest.approx(0.2)


# --- GPUs ------------------------------------------------------------------------------------------------------------


async def test_gpu_label_and_types(world: World) -> None:
    """§2, scenario 29: kept for ever once answered; types are the values of the label over all templates."""
    gpus = {**TEMPLATE, "labels": {"nodeset.dev/gpu": "nvidia-l4"}}
    world.node_set("g", template=gpus)
    world.node_set("h", template={**gpus, "labels": {"nodeset.dev/gpu": "nvidia-h100"}})
    world.node_set("a")
    world.node_set("n", template=None)
    assert (await world.call("GPULabel")).label == "nodeset.dev/gpu"
    assert sorted((await world.call("GetAvailableGPUTypes")).gpuTypes) == ["nvidia-h100", "nvidia-l4"]
