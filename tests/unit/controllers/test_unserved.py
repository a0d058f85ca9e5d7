"""A driver that nobody serves is told after a while; whoever serves it has the last word, and is left alone."""

import pytest
from testbed.memory_world import DRIVER, World

from nodeset_provider.api.meta import Condition, find_condition
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.controllers.unserved import PATIENCE_SECONDS
from nodeset_provider.driverkit.errors import Transient
from nodeset_provider.kube.resources import EVENTS, NODE_CLASSES, NODE_SETS

JUDGED = {"type": "Valid", "status": "True", "reason": "Resolved", "message": "machines of 2 cpu"}


def valid(node_class: NodeClass) -> Condition | None:
    return find_condition(node_class.status.conditions, "Valid")


def reason(world: World) -> str:
    found = valid(world.node_class())
    return found.reason if found is not None else ""


def judge(world: World) -> None:
    """As the provider that serves its driver does."""
    body = world.api.objects[NODE_CLASSES.path(), "small"]
    generation = body["metadata"]["generation"]
    status = {"observedGeneration": generation, "conditions": [{**JUDGED, "observedGeneration": generation}]}
    world.api.write(NODE_CLASSES.path(), "small", {**body, "status": status})


async def foreign() -> World:
    world = World()
    world.put_class(driver="aws")
    world.put_set(replicas=2)
    await world.start()
    return world


async def test_class_that_nobody_judges_says_after_two_minutes_that_its_driver_is_not_served_and_so_do_its_sets() -> (
    None
):
    world = await foreign()
    await world.pass_time(PATIENCE_SECONDS - 1, step=10)
    assert not world.node_class().status.conditions
    assert not world.nodeset().status.conditions
    await world.pass_time(2)
    said = valid(world.node_class())
    assert said is not None
    assert (said.status, said.reason) == ("Unknown", "DriverNotServed")
    assert "'aws'" in said.message
    assert "start one" in said.message
    ready = find_condition(world.nodeset().status.conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "DriverNotServed")
    assert ready.message.startswith("0 of 2 ready; spec.driver: ")
    assert not world.machines
    events = [event for event in world.all(EVENTS.within("default")) if event.reason == "DriverNotServed"]
    assert [event.involved_object.kind for event in events] == ["NodeClass"]
    await world.stop()


async def test_what_is_said_costs_one_write_each_and_then_nothing() -> None:
    world = await foreign()
    await world.pass_time(PATIENCE_SECONDS + 1, step=10)
    before = world.api.version
    await world.pass_time(3600, step=60)
    assert world.api.version == before
    world.put_set("more", replicas=1)
    await world.pass_time(2)
    assert world.nodeset("more").status.conditions[0].reason == "DriverNotServed"
    await world.stop()


async def test_class_that_another_provider_judged_is_left_alone_for_good() -> None:
    world = await foreign()
    await world.pass_time(30)
    judge(world)
    await world.pass_time(3600, step=60)
    assert reason(world) == "Resolved"
    assert not world.nodeset().status.conditions
    await world.stop()


async def test_edited_class_is_unjudged_anew_and_has_its_two_minutes() -> None:
    world = await foreign()
    judge(world)
    await world.pass_time(600, step=60)
    world.put_class(driver="aws", config={"type": "big"})
    await world.pass_time(PATIENCE_SECONDS - 1, step=10)
    assert reason(world) == "Resolved"
    await world.pass_time(2)
    assert reason(world) == "DriverNotServed"
    judge(world)
    await world.pass_time(600, step=60)
    assert reason(world) == "Resolved"
    await world.stop()


async def test_provider_that_comes_writes_over_it_and_makes_the_machines() -> None:
    world = World()
    world.served = {"aws": world.factory}
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(PATIENCE_SECONDS + 1, step=10)
    assert reason(world) == "DriverNotServed"
    world.served = {DRIVER: world.factory}
    await world.restart()
    await world.pass_time(5)
    assert reason(world) == "Resolved"
    assert len(world.machines) == 1
    await world.stop()


async def test_provider_that_serves_it_is_not_argued_with_while_its_cloud_is_away() -> None:
    world = World()
    world.cloud.config_error = Transient("no answer")
    world.put_class()
    await world.start()
    await world.pass_time(PATIENCE_SECONDS * 2, step=10)
    assert reason(world) == "Transient"
    world.cloud.config_error = None
    await world.pass_time(80, step=10)
    assert reason(world) == "Resolved"
    body = world.api.objects[NODE_CLASSES.path(), "small"]
    generation = body["metadata"]["generation"]
    said = {
        "type": "Valid",
        "status": "Unknown",
        "reason": "DriverNotServed",
        "message": "",
        "observedGeneration": generation,
    }
    world.api.write(NODE_CLASSES.path(), "small", {**body, "status": {**body["status"], "conditions": [said]}})
    await world.pass_time(3)
    assert reason(world) == "Resolved", "said by one that could not know: corrected at once"
    await world.stop()


async def test_judgement_that_comes_at_the_same_moment_wins() -> None:
    world = await foreign()
    assert world.client is not None
    healthy = world.client.fault
    assert healthy is not None

    async def judged_in_between(verb: str, name: str) -> None:
        if (verb, name) == ("patch", "small"):
            assert world.client is not None
            world.client.fault = healthy
            judge(world)
        await healthy(verb, name)

    world.client.fault = judged_in_between
    await world.pass_time(PATIENCE_SECONDS + 5, step=10)
    assert reason(world) == "Resolved"
    assert world.client.fault is healthy, "the write was tried"
    await world.stop()


@pytest.mark.parametrize("kind", [NODE_CLASSES, NODE_SETS])
async def test_class_or_set_that_is_deleted_meanwhile_is_no_trouble(kind: object) -> None:
    world = await foreign()
    await world.pass_time(60)
    world.api.remove(kind.path(), "small" if kind is NODE_CLASSES else "web")  # type: ignore[attr-defined]
    await world.pass_time(PATIENCE_SECONDS, step=10)
    assert bool(world.all(NODE_CLASSES)) == (kind is NODE_SETS)
    await world.stop()
