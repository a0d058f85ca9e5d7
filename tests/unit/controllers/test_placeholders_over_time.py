"""Nodes made with kubectl over time, in a world of memory: joined, cancelled, lost, with a crash anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from testbed.memory_world import World

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import is_true
from nodeset_provider.api.names import (
    ANNOTATION_EXCLUDED,
    ANNOTATION_NODE_CLASS,
    ANNOTATION_PLACEHOLDER,
    CONDITION_INITIALIZED,
    CONDITION_LAUNCHED,
    FINALIZER_NODE,
    LABEL_EXCLUDE_FROM_LOAD_BALANCERS,
    LABEL_NODE_CLASS,
    TAINT_UNINITIALIZED,
    TAINT_UNREGISTERED,
)
from nodeset_provider.api.node import Node
from nodeset_provider.driverkit.errors import InsufficientCapacity, Transient
from nodeset_provider.kube.resources import EVENTS, MACHINES, NODES

NAME = "dev-1"
POINTS = range(22)
REGISTRATIONS = ("Adopt", "Handover")
both = pytest.mark.parametrize("registration", REGISTRATIONS)


async def started(registration: str = "Adopt", *, crash_after: int | None = None, **node: Any) -> World:
    """A class and a Node that asks for it, and a few seconds."""
    world = World()
    world.put_class(registration=registration)
    world.put_node(NAME, **node)
    world.crash_after = crash_after
    await world.start()
    await world.pass_time(3)
    return world


def node(world: World) -> Node:
    return next(found for found in world.nodes if found.metadata.name == NAME)


def launched(world: World) -> Machine:
    its = world.machine(NAME)
    assert is_true(its.status.conditions, CONDITION_LAUNCHED), its.status
    assert len(world.cloud.of(NAME)) == 1
    return its


async def joined(world: World) -> Machine:
    world.join(launched(world))
    await world.pass_time(8)
    its = world.machine(NAME)
    assert is_true(its.status.conditions, CONDITION_INITIALIZED), its.status
    return its


def nothing_is_left(world: World) -> None:
    assert not world.machines
    assert not world.cloud.machines
    assert not world.nodes
    assert not world.tokens


def told(world: World, kind: str = "Node") -> list[str]:
    return [event.reason for event in world.all(EVENTS.within("default")) if event.involved_object.kind == kind]


# --- joining ----------------------------------------------------------------------------------------------------------
async def test_adopted_node_keeps_its_uid_and_gets_everything_that_a_kubelet_may_not_give_it() -> None:
    taint = {"key": "gpu", "effect": "NoSchedule"}
    world = await started("Adopt", labels={"team": "a"}, taints=[taint])
    before = node(world)
    assert {t.key for t in before.spec.taints} == {"gpu", TAINT_UNINITIALIZED}
    assert LABEL_EXCLUDE_FROM_LOAD_BALANCERS in before.metadata.labels
    assert not before.metadata.finalizers
    assert not before.spec.provider_id
    its = await joined(world)
    after = node(world)
    assert after.metadata.uid == before.metadata.uid == its.status.node_ref.uid  # type: ignore[union-attr]
    assert after.spec.provider_id == its.status.provider_id
    assert [t.key for t in after.spec.taints] == ["gpu"]
    assert after.metadata.labels[LABEL_NODE_CLASS] == "small"
    assert after.metadata.labels["team"] == "a"
    assert LABEL_EXCLUDE_FROM_LOAD_BALANCERS not in after.metadata.labels
    assert ANNOTATION_EXCLUDED not in after.metadata.annotations
    assert FINALIZER_NODE in after.metadata.finalizers
    await world.stop()


async def test_handed_over_node_goes_right_before_the_machine_is_made_and_its_wish_comes_back() -> None:
    taint = {"key": "gpu", "effect": "NoSchedule"}
    world = await started("Handover", labels={"team": "a"}, annotations={"note": "x"}, taints=[taint])
    launched(world)
    assert not world.nodes
    order = [entry for entry in world.api.log if entry[1] == NAME and entry[0] in ("delete", "create")]
    assert order == [("create", NAME), ("delete", NAME)], "the Machine, then the placeholder's end"
    await joined(world)
    after = node(world)
    assert after.metadata.labels["team"] == "a"
    assert after.metadata.annotations["note"] == "x"
    assert after.metadata.annotations[ANNOTATION_NODE_CLASS] == "small"
    assert [t.key for t in after.spec.taints] == ["gpu"]
    await world.stop()


async def test_load_balancer_label_of_a_person_stays() -> None:
    world = await started("Adopt", labels={LABEL_EXCLUDE_FROM_LOAD_BALANCERS: "mine"})
    await joined(world)
    assert node(world).metadata.labels[LABEL_EXCLUDE_FROM_LOAD_BALANCERS] == "mine"
    await world.stop()


async def test_placeholder_is_no_registration_however_long_the_boot_takes() -> None:
    world = await started("Adopt")
    unreachable = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
    body = world.api.objects[NODES.path(), NAME]
    spec = {**body["spec"], "taints": [*body["spec"]["taints"], unreachable]}
    conditions = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusNeverUpdated"}]
    world.api.write(NODES.path(), NAME, {**body, "spec": spec, "status": {"conditions": conditions}})
    await world.pass_time(120, step=10)
    assert world.machine(NAME).status.node_ref is None
    assert TAINT_UNINITIALIZED in {t.key for t in node(world).spec.taints}
    assert not node(world).spec.provider_id
    await joined(world)
    assert {t.key for t in node(world).spec.taints} == {"node.kubernetes.io/unreachable"}, "its controller's own"
    await world.stop()


async def test_many_nodes_at_once_get_one_machine_each() -> None:
    world = World()
    world.put_class()
    for number in range(20):
        world.put_node(f"dev-{number}")
    await world.start()
    await world.pass_time(5)
    assert len(world.machines) == len(world.cloud.made) == 20
    assert {m.metadata.name for m in world.machines} == {n.metadata.name for n in world.nodes}
    await world.stop()


# --- what is in the way -----------------------------------------------------------------------------------------------
async def test_missing_class_is_told_once_and_its_coming_is_enough() -> None:
    world = World()
    world.put_node(NAME)
    await world.start()
    await world.pass_time(200, step=10)
    assert told(world) == ["NodeClassNotFound"]
    assert not node(world).spec.taints
    world.put_class()
    await world.pass_time(3)
    launched(world)
    await world.stop()


async def test_class_of_a_driver_that_is_not_served_here_is_left_to_others_in_silence() -> None:
    world = World()
    world.put_class("other", driver="elsewhere")
    world.put_node(NAME, node_class="other")
    await world.start()
    await world.pass_time(100, step=10)
    assert not told(world)
    assert not world.machines
    assert not node(world).spec.taints
    await world.stop()


@both
async def test_launch_that_fails_is_tried_again_under_the_same_name(registration: str) -> None:
    world = World()
    world.put_class(registration=registration)
    world.put_node(NAME)
    world.cloud.fail("create", InsufficientCapacity("none left"))
    await world.start()
    await world.pass_time(60, step=5)
    assert launched(world).status.attempt == 2
    await joined(world)
    await world.stop()


# --- its deletion -----------------------------------------------------------------------------------------------------
async def test_person_who_deletes_the_node_while_it_boots_cancels_it() -> None:
    world = await started("Adopt")
    launched(world)
    world.delete_node(NAME)
    await world.pass_time(30, step=2)
    assert not world.machine(NAME).metadata.deleting, "a grace"
    await world.pass_time(60, step=2)
    nothing_is_left(world)
    assert "Cancelled" in told(world, "Machine")
    await world.stop()


async def test_grace_goes_on_where_the_process_died() -> None:
    world = await started("Adopt")
    world.delete_node(NAME)
    await world.pass_time(50, step=2)
    await world.restart()
    await world.pass_time(20, step=2)
    nothing_is_left(world)
    await world.stop()


async def test_person_who_deletes_the_node_before_anything_was_launched_cancels_it() -> None:
    world = World()
    world.put_class()
    world.put_node(NAME)
    world.cloud.fail("create", InsufficientCapacity("none left"))
    await world.start()
    await world.pass_time(3)
    world.delete_node(NAME)
    await world.pass_time(20)
    nothing_is_left(world)
    assert not world.cloud.made
    await world.stop()


@pytest.mark.parametrize("seconds", [0.0, 3.0], ids=["while it is launched", "while it boots"])
async def test_deletion_by_a_cloud_controller_manager_goes_on_with_a_node_of_the_kubelets_own(seconds: float) -> None:
    world = World()
    world.put_class()
    world.put_node(NAME)
    await world.start()
    await world.pass_time(seconds)
    world.delete_node(NAME, by_cloud=True)
    await world.pass_time(300, step=5)
    its = await joined(world)
    assert its.status.attempt == 1
    assert len(world.cloud.made) == 1
    await world.stop()


async def test_node_deleted_and_made_again_keeps_its_machine() -> None:
    world = await started("Adopt")
    world.delete_node(NAME)
    await world.pass_time(4)
    world.put_node(NAME)
    await world.pass_time(100, step=5)
    its = await joined(world)
    assert its.metadata.annotations[ANNOTATION_PLACEHOLDER] == node(world).metadata.uid
    assert len(world.cloud.made) == 1
    await world.stop()


async def test_node_made_again_with_another_wish_gets_another_machine_once_the_first_is_gone() -> None:
    world = await started("Adopt", labels={"team": "a"})
    world.delete_node(NAME)
    world.put_node(NAME, labels={"team": "b"})
    world.cloud.deletes_needed = 3
    await world.pass_time(40)
    its = await joined(world)
    assert its.spec.template.labels["team"] == "b"
    assert len(world.cloud.made) == 2
    assert not world.cloud.overlapped
    await world.stop()


async def test_kubelet_of_a_machine_that_goes_takes_the_next_node_along_and_that_is_told() -> None:
    world = await started("Adopt", labels={"team": "a"})
    its = launched(world)
    world.delete_node(NAME)
    world.put_node(NAME, labels={"team": "b"})
    world.cloud.deletes_needed = 3
    await world.settle()
    world.join(its)
    await world.pass_time(60)
    nothing_is_left(world)
    assert "NodeTakenOver" in told(world)
    world.put_node(NAME, labels={"team": "b"})
    await world.pass_time(10)
    await joined(world)
    await world.stop()


@both
async def test_kubectl_delete_node_after_it_joined_takes_the_machine_away_for_good(registration: str) -> None:
    world = await started(registration)
    await joined(world)
    world.delete_node(NAME)
    await world.pass_time(60, step=2)
    nothing_is_left(world)
    await world.pass_time(120, step=10)
    nothing_is_left(world)
    await world.stop()


@both
@pytest.mark.parametrize("joins", [False, True])
async def test_kubectl_delete_machine_takes_its_node_along_and_it_does_not_come_back(
    registration: str, *, joins: bool
) -> None:
    world = await started(registration)
    launched(world)
    if joins:
        await joined(world)
    world.delete_machine(NAME)
    await world.pass_time(120, step=5)
    nothing_is_left(world)
    assert len(world.cloud.made) == 1
    await world.stop()


# --- crashes ----------------------------------------------------------------------------------------------------------
@both
@pytest.mark.parametrize("points", POINTS)
async def test_crash_anywhere_on_the_way_to_the_machine_leaves_one(points: int, registration: str) -> None:
    world = await started(registration, crash_after=points)
    await world.restart()
    await world.pass_time(30)
    assert len(world.machines) == len(world.cloud.made) == 1
    await joined(world)
    assert len(world.nodes) == 1
    await world.stop()


@both
async def test_way_to_the_machine_has_no_more_crash_points_than_are_tried(registration: str) -> None:
    world = await started(registration, crash_after=POINTS.stop)
    assert not world.crashed
    launched(world)
    await world.stop()


@both
@pytest.mark.parametrize("points", range(14))
async def test_crash_anywhere_in_a_cancellation_leaves_nothing(points: int, registration: str) -> None:
    world = await started(registration)
    launched(world)
    world.crash_after = points
    if registration == "Adopt":
        world.delete_node(NAME)
    else:
        world.delete_machine(NAME)
    await world.pass_time(90, step=5)
    await world.restart()
    await world.pass_time(90, step=5)
    nothing_is_left(world)
    await world.stop()


@pytest.mark.parametrize("after", [False, True])
async def test_create_without_an_answer_makes_one_machine_and_the_name_stays_its_own(*, after: bool) -> None:
    world = World()
    world.put_class(registration="Handover")
    world.put_node(NAME)
    world.cloud.fail("create", Transient("no answer"), after=after)
    await world.start()
    await world.pass_time(60, step=5)
    await joined(world)
    assert len(world.cloud.made) == 1
    await world.stop()


async def test_lost_answer_to_the_machines_creation_makes_no_second_one() -> None:
    world = World()
    world.put_class()
    await world.start()
    await world.pass_time(2)
    world.put_node(NAME)
    client = world.client
    assert client is not None
    healthy = world.healthy

    async def lose(verb: str, name: str) -> None:
        if (verb, name) == ("create", NAME):
            client.lose_answer = True
            client.fault = healthy
        await healthy(verb, name)

    client.fault = lose
    await world.pass_time(10)
    assert [entry for entry in world.api.log if entry == ("create", NAME)]
    assert len(world.all(MACHINES)) == 1
    launched(world)
    assert TAINT_UNREGISTERED not in {t.key for t in node(world).spec.taints}
    await world.stop()


async def test_class_that_was_taken_off_the_node_and_given_back_is_no_reason_to_wait_for_ever() -> None:
    world = World()
    world.put_class()
    world.cloud.fail("create", InsufficientCapacity("none left"))
    world.put_node(NAME)
    await world.start()
    await world.pass_time(3)
    body = world.api.objects[NODES.path(), NAME]
    without = {k: v for k, v in body["metadata"]["annotations"].items() if k != ANNOTATION_NODE_CLASS}
    world.api.write(NODES.path(), NAME, {**body, "metadata": {**body["metadata"], "annotations": without}})
    await world.pass_time(60, step=5)
    assert not world.cloud.machines, "the Node is a stranger's"
    body = world.api.objects[NODES.path(), NAME]
    given = {**body["metadata"]["annotations"], ANNOTATION_NODE_CLASS: "small"}
    world.api.write(NODES.path(), NAME, {**body, "metadata": {**body["metadata"], "annotations": given}})
    await world.pass_time(3)
    await joined(world)
    await world.stop()


@both
async def test_tool_that_makes_the_node_again_whenever_it_is_gone_gets_one_machine_without_a_complaint(
    registration: str,
) -> None:
    world = World()
    world.put_class(registration=registration)
    world.put_node(NAME)
    point = world.cloud.point
    assert point is not None

    async def apply_again(where: str) -> None:
        if (NODES.path(), NAME) not in world.api.objects:
            world.put_node(NAME)
        await point(where)

    world.cloud.point = apply_again
    world.cloud.fail("create", InsufficientCapacity("none left"))
    world.cloud.fail("create", Transient("no answer"), after=True)
    await world.start()
    await world.pass_time(60, step=2)
    await joined(world)
    assert len(world.cloud.made) == 1
    assert "NodeNameTaken" not in told(world, "Machine")
    await world.stop()


async def test_cloud_whose_words_change_at_each_try_is_told_of_once() -> None:
    world = World()
    world.put_class()
    await world.start()
    await world.pass_time(3)
    point, asked = world.cloud.point, 0
    assert point is not None

    async def refuse(where: str) -> None:
        nonlocal asked
        if where == "resolve":
            asked += 1
            raise Transient(f"no answer to request {asked}")
        await point(where)

    world.cloud.point = refuse
    world.put_node(NAME)
    await world.pass_time(35)
    assert asked > 2
    assert told(world).count("Transient") == 1
    world.cloud.point = point
    await world.pass_time(20)
    launched(world)
    await world.stop()
