"""Crash anywhere, come back: one machine for a Machine that is there, none for one that is gone (design §5)."""

import pytest
from testbed.memory_world import World

from nodeset_provider.api.meta import is_true
from nodeset_provider.api.names import CONDITION_LAUNCHED
from nodeset_provider.driverkit.errors import InsufficientCapacity, Transient
from nodeset_provider.kube.errors import Unavailable

POINTS_OF_A_LAUNCH = range(14)
POINTS_OF_A_DELETION = range(14)


def launched(world: World) -> list[str]:
    return [m.metadata.name for m in world.machines if is_true(m.status.conditions, CONDITION_LAUNCHED)]


async def one_machine(world: World) -> None:
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(3)


@pytest.mark.parametrize("points", POINTS_OF_A_LAUNCH)
async def test_crash_anywhere_in_a_launch_leaves_one_machine(points: int) -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1)
    world.crash_after = points
    await world.start()
    await world.pass_time(3)
    await world.restart()
    await world.pass_time(30)
    assert len(world.machines) == 1
    assert len(world.cloud.made) == len(world.cloud.machines) == 1
    assert launched(world) == [world.machines[0].metadata.name]
    assert not world.cloud.changed_user_data
    await world.stop()


async def test_a_launch_has_no_more_crash_points_than_are_tried() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1)
    world.crash_after = POINTS_OF_A_LAUNCH.stop
    await world.start()
    await world.pass_time(3)
    assert not world.crashed
    assert len(launched(world)) == 1
    await world.stop()


@pytest.mark.parametrize("points", POINTS_OF_A_DELETION)
async def test_crash_anywhere_in_a_deletion_leaves_nothing(points: int) -> None:
    world = World()
    world.cloud.deletes_needed = 2
    await one_machine(world)
    world.join(world.machines[0])
    await world.pass_time(10)
    world.crash_after = points
    world.edit_set(replicas=0)
    await world.pass_time(10)
    await world.restart()
    await world.pass_time(30)
    assert not world.machines
    assert not world.cloud.machines
    assert not world.nodes
    assert not world.tokens
    await world.stop()


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
async def test_create_that_got_no_answer_is_looked_up_and_makes_one_machine(*, after: bool) -> None:
    world = World()
    world.cloud.fail("create", Transient("no answer"), after=after)
    await one_machine(world)
    await world.pass_time(30)
    calls = [call for call, _ in world.cloud.calls]
    assert calls[:2] == ["create", "get"]
    assert len(world.cloud.made) == 1
    assert len(launched(world)) == 1
    await world.stop()


async def test_absence_is_not_believed_before_the_consistency_delay() -> None:
    world = World()
    world.cloud.consistency_delay = 20.0
    world.cloud.fail("create", Transient("no answer"))
    await one_machine(world)
    await world.pass_time(15)
    assert [call for call, _ in world.cloud.calls].count("create") == 1
    await world.pass_time(15)
    assert [call for call, _ in world.cloud.calls].count("create") == 2
    assert len(launched(world)) == 1
    await world.stop()


async def test_successor_looks_up_every_machine_that_is_not_launched_before_it_creates() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=3)
    world.cloud.fail("create", Transient("no answer"), after=True)
    world.cloud.fail("create", Transient("no answer"))
    await world.start()
    await world.restart()
    known = len(world.cloud.calls)
    await world.pass_time(40)
    later: dict[str, str] = {}
    for call, token in world.cloud.calls[known:]:
        later.setdefault(token, call)
    assert set(later.values()) <= {"get"}
    assert len(world.cloud.made) == len(set(world.cloud.made)) == 3
    assert len(launched(world)) == 3
    await world.stop()


async def test_failed_attempt_is_closed_before_another_token_is_used() -> None:
    world = World()
    world.cloud.fail("create", InsufficientCapacity("none left"))
    await one_machine(world)
    machine = world.machines[0]
    assert machine.status.attempt == 1
    assert machine.status.last_failure is not None
    assert machine.status.last_failure.code == "InsufficientCapacity"
    assert not world.tokens
    await world.pass_time(60)
    assert world.machines[0].status.attempt == 2
    assert len(world.cloud.made) == 1
    assert world.machines[0].status.client_token == world.cloud.made[0]
    await world.stop()


@pytest.mark.parametrize("restart", [False, True], ids=["same process", "successor"])
async def test_slow_create_that_lands_after_a_later_one_was_refused_makes_the_only_machine(*, restart: bool) -> None:
    world = World()
    cloud = world.cloud
    cloud.slow_creates = 1
    if not restart:
        cloud.fail("create", InsufficientCapacity("none left"))
    await one_machine(world)
    if restart:
        cloud.fail("create", InsufficientCapacity("none left"))
        await world.restart()
    await world.pass_time(120)
    assert [call for call, _ in cloud.calls].count("create") == 2
    assert len(cloud.machines) == 1
    assert len(launched(world)) == 1
    assert world.machines[0].status.attempt == 1
    await world.stop()


async def test_set_of_the_autoscaler_leaves_a_failed_machine_to_it() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1, autoscaling={"maxReplicas": 3})
    world.cloud.fail("create", InsufficientCapacity("none left"))
    await world.start()
    await world.pass_time(700)
    assert [call for call, _ in world.cloud.calls] == ["create"]
    assert world.machines[0].status.attempt == 1
    name = world.machines[0].metadata.name
    world.edit_set(replicas=0, removeFirst=[name])
    await world.pass_time(5)
    assert not world.machines
    assert [call for call, _ in world.cloud.calls] == ["create"]
    await world.stop()


async def test_lost_answer_to_the_creation_of_a_machine_makes_no_second_one() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=0)
    await world.start()
    await world.pass_time(3)
    assert world.client is not None
    world.edit_set(replicas=1)
    world.client.lose_answer = True
    await world.pass_time(30)
    assert len(world.machines) == 1
    assert len(launched(world)) == 1
    await world.stop()


async def test_api_server_out_of_reach_changes_nothing_and_is_waited_for() -> None:
    world = World()
    await one_machine(world)
    assert world.client is not None
    down = world.client.fault

    async def refuse(verb: str, name: str) -> None:
        raise Unavailable(503, "ServiceUnavailable", "down")

    world.client.fault = refuse
    world.edit_set(replicas=3)
    await world.pass_time(60)
    assert len(world.machines) == 1
    assert len(world.cloud.made) == 1
    world.client.fault = down
    await world.pass_time(90)
    assert len(launched(world)) == 3
    assert len(world.cloud.machines) == 3
    await world.stop()


async def test_deletion_during_a_launch_in_doubt_finds_the_machine_and_takes_it_away() -> None:
    world = World()
    world.cloud.consistency_delay = 8.0
    world.cloud.fail("create", Transient("no answer"), after=True)
    await one_machine(world)
    world.edit_set(replicas=0)
    await world.pass_time(2)
    assert world.machines, "gone is believed only when the cloud could have shown it"
    await world.pass_time(30)
    assert not world.machines
    assert not world.cloud.machines
    await world.stop()


async def test_machine_that_was_never_launched_goes_without_asking_the_cloud() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(2)
    world.take_secret()
    await world.pass_time(40)
    before = len(world.cloud.calls)
    world.edit_set(replicas=2)
    await world.pass_time(3)
    new = [m.metadata.name for m in world.machines if m.metadata.name not in launched(world)]
    world.edit_set(replicas=1)
    await world.pass_time(5)
    assert all(name not in [m.metadata.name for m in world.machines] for name in new)
    assert len(world.cloud.calls) == before
    await world.stop()


async def test_old_leader_that_was_paused_makes_nothing_and_takes_nothing_away() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=3)
    world.cloud.deletes_needed = 3
    await world.start()
    await world.pass_time(3)
    going, surplus, _ = (machine.metadata.name for machine in world.machines)
    world.delete_machine(going)
    await world.settle()
    world.leads = False
    known, before = len(world.cloud.calls), len(world.machines)
    world.edit_set(replicas=2, removeFirst=[surplus])
    world.put_set("other", replicas=1)
    await world.pass_time(60)
    assert [call for call, _ in world.cloud.calls[known:] if call != "get"] == []
    assert len(world.machines) == before
    assert not world.machine(surplus).metadata.deleting
    world.leads = True
    await world.pass_time(120)
    assert len(world.machines) == len(world.cloud.machines) == 3
    await world.stop()
