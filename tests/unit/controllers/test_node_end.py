"""``kubectl delete node`` takes the machine away first; no Node hangs for ever; whose it is decides who lets it go."""

from dataclasses import replace

import msgspec
import pytest
from testbed.memory_world import World
from testbed.objects import NOW, UNREGISTERED, condition, machine, node

from nodeset_provider.api.machine import Machine, MachineTemplate
from nodeset_provider.api.meta import is_true
from nodeset_provider.api.names import CONDITION_INITIALIZED, FINALIZER_NODE
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import Join
from nodeset_provider.controllers.machine.actions import (
    AddFinalizer,
    DeleteMachine,
    DeleteNode,
    Launch,
    Release,
    ReleaseNode,
    SyncNode,
    Wait,
)
from nodeset_provider.controllers.machine.controller import decide
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.kube.resources import EVENTS, MACHINES, NODES

OURS = (FINALIZER_NODE,)


def seen(it: Machine, node: Node | None, memory: Memory | None = None) -> Observed:
    return Observed(
        machine=it, node=node, memory=memory or Memory(attempt=1), cluster="cluster", now=NOW + 60, moment=5000.0
    )


def joined(*, deleting: bool = False) -> Machine:
    conditions = [condition("Launched"), condition("Registered"), condition("Initialized")]
    return machine(conditions=conditions, provider_id="p://1", node_uid="node-uid", deleting=deleting)


def test_deletion_of_its_node_is_the_end_of_the_machine() -> None:
    going = node(provider_id="p://1", finalizers=OURS, deleting=True)
    assert decide(seen(joined(), going)) == DeleteMachine("web-a1b2c")
    elsewhere = node(provider_id="p://1", finalizers=("example.com/other",), deleting=True)
    assert decide(seen(joined(), elsewhere)) == DeleteMachine("web-a1b2c")


@pytest.mark.parametrize(
    "other",
    [
        node(uid="other", provider_id="p://2", finalizers=OURS, deleting=True),
        node(uid="other", provider_id="p://2", finalizers=OURS),
    ],
    ids=["of another machine", "of another machine, and not deleted"],
)
def test_node_of_another_machine_ends_nobody(other: Node) -> None:
    assert not isinstance(decide(seen(joined(), other)), DeleteMachine)


def test_node_that_goes_before_it_was_synced_ends_nothing_and_is_not_written_to() -> None:
    joining = machine(conditions=[condition("Launched")], provider_id="p://1")
    going = node(provider_id="p://1", taints=[UNREGISTERED], finalizers=("example.com/other",), deleting=True)
    assert not isinstance(decide(seen(joining, going)), (DeleteMachine, SyncNode))


def test_finalizer_goes_before_the_node_and_both_before_the_machine() -> None:
    gone = Memory(attempt=1, gone=True)
    it = joined(deleting=True)
    held = node(provider_id="p://1", finalizers=("example.com/other", FINALIZER_NODE))
    assert decide(seen(it, held, gone)) == ReleaseNode(held)
    free = node(provider_id="p://1", finalizers=("example.com/other",))
    assert decide(seen(it, free, gone)) == DeleteNode("web-a1b2c", "node-uid")
    asked = node(provider_id="p://1", finalizers=("example.com/other",), deleting=True)
    assert decide(seen(it, asked, gone)) == Release(), "whoever holds it now is not waited for"
    assert decide(seen(it, held, replace(gone, gone=False))) != ReleaseNode(held)


def test_machine_without_its_finalizer_gets_it_back_before_it_is_deleted_for_its_node() -> None:
    going = node(provider_id="p://1", finalizers=OURS, deleting=True)
    stripped = msgspec.structs.replace(joined(), metadata=msgspec.structs.replace(joined().metadata, finalizers=[]))
    assert decide(seen(stripped, going)) == AddFinalizer()


def test_nothing_boots_under_the_name_of_a_node_that_is_still_going() -> None:
    again = machine(attempt=2, conditions=[condition("Launched", "Unknown", "Retrying")])
    left = node(taints=[UNREGISTERED], finalizers=("example.com/other",), deleting=True)
    assert decide(seen(again, left)) == Wait()
    assert decide(seen(again, None)) == Launch()


async def running(**spec: object) -> World:
    world = World()
    world.put_class()
    world.put_set(replicas=1, **spec)
    await world.start()
    await world.pass_time(3)
    world.join(world.machines[0])
    await world.pass_time(5)
    assert is_true(world.machines[0].status.conditions, CONDITION_INITIALIZED)
    assert world.nodes[0].metadata.finalizers == [FINALIZER_NODE]
    return world


async def test_deleted_node_takes_its_machine_along_and_the_set_makes_another() -> None:
    world = await running()
    (before,) = world.machines
    world.cloud.deletes_needed = 3
    world.delete_node(before.metadata.name)
    await world.settle()
    assert world.nodes, "the Node stays until the machine is gone"
    assert world.cloud.of(before.metadata.name)
    reasons = [event.reason for event in world.all(EVENTS.within("default"))]
    assert "NodeDeleted" in reasons
    await world.pass_time(20)
    assert not world.nodes
    assert [m.metadata.name for m in world.machines] != [before.metadata.name]
    assert [m.machine for m in world.cloud.machines.values()] == [world.machines[0].metadata.name]
    await world.stop()


async def test_deletion_by_the_autoscaler_costs_the_node_one_more_write() -> None:
    world = await running(autoscaling={"maxReplicas": 3})
    (it,) = world.machines
    before = len(world.api.log)
    world.edit_set(replicas=0, removeFirst=[it.metadata.name])
    await world.pass_time(20)
    assert not world.machines
    assert not world.nodes
    writes = [verb for verb, name in world.api.log[before:] if name == it.metadata.name and verb != "get"]
    assert writes == ["delete", "patch", "delete", "patch"], (
        "Machine; the Node's finalizer; Node; the Machine's finalizer"
    )
    await world.stop()


@pytest.mark.parametrize("points", range(12))
async def test_crash_anywhere_after_the_deletion_of_a_node_leaves_nothing(points: int) -> None:
    world = await running()
    (it,) = world.machines
    await world.stop()
    world.api.delete(NODES.path(), it.metadata.name)
    world.crash_after = points
    await world.start()
    await world.pass_time(10)
    await world.restart()
    await world.pass_time(60)
    assert it.metadata.name not in {m.metadata.name for m in world.machines}
    assert not world.nodes
    assert len(world.cloud.machines) == len(world.machines) == 1
    await world.stop()


async def test_node_whose_machine_was_stripped_of_its_finalizer_does_not_hang() -> None:
    world = await running()
    (it,) = world.machines
    world.edit_set(replicas=0)
    world.cloud.deletes_needed = 1000
    await world.pass_time(2)
    world.delete_node(it.metadata.name)
    await world.pass_time(5)
    assert world.nodes, "its Machine is still there"
    world.api.remove(MACHINES.path(), it.metadata.name)
    await world.pass_time(3)
    assert not world.nodes
    await world.stop()


async def test_node_deleted_after_its_machine_was_stripped_goes_and_until_then_stays_as_it_is() -> None:
    world = await running()
    (it,) = world.machines
    world.edit_set(replicas=0)
    world.take_secret()
    world.api.remove(MACHINES.path(), it.metadata.name)
    await world.pass_time(5)
    assert world.nodes[0].metadata.finalizers == [FINALIZER_NODE]
    world.delete_node(it.metadata.name)
    await world.pass_time(3)
    assert not world.nodes
    await world.stop()


async def test_finalizers_of_others_outlive_ours() -> None:
    world = await running()
    (it,) = world.machines
    body = world.api.objects[NODES.path(), it.metadata.name]
    metadata = {**body["metadata"], "finalizers": ["example.com/other", FINALIZER_NODE]}
    world.api.write(NODES.path(), it.metadata.name, {**body, "metadata": metadata})
    world.edit_set(replicas=0)
    await world.pass_time(20)
    assert not world.machines
    assert world.nodes[0].metadata.finalizers == ["example.com/other"]
    assert world.nodes[0].metadata.deleting
    await world.stop()


async def test_node_without_a_machine_is_nobodys_business() -> None:
    world = await running()
    metadata = {"labels": {"nodeset.dev/nodeset": "web"}, "finalizers": ["example.com/other"]}
    world.api.write(NODES.path(), "stranger", {"metadata": metadata})
    await world.pass_time(3)
    world.delete_node("stranger")
    await world.pass_time(5)
    stranger = next(n for n in world.nodes if n.metadata.name == "stranger")
    assert stranger.metadata.finalizers == ["example.com/other"]
    await world.stop()


EKS = MachineTemplate(driver="faulty", node_class_name="small", join=Join(mode="EKS"))


def test_node_that_the_cloud_named_is_synced_under_its_own_name_and_goes_with_the_machine() -> None:
    named = node("ip-10-0-0-1", provider_id="p://1", taints=[UNREGISTERED])
    joining = machine(conditions=[condition("Launched")], provider_id="p://1", template=EKS)
    action = decide(seen(joining, named))
    assert isinstance(action, SyncNode)
    assert action.name == "ip-10-0-0-1"


async def test_machine_whose_node_the_cloud_named_lives_and_dies_with_it() -> None:
    world = World()
    world.put_class(join={"mode": "EKS", "eks": {"clusterName": "c", "cidr": "10.100.0.0/16"}})
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(3)
    (it,) = world.machines
    body = {
        "spec": {"providerID": it.status.provider_id, "taints": [{"key": UNREGISTERED.key, "effect": "NoExecute"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    world.api.write(NODES.path(), "ip-10-0-0-1", body)
    await world.pass_time(5)
    (it,) = world.machines
    assert it.status.node_ref is not None
    assert it.status.node_ref.name == it.node_name == "ip-10-0-0-1"
    assert is_true(it.status.conditions, CONDITION_INITIALIZED)
    assert world.nodeset().status.ready_replicas == 1
    await world.restart()
    world.delete_node("ip-10-0-0-1")
    await world.pass_time(20)
    assert not world.nodes
    assert [m.metadata.name for m in world.machines] != [it.metadata.name]
    world.edit_set(replicas=0)
    await world.pass_time(20)
    assert not world.cloud.machines
    await world.stop()
