"""A finalizer that a person took off: what may be left is named, and what we make too late is taken away again."""

import pytest
from testbed.manual_clock import settle
from testbed.memory_world import World

from nodeset_provider.api.machine import client_token
from nodeset_provider.driverkit.errors import DriverError, InsufficientCapacity, Transient
from nodeset_provider.kube.resources import EVENTS, MACHINES


async def running(*, replicas: int = 1) -> World:
    world = World()
    world.put_class()
    world.put_set(replicas=replicas)
    await world.start()
    await world.pass_time(3)
    return world


def strip(world: World) -> None:
    """``kubectl patch machine … finalizers: null`` of one that is deleted."""
    (it,) = world.machines
    world.api.remove(MACHINES.path(), it.metadata.name)


def told(world: World, kind: str) -> list[str]:
    return [
        event.message
        for event in world.all(EVENTS.within("default"))
        if event.reason == "Abandoned" and event.involved_object.kind == kind
    ]


async def test_stripped_finalizer_is_told_on_the_set_with_the_provider_id_and_the_remedy() -> None:
    world = await running()
    (it,) = world.machines
    world.edit_set(replicas=0)
    world.take_secret()
    strip(world)
    await world.pass_time(3)
    (message,) = told(world, "NodeSet")
    assert it.metadata.name in message
    assert it.status.provider_id in message
    assert "delete it there" in message
    await world.stop()


async def test_machine_that_we_released_or_never_launched_is_nobodys_loss() -> None:
    world = await running()
    world.edit_set(replicas=0)
    await world.pass_time(20)
    assert not world.machines
    world.cloud.fail("create", InsufficientCapacity("none left"))
    world.edit_set(replicas=1)
    await world.pass_time(3)
    world.edit_set(replicas=0)
    strip(world)
    await world.pass_time(3)
    assert not told(world, "NodeSet")
    await world.stop()


async def vanishes_while_it_is_made(world: World) -> str:
    crash_point = world.cloud.point
    assert crash_point is not None
    tokens = []

    async def strip_meanwhile(where: str) -> None:
        if where == "create after" and not tokens:
            tokens.append(client_token(world.machines[0].metadata.uid, 1))
            world.edit_set(replicas=0)
            strip(world)
            await settle()
        await crash_point(where)

    world.cloud.point = strip_meanwhile
    world.edit_set(replicas=1)
    await world.pass_time(1)
    return tokens[0]


@pytest.mark.parametrize("trouble", [None, Transient("away")], ids=["at once", "after a while"])
async def test_machine_that_is_made_for_a_machine_object_that_vanished_meanwhile_is_deleted(
    trouble: DriverError | None,
) -> None:
    world = await running(replicas=0)
    for _ in range(3 if trouble is not None else 0):
        assert trouble is not None
        world.cloud.fail("delete", trouble)
    token = await vanishes_while_it_is_made(world)
    assert world.cloud.made == [token]
    await world.pass_time(60)
    assert not world.cloud.machines
    assert not world.machines
    assert any("deleted again" in message for message in told(world, "NodeSet"))
    await world.stop()


async def test_create_without_an_answer_for_a_machine_object_that_vanished_is_deleted_too() -> None:
    world = await running(replicas=0)
    world.cloud.fail("create", Transient("no answer"), after=True)
    await vanishes_while_it_is_made(world)
    await world.pass_time(60)
    assert not world.cloud.machines
    await world.stop()
