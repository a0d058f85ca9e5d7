"""Each cause of a failure is said with its field; and once it is mended the next attempt works, with one machine."""

import pytest
from testbed.memory_world import SECRET, World

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import Condition, find_condition, is_true
from nodeset_provider.api.names import CONDITION_INITIALIZED, CONDITION_LAUNCHED, CONDITION_REGISTERED
from nodeset_provider.driverkit.contract import InstanceState
from nodeset_provider.driverkit.errors import (
    DriverError,
    InsufficientCapacity,
    InvalidSpec,
    QuotaExceeded,
    Transient,
    Unauthorized,
)

FOREVER = 1000
"""Calls of one kind: more than any test waits for."""


def condition(it: Machine, kind: str = CONDITION_LAUNCHED) -> Condition:
    found = find_condition(it.status.conditions, kind)
    assert found is not None
    return found


async def started(*, autoscaled: bool = False) -> World:
    world = World()
    world.put_class(launchTimeoutSeconds=60)
    world.put_set(replicas=1, **({"autoscaling": {"maxReplicas": 3}} if autoscaled else {}))
    await world.start()
    return world


def mend(world: World) -> None:
    world.cloud.faults.clear()


def works(world: World) -> bool:
    (it,) = (m for m in world.machines if not m.metadata.deleting)
    return is_true(it.status.conditions, CONDITION_LAUNCHED) and len(world.cloud.machines) == 1


@pytest.mark.parametrize(
    "error",
    [
        InsufficientCapacity("the pool is full: 3.9 GiB of 4 GiB are taken"),
        QuotaExceeded("instances: 10 of 10"),
        InvalidSpec("no such image: debian-13", field="image"),
        Unauthorized("the key is not accepted"),
        Transient("the network is down"),
    ],
    ids=lambda error: error.code,
)
async def test_what_a_driver_complains_of_is_told_and_when_it_is_mended_the_same_set_gets_its_machine(
    error: DriverError,
) -> None:
    world = World()
    for _ in range(FOREVER):
        world.cloud.fail("create", error)
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(60)
    (it,) = world.machines
    assert (condition(it).status, condition(it).reason) == ("False", error.code)
    field = getattr(error, "field", "")
    assert condition(it).message == (f"spec.config.{field}: {error.message}" if field else error.message)
    assert not world.cloud.machines
    mend(world)
    await world.pass_time(120, step=5)
    assert works(world)
    await world.stop()


async def test_create_that_never_gets_an_answer_is_told_once_and_makes_one_machine_in_the_end() -> None:
    world = World()
    for _ in range(FOREVER):
        world.cloud.fail("create", Transient("request 4711: timed out"), after=False)
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(30)
    (it,) = world.machines
    before = world.api.log.count(("patch", it.metadata.name))
    await world.pass_time(3600, step=15)
    assert world.api.log.count(("patch", it.metadata.name)) == before, "one trouble is one write"
    assert world.machines[0].status.attempt == 1, "nobody vouched that nothing was made"
    mend(world)
    await world.pass_time(80, step=5)
    assert works(world)
    assert world.cloud.made == [next(iter(world.cloud.machines))]
    await world.stop()


async def test_class_that_is_mended_gets_new_machines_in_place_of_those_that_could_never_start() -> None:
    world = await started()
    for _ in range(FOREVER):
        world.cloud.fail("create", InvalidSpec("no such image", field="type"))
    world.edit_set(replicas=2)
    await world.pass_time(200, step=5)
    stuck = {m.metadata.name for m in world.machines if not is_true(m.status.conditions, CONDITION_LAUNCHED)}
    assert stuck
    mend(world)
    world.put_class(config={"type": "big"}, launchTimeoutSeconds=60)
    await world.pass_time(10)
    assert not stuck & {m.metadata.name for m in world.machines}
    assert sorted(m.machine for m in world.cloud.machines.values()) == [m.metadata.name for m in world.machines]
    assert all(m.spec.template.config == {"type": "big"} for m in world.machines if m.metadata.name not in stuck)
    await world.stop()


async def test_machine_that_never_joined_is_replaced_when_the_class_is_mended_and_its_remains_go() -> None:
    world = await started()
    await world.pass_time(70)
    (late,) = world.machines
    assert condition(late, CONDITION_REGISTERED).reason == "RegistrationTimeout"
    world.put_class(launchTimeoutSeconds=60, provisioning={"commands": ["systemctl start containerd"]})
    await world.pass_time(10)
    (it,) = world.machines
    assert it.metadata.name != late.metadata.name
    assert [m.machine for m in world.cloud.machines.values()] == [it.metadata.name]
    world.join(it)
    await world.pass_time(5)
    assert is_true(world.machines[0].status.conditions, CONDITION_INITIALIZED)
    await world.stop()


async def test_class_that_names_another_secret_mends_machines_that_wait_for_one_that_never_comes() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=0)
    await world.start()
    await world.pass_time(3)
    world.take_secret()
    await world.pass_time(40, step=5)
    world.edit_set(replicas=1)
    await world.pass_time(5)
    (it,) = world.machines
    assert condition(it).reason == "SecretNotFound"
    assert SECRET in condition(it).message
    world.give_secret({"token": "good"}, name="other")
    world.put_class(credentialsRef={"name": "other", "namespace": "provider"})
    await world.pass_time(70, step=5)
    assert works(world)
    assert world.machines[0].metadata.name != it.metadata.name
    await world.stop()


async def test_machine_that_dies_while_it_boots_is_cleaned_up_and_tried_again() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(3)
    (it,) = world.machines
    dead = world.cloud.of(it.metadata.name)[0]
    dead.state, dead.message = InstanceState.FAILED, "no boot disk"
    await world.pass_time(62)
    assert condition(world.machines[0]).message == "no boot disk"
    await world.pass_time(40)
    assert works(world)
    assert dead.token not in world.cloud.machines
    await world.stop()


async def test_set_of_the_autoscaler_makes_another_machine_once_it_took_the_failed_one_away() -> None:
    world = World()
    world.cloud.fail("create", InvalidSpec("no such image", field="type"))
    world.put_class()
    world.put_set(replicas=1, autoscaling={"maxReplicas": 3})
    await world.start()
    await world.pass_time(5)
    (failed,) = world.machines
    world.edit_set(replicas=0, removeFirst=[failed.metadata.name])
    await world.pass_time(5)
    assert not world.machines
    world.edit_set(replicas=1)
    await world.pass_time(5)
    assert works(world)
    await world.stop()
