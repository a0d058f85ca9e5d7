"""What the autoscaler is shown of groups, nodes and instances. Each docstring names the contract's section and rule."""

import grpc
import pytest
from autoscaler_world import World, denied

from nodeset_provider.autoscaler.departed import Departed
from nodeset_provider.protocol import externalgrpc_pb2 as pb


async def test_node_group_for_node_returns_all_four_fields(world: World) -> None:
    """§2: with the id alone the autoscaler sees min = max = 0 and scales a group with min 2 down to 0."""
    world.node_set(minimum=2, maximum=7)
    world.machine(provider_id="cloud://1", registered=True)
    group = await world.group_of("cloud://1", "a-00001")
    assert (group.id, group.minSize, group.maxSize) == ("a", 2, 7)
    assert "NodeSet a of NodeClass general" in group.debug
    [listed] = (await world.call("NodeGroups")).nodeGroups
    assert listed == group


async def test_a_node_of_nobody_gets_an_empty_group(world: World) -> None:
    """§2: id "" = not managed; scenario 32: unmanaged nodes stay untouched."""
    world.node_set()
    answer = await world.call("NodeGroupForNode", node=pb.ExternalGrpcNode(providerID="other://1", name="n"))
    assert answer.HasField("nodeGroup")
    assert answer.nodeGroup == pb.NodeGroup()


async def test_a_node_is_resolved_by_provider_id_never_by_name_or_label(world: World) -> None:
    """§3: placeholders resolve by providerID first, never by labels; 'look-up by name or label' is a usual mistake."""
    world.node_set("a")
    world.node_set("b")
    world.machine("a", "a-1", provider_id="cloud://1", registered=True)
    assert (await world.group_of("cloud://1", "a-1", **{"nodeset.dev/nodeset": "b"})).id == "a"
    assert (await world.group_of("cloud://stranger", "a-1", **{"nodeset.dev/nodeset": "a"})).id == ""


async def test_a_node_without_provider_id_is_nobodys(world: World) -> None:
    """§3: it would count as registered while its instance counts as unregistered."""
    world.node_set()
    world.machine(name="a-1", provider_id="cloud://1")
    assert (await world.group_of("", "a-1")).id == ""


async def test_a_node_without_id_and_name_is_refused(world: World) -> None:
    """Empty ids are the caller's mistake and are named."""
    assert (await denied(world.group_of(""))).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_placeholders_resolve_to_their_group(world: World) -> None:
    """§3: placeholder nodes: name = providerID = Instance.id, no labels."""
    world.node_set(replicas=2)
    machine = world.machine(name="a-1")
    for instance in (f"nodeset://pending/{machine}", "nodeset://pending/a/1"):
        assert (await world.group_of(instance, instance)).id == "a"
    assert (await world.group_of("nodeset://pending/a/2", "nodeset://pending/a/2")).id == ""


async def test_a_placeholder_still_resolves_after_its_machine_got_a_provider_id(world: World) -> None:
    """§3: the autoscaler keeps asking by the id it saw first until it lists the instances again."""
    world.node_set(replicas=1)
    machine = world.machine(name="a-1")
    world.change_machine(machine, status={"providerID": "cloud://1"})
    assert (await world.group_of("nodeset://pending/a-1", "nodeset://pending/a-1")).id == "a"


async def test_after_delete_nodes_the_node_is_nobodys(world: World) -> None:
    """§3: after DeleteNodes answer NodeGroupForNode with "" (#9877)."""
    world.node_set(replicas=1)
    world.machine(provider_id="cloud://1", registered=True)
    await world.delete_nodes("cloud://1")
    assert (await world.group_of("cloud://1", "n")).id == ""


async def test_every_requested_machine_is_listed_at_once(world: World) -> None:
    """§3: list a Creating instance at once for each requested one; target = non-deleting instances + pending ones."""
    world.node_set(replicas=0)
    await world.call("NodeGroupIncreaseSize", id="a", delta=2)
    assert await world.target() == 2
    assert await world.states() == {
        "nodeset://pending/a/1": "instanceCreating",
        "nodeset://pending/a/2": "instanceCreating",
    }
    machine = world.machine(name="a-1")
    assert await world.states() == {
        f"nodeset://pending/{machine}": "instanceCreating",
        "nodeset://pending/a/1": "instanceCreating",
    }


async def test_an_instance_id_is_exactly_the_provider_id(world: World) -> None:
    """§3: matching is exact: Instance.id == node.spec.providerID."""
    world.node_set(replicas=1)
    world.machine(provider_id="Cloud://Zone/ID-1 ", registered=True)
    assert await world.states() == {"Cloud://Zone/ID-1 ": "instanceRunning"}


async def test_states_follow_the_machine(world: World) -> None:
    """§2: state `unspecified` would become a nil status and drop the error."""
    world.node_set(replicas=4, removeFirst=["a-4"])
    world.machine(name="a-1")
    world.machine(name="a-2", provider_id="cloud://2")
    world.machine(name="a-3", provider_id="cloud://3", registered=True)
    world.machine(name="a-4", provider_id="cloud://4", registered=True)
    world.machine(name="a-5", provider_id="cloud://5", registered=True)
    world.delete_machine("a-5")
    assert await world.states() == {
        "nodeset://pending/a-1": "instanceCreating",
        "cloud://2": "instanceCreating",
        "cloud://3": "instanceRunning",
        "cloud://4": "instanceDeleting",
        "cloud://5": "instanceDeleting",
        "nodeset://pending/a/1": "instanceCreating",
    }


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        ("InsufficientCapacity", 1),
        ("QuotaExceeded", 1),
        ("InvalidSpec", 99),
        ("Unauthorized", 99),
        ("InstanceGone", 99),
    ],
)
async def test_a_launch_failure_is_creating_with_error_info(world: World, code: str, error_class: int) -> None:
    """§3: create errors: state Creating with errorInfo; class 1 = OutOfResources, 99 = Other."""
    world.node_set(replicas=1)
    world.failed(world.machine(name="a-1"), code, "no c8.large left in zone-a")
    status = (await world.instances())["nodeset://pending/a-1"]
    assert status.instanceState == pb.InstanceStatus.instanceCreating
    assert (status.errorInfo.errorCode, status.errorInfo.errorMessage) == (code, "no c8.large left in zone-a")
    assert status.errorInfo.instanceErrorClass == error_class


async def test_a_long_failure_is_shortened_for_the_autoscaler(world: World) -> None:
    """It repeats the message in a log line for each instance and each loop. Causes stand at either end: of a machine
    that never joined, the last line of its console is the last of the message."""
    world.node_set(replicas=1)
    message = "no Node within 900 s; it last said" + " and so on" * 100 + " | No bootable device."
    world.failed(world.machine(name="a-1"), "InvalidSpec", message)
    told = (await world.instances())["nodeset://pending/a-1"].errorInfo.errorMessage
    assert told.startswith("no Node within 900 s; it last said and so on")
    assert len(told) == 256
    assert " … " in told
    assert told.endswith(" | No bootable device.")


async def test_a_machine_that_did_not_join_in_its_time_is_creating_with_error_info(world: World) -> None:
    """§3: it would otherwise be waited for until the autoscaler's own time-out, and no other group be tried."""
    world.node_set(replicas=1)
    world.machine(name="a-1", provider_id="cloud://1")
    late = {"type": "Registered", "status": "False", "reason": "RegistrationTimeout"}
    failure = {"code": "RegistrationTimeout", "message": "no Node within 900 s", "time": "2026-01-01T00:00:00Z"}
    launched = {"type": "Launched", "status": "True", "reason": "Launched"}
    world.change_machine("a-1", status={"conditions": [launched, late], "lastFailure": failure})
    status = (await world.instances())["cloud://1"]
    assert status.instanceState == pb.InstanceStatus.instanceCreating
    assert (status.errorInfo.errorCode, status.errorInfo.instanceErrorClass) == ("RegistrationTimeout", 99)


@pytest.mark.parametrize("reason", ["NodeClassInvalid", "NodeClassNotFound", "InvalidConfig", "UserDataTooLarge"])
async def test_a_replica_that_no_machine_is_made_for_until_somebody_mends_the_class_is_creating_with_error_info(
    world: World, reason: str
) -> None:
    """§3: it would otherwise be waited for until the autoscaler's own time-out, and no other group be tried."""
    world.node_set(replicas=2)
    world.machine(name="a-1")
    world.unhealthy(reason, "0 of 2 ready; NodeClass a: no such image")
    instances = await world.instances()
    assert not instances["nodeset://pending/a-1"].HasField("errorInfo"), "its Machine speaks for itself"
    status = instances["nodeset://pending/a/1"]
    assert status.instanceState == pb.InstanceStatus.instanceCreating
    assert (status.errorInfo.errorCode, status.errorInfo.instanceErrorClass) == (reason, 99)
    assert status.errorInfo.errorMessage == "0 of 2 ready; NodeClass a: no such image"


@pytest.mark.parametrize("reason", ["Progressing", "NodeClassPending", "InsufficientCapacity", "Transient"])
async def test_a_replica_whose_machine_may_still_be_made_is_no_error(world: World, reason: str) -> None:
    """§3: an error would make the autoscaler take back what is on its way."""
    world.node_set(replicas=1)
    world.unhealthy(reason, "0 of 1 ready")
    assert not (await world.instances())["nodeset://pending/a/1"].HasField("errorInfo")


async def test_what_was_wrong_with_a_set_before_it_was_edited_is_no_error(world: World) -> None:
    """§3: the edit may have mended it."""
    world.node_set(replicas=1)
    world.unhealthy("InvalidConfig", "spec.config.zone: no such zone", generations_ago=1)
    assert not (await world.instances())["nodeset://pending/a/1"].HasField("errorInfo")


async def test_error_code_is_never_empty(world: World) -> None:
    """§2: errorCode "" → no error."""
    world.node_set(replicas=1)
    world.failed(world.machine(name="a-1"), "")
    assert (await world.instances())["nodeset://pending/a-1"].errorInfo.errorCode == "LaunchFailed"


async def test_no_error_on_running_or_deleting_instances(world: World) -> None:
    """§3: errors on Running instances are ignored and leak; a deleting one is on its way already."""
    world.node_set(replicas=2)
    world.failed(world.machine(name="a-1", provider_id="cloud://1", registered=True), "InstanceFailed")
    world.failed(world.machine(name="a-2", provider_id="cloud://2"), "InstanceFailed")
    world.delete_machine("a-2")
    instances = await world.instances()
    assert not instances["cloud://1"].HasField("errorInfo")
    assert not instances["cloud://2"].HasField("errorInfo")


async def test_a_failure_of_an_earlier_attempt_is_no_error(world: World) -> None:
    """§3: an error would make the autoscaler delete a machine that is being tried again."""
    world.node_set(replicas=1)
    world.failed(world.machine(name="a-1"), "InsufficientCapacity", status="Unknown")
    assert not (await world.instances())["nodeset://pending/a-1"].HasField("errorInfo")


async def test_only_node_sets_with_autoscaling_are_groups(world: World) -> None:
    """§2, scenarios 21 and 22: groups appear and go live; one that is being deleted takes no scale-up."""
    world.node_set("b", maximum=None)
    assert not (await world.call("NodeGroups")).nodeGroups
    world.node_set("c")
    world.node_set("a")
    assert [group.id for group in (await world.call("NodeGroups")).nodeGroups] == ["a", "c"]
    world.machine("c", provider_id="cloud://1", registered=True)
    body = world.api.objects["/apis/nodeset.dev/v1alpha1/nodesets", "c"]
    body = {**body, "metadata": {**body["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    world.api.write("/apis/nodeset.dev/v1alpha1/nodesets", "c", body)
    world.catch_up()
    assert [group.id for group in (await world.call("NodeGroups")).nodeGroups] == ["a"]
    assert (await world.group_of("cloud://1", "n")).id == ""


async def test_bounds_edited_live_are_seen_by_the_next_question(world: World) -> None:
    """§4 scenario 23; 'static min/max' is a usual mistake."""
    world.node_set(minimum=0, maximum=3)
    world.machine(provider_id="cloud://1", registered=True)
    await world.group_of("cloud://1", "n")
    await world.call("NodeGroups")
    world.node_set(minimum=1, maximum=9)
    assert (await world.group_of("cloud://1", "n")).maxSize == 9
    assert (await world.call("NodeGroups")).nodeGroups[0].minSize == 1


@pytest.mark.parametrize(
    "rpc",
    [
        "NodeGroupTargetSize",
        "NodeGroupNodes",
        "NodeGroupTemplateNodeInfo",
        "NodeGroupGetOptions",
        "NodeGroupIncreaseSize",
        "NodeGroupDecreaseTargetSize",
        "NodeGroupDeleteNodes",
    ],
)
@pytest.mark.parametrize("group", ["", "nobody", "person"])
async def test_questions_about_no_group_are_refused(world: World, rpc: str, group: str) -> None:
    """Unknown group: NOT_FOUND; empty id: INVALID_ARGUMENT; the state stays."""
    world.node_set("person", maximum=None)
    delta = {"NodeGroupIncreaseSize": {"delta": 1}, "NodeGroupDecreaseTargetSize": {"delta": -1}}.get(rpc, {})
    refusal = await denied(world.call(rpc, id=group, **delta))
    assert refusal.code is (grpc.StatusCode.NOT_FOUND if group else grpc.StatusCode.INVALID_ARGUMENT)
    assert (group or "id is empty") in refusal.message
    assert not world.writes()


@pytest.mark.parametrize("caches", ["node_sets", "machines"])
async def test_nothing_is_answered_from_caches_that_are_not_filled(world: World, caches: str) -> None:
    """§2: while our caches are not synced, fail Refresh; never answer NodeGroups with a partial or empty list."""
    world.node_set(replicas=1)
    world.start_provider()
    getattr(world, caches)._synced.clear()
    calls = {
        "Refresh": {},
        "NodeGroups": {},
        "NodeGroupForNode": {"node": pb.ExternalGrpcNode(providerID="x", name="x")},
        "NodeGroupTargetSize": {"id": "a"},
        "NodeGroupNodes": {"id": "a"},
        "NodeGroupTemplateNodeInfo": {"id": "a"},
        "NodeGroupGetOptions": {"id": "a"},
        "GetAvailableGPUTypes": {},
        "PricingNodePrice": {"node": pb.ExternalGrpcNode(name="template-node-for-a-1")},
        "PricingPodPrice": {"pod": b"\n\x00"},
        "NodeGroupIncreaseSize": {"id": "a", "delta": 1},
        "NodeGroupDecreaseTargetSize": {"id": "a", "delta": -1},
        "NodeGroupDeleteNodes": {"id": "a", "nodes": [pb.ExternalGrpcNode(providerID="x")]},
    }
    for rpc, fields in calls.items():
        assert (await denied(world.call(rpc, **fields))).code is grpc.StatusCode.UNAVAILABLE, rpc
    assert not world.writes()


async def test_questions_before_the_first_refresh_are_answered(world: World) -> None:
    """§2: NodeGroups, Nodes for each group, NodeGroupForNode and GPULabel arrive before the first Refresh."""
    world.node_set()
    assert (await world.call("NodeGroups")).nodeGroups
    assert not await world.states()
    assert (await world.group_of("x", "x")).id == ""
    assert (await world.call("GPULabel")).label == "nodeset.dev/gpu"
    await world.call("Refresh")
    await world.call("Cleanup")


async def test_memory_of_departed_machines_is_bounded(world: World) -> None:
    """DeleteNodes of a machine that is gone counts as done, within reason."""
    world.node_set()
    departed = Departed(limit=4)
    world.machines.add_handler(departed.on_machine)
    for number in range(5):
        world.machine(name=f"a-{number}", provider_id=f"cloud://{number}")
        world.machine_gone(f"a-{number}")
    assert departed.group_of("cloud://0") is None
    assert departed.group_of("cloud://4") == departed.group_of("nodeset://pending/a-4") == "a"


async def test_a_machine_that_changes_its_set_is_listed_in_one_of_them(world: World) -> None:
    """The cached lists of both groups are dropped."""
    world.node_set("a", replicas=1)
    world.node_set("b")
    world.machine("a", "m-1", provider_id="cloud://1")
    assert "cloud://1" in await world.states("a")
    assert not await world.states("b")
    world.change_machine("m-1", labels={"nodeset.dev/nodeset": "b"})
    assert "cloud://1" not in await world.states("a")
    assert "cloud://1" in await world.states("b")
