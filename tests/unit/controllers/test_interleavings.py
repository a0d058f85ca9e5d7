"""Moments at which a machine, a token, a worker or everybody's time would be lost if nobody looked after them."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from testbed.faulty_cloud import FaultyCloud, FaultyDriver
from testbed.manual_clock import ManualClock, settle
from testbed.memory_api import MemoryApi, MemoryClient
from testbed.memory_world import World
from testbed.objects import NOW, condition, machine

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.node import Node
from nodeset_provider.controllers import resolutions
from nodeset_provider.controllers.account import Account, CallLimits
from nodeset_provider.controllers.freshness import catch_up
from nodeset_provider.controllers.machine.actions import DropToken, Release, WriteStatus
from nodeset_provider.controllers.machine.controller import decide
from nodeset_provider.controllers.machine.memory import SHOW_AFTER_SECONDS, Memory
from nodeset_provider.controllers.machine.observed import REASON_TOKEN_TAKEN, Observed
from nodeset_provider.controllers.machine.terminate import after_destroy
from nodeset_provider.controllers.metrics import (
    MACHINE_FAILURES,
    MACHINES_CREATED,
    MACHINES_LAUNCHED,
    MACHINES_TERMINATED,
)
from nodeset_provider.controllers.resolver import REFRESH_SECONDS, Resolution
from nodeset_provider.driverkit.contract import Deletion, Instance, InstanceKey, Offering
from nodeset_provider.driverkit.errors import InsufficientCapacity, InvalidSpec, QuotaExceeded, Transient
from nodeset_provider.kube import metrics
from nodeset_provider.kube.errors import AlreadyExists, Forbidden, Unavailable
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import EVENTS, MACHINES, NODE_SETS, NODES, SECRETS

MOMENT = 500.0


def seen(it: Machine, memory: Memory) -> Observed:
    return Observed(machine=it, node=None, memory=memory, cluster="cluster", now=NOW, moment=MOMENT)


async def running(*, replicas: int) -> World:
    world = World()
    world.put_class()
    world.put_set(replicas=replicas)
    await world.start()
    await world.pass_time(3)
    return world


# --- a machine ------------------------------------------------------------------------------------------------------


async def test_machine_deleted_while_it_is_made_is_taken_away_though_the_cloud_denies_it_at_first() -> None:
    world = await running(replicas=0)
    crash_point = world.cloud.point
    assert crash_point is not None

    async def delete_meanwhile(where: str) -> None:
        if where == "create after":
            world.edit_set(replicas=0)
            world.delete_machine(world.machines[0].metadata.name)
            await settle()
        await crash_point(where)

    world.cloud.point = delete_meanwhile
    world.edit_set(replicas=1)
    await world.pass_time(60)
    assert len(world.cloud.made) == 1
    assert not world.machines
    assert not world.cloud.machines
    await world.stop()


@pytest.mark.parametrize(
    ("it", "memory"),
    [
        (machine(deleting=True), Memory(attempt=1, made_at=MOMENT - 3)),
        (
            machine(deleting=True, conditions=[condition("Launched", "False", "InstanceFailed")], provider_id="p://1"),
            Memory(attempt=1),
        ),
    ],
    ids=["made, not written down", "failed at once, by an earlier process"],
)
def test_gone_is_not_believed_of_a_machine_that_was_just_made(it: Machine, memory: Memory) -> None:
    o = seen(it, memory)
    early = after_destroy(memory, Deletion.GONE, o, delay=10, random=Random(0))
    assert not early.gone
    assert early.not_before > MOMENT
    late = replace(o, now=NOW + 20, moment=MOMENT + 20)
    assert after_destroy(memory, Deletion.GONE, late, delay=10, random=Random(0)).gone


async def test_whoever_begins_to_lead_on_a_cache_that_is_behind_waits_for_what_was_deleted() -> None:
    api, clock = MemoryApi(), ManualClock()
    client = MemoryClient(api)
    cache: Informer[Node] = Informer(client, NODES, clock=clock, random=lambda: 0.5)
    api.write(NODES.path(), "stays", {})
    api.write(NODES.path(), "goes", {})
    watching = asyncio.create_task(cache.run())
    await settle()

    async def no_watch(verb: str, name: str) -> None:
        if verb == "watch":
            raise Unavailable(503, "ServiceUnavailable", "no watches for now")

    client.fault = no_watch
    api.break_watches()
    await settle()
    api.remove(NODES.path(), "goes")
    api.write(NODES.path(), "stays", {"metadata": {"labels": {"news": "yes"}}})
    api.write(NODES.path(), "comes", {})
    await settle()
    assert {item.metadata.name for item in cache.items()} == {"stays", "goes"}, "nobody told the cache"

    current = asyncio.create_task(catch_up(client, NODES, cache, clock))
    for _ in range(20):
        await clock.advance(0.1)
    stays = cache.get("stays")
    assert stays is not None
    assert stays.metadata.labels == {"news": "yes"}
    assert cache.get("comes") is not None
    assert not current.done(), "what the cache still shows must not be acted on"

    client.fault = None
    for _ in range(100):
        await clock.advance(0.5)
    assert current.done()
    assert cache.get("goes") is None
    watching.cancel()


async def test_machine_whose_creation_got_no_answer_goes_with_its_set() -> None:
    world = await running(replicas=0)
    assert world.client is not None
    world.edit_set(replicas=1)
    world.client.lose_answer = True
    await settle()
    assert len(world.machines) == 1
    world.api.remove(NODE_SETS.path(), "web")
    world.delete_machine(world.machines[0].metadata.name)  # as the garbage collector does
    await world.pass_time(60)
    assert not world.machines
    assert not world.cloud.machines
    await world.stop()


async def test_name_that_was_taken_for_a_moment_holds_up_no_machine() -> None:
    world = await running(replicas=0)
    assert world.client is not None
    taken: list[str] = []

    async def taken_once(verb: str, name: str) -> None:
        if verb == "create" and name.startswith("web-") and not taken:
            taken.append(name)
            raise AlreadyExists(409, "AlreadyExists", name)
        await world.healthy(verb, name)

    world.client.fault = taken_once
    world.edit_set(replicas=1)
    await world.pass_time(5)
    assert taken
    assert len(world.machines) == 1
    await world.stop()


async def test_machine_of_another_set_in_remove_first_stays_and_its_name_goes() -> None:
    world = await running(replicas=1)
    world.put_set("other", replicas=1)
    await world.pass_time(5)
    (theirs,) = [it.metadata.name for it in world.machines if it.metadata.name.startswith("other-")]
    world.edit_set("web", removeFirst=[theirs])
    await world.pass_time(10)
    assert world.nodeset("web").spec.remove_first == []
    assert not world.machine(theirs).metadata.deleting
    assert len(world.machines) == len(world.cloud.made) == 2
    assert any(event.reason == "NotOfThisSet" for event in world.all(EVENTS.within("default")))
    await world.stop()


def counted(nodeset: str) -> dict[str, float]:
    return {
        sample.name: sample.value
        for metric in (MACHINES_CREATED, MACHINES_LAUNCHED, MACHINES_TERMINATED, MACHINE_FAILURES)
        for family in metric.collect()
        for sample in family.samples
        if sample.labels["nodeset"] == nodeset and not sample.name.endswith("_created")
    }


async def test_metrics_of_a_set_go_with_it_and_its_last_machine() -> None:
    world = await running(replicas=0)
    world.put_set("short-lived", replicas=2)
    world.cloud.fail("create", InsufficientCapacity("none left"))
    await world.pass_time(5)
    first, second = (machine.metadata.name for machine in world.machines)
    world.edit_set("short-lived", replicas=1, removeFirst=[first])
    await world.pass_time(20)
    assert counted("short-lived") == {
        "nodeset_machines_created_total": 2.0,
        "nodeset_machines_launched_total": 1.0,
        "nodeset_machines_terminated_total": 1.0,
        "nodeset_machine_failures_total": 1.0,
    }
    world.api.remove(NODE_SETS.path(), "short-lived")
    await world.pass_time(2)
    assert counted("short-lived")
    world.delete_machine(second)  # as the garbage collector does
    await world.pass_time(20)
    assert not world.machines
    assert not counted("short-lived")
    await world.stop()


# --- a token --------------------------------------------------------------------------------------------------------


class _Taken(QuotaExceeded):
    code = REASON_TOKEN_TAKEN


def test_token_whose_id_is_taken_is_left_to_the_machine_that_has_it() -> None:
    memory = Memory(attempt=1, failure=_Taken("the id is in use"))
    shown = decide(seen(machine(), memory))
    assert isinstance(shown, WriteStatus)
    assert not shown.drop_token
    assert decide(seen(machine(deleting=True), memory)) == Release()
    failed = machine(deleting=True, conditions=[condition("Launched", "False", REASON_TOKEN_TAKEN)])
    assert decide(seen(failed, Memory(attempt=1))) == Release()


async def test_machine_found_again_whose_token_another_machine_has_is_replaced_and_that_token_left_alone() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1)
    world.cloud.fail("create", Transient("no answer"), after=True)
    await world.start()
    assert len(world.cloud.made) == 1
    (name,) = world.tokens
    base = SECRETS.within("kube-system").path()
    body = world.api.objects[base, name]
    world.api.write(base, name, {**body, "stringData": {"auth-extra-groups": "system:bootstrappers:nodeset:another"}})
    await world.pass_time(90)
    assert name in world.tokens
    assert len(world.cloud.made) == 2
    assert [machine.token for machine in world.cloud.machines.values()] == [world.cloud.made[1]]
    assert world.machines[0].status.attempt == 2
    assert any(event.reason == "InstanceFailed" for event in world.all(EVENTS.within("default")))
    await world.stop()


async def test_api_server_that_does_not_take_a_tokens_secret_is_shown_once_it_has_lasted() -> None:
    world = await running(replicas=0)
    assert world.client is not None

    async def no_secrets(verb: str, name: str) -> None:
        if verb == "create" and name.startswith("bootstrap-token-"):
            raise Forbidden(403, "Forbidden", "no right to create secrets")
        await world.healthy(verb, name)

    world.client.fault = no_secrets
    world.edit_set(replicas=1)
    await world.pass_time(SHOW_AFTER_SECONDS - 2)
    assert find_condition(world.machines[0].status.conditions, "Launched") is None
    await world.pass_time(5)
    launched = find_condition(world.machines[0].status.conditions, "Launched")
    assert launched is not None
    assert (launched.status, launched.reason) == ("False", "BootstrapTokenNotWritten")
    assert "no right to create secrets" in launched.message
    world.client.fault = world.healthy
    await world.pass_time(90)
    assert len(world.cloud.machines) == 1
    assert world.machines[0].status.attempt == 1
    await world.stop()


def test_token_of_any_other_attempt_that_failed_is_dropped() -> None:
    shown = decide(seen(machine(), Memory(attempt=1, failure=QuotaExceeded("no"))))
    assert isinstance(shown, WriteStatus)
    assert shown.drop_token
    failed = machine(deleting=True, conditions=[condition("Launched", "False", "QuotaExceeded")])
    assert decide(seen(failed, Memory(attempt=1))) == DropToken()


# --- a worker, everybody's time --------------------------------------------------------------------------------------


def looks() -> float:
    """How often NodeSets were looked at so far."""
    return sum(
        sample.value
        for family in metrics.RECONCILES.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and str(sample.labels.get("controller", "")).startswith("nodeset/")
    )


async def test_set_whose_class_cannot_work_is_not_looked_at_over_and_over() -> None:
    world = await running(replicas=1)
    before_trouble = looks()
    assert before_trouble > 0
    world.cloud.config_error = InvalidSpec("no such type", field="type")
    world.put_class(config={"type": "huge"})
    await world.pass_time(REFRESH_SECONDS * 1.5, step=10.0)
    before = looks()
    await world.pass_time(10.0, step=0.1)
    assert looks() - before < 10
    await world.stop()


async def test_surprise_in_a_renewal_ends_nothing_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await running(replicas=1)
    resolve = resolutions.resolve
    surprises = 1

    async def resolve_with_a_surprise(*args: Any) -> Resolution | resolutions.Problem:
        nonlocal surprises
        surprises -= 1
        if surprises >= 0:
            raise KeyError("unforeseen")
        return await resolve(*args)

    monkeypatch.setattr(resolutions, "resolve", resolve_with_a_surprise)
    await world.pass_time(REFRESH_SECONDS * 1.2, step=5.0)
    assert surprises < 0, "it was tried again"
    world.edit_set(replicas=2)
    await world.pass_time(5)
    assert len(world.cloud.machines) == 2
    await world.stop()


class _LetsGo(FaultyDriver):
    """A driver whose own background work was cancelled, and with it the future that a call waited for."""

    async def resolve(self, config: Mapping[str, Any]) -> Offering:
        raise asyncio.CancelledError

    async def get(self, key: InstanceKey) -> Instance:
        raise asyncio.CancelledError


async def test_call_that_the_driver_itself_cancelled_is_an_unknown_effect_and_costs_no_worker() -> None:
    driver = _LetsGo(FaultyCloud(clock=ManualClock().monotonic))
    account = Account("lets-go", driver, asyncio.Semaphore(1), CallLimits())
    with pytest.raises(Transient, match="get"):
        await account.get(InstanceKey(cluster="c", token="t"))
    with pytest.raises(Transient, match="resolve"):
        await account.resolve({})


class _NoneLeftInZone(InsufficientCapacity):
    """A driver's own, finer kind of a known error."""


async def test_drivers_own_kind_of_an_error_closes_the_attempt_as_its_parent_does() -> None:
    world = await running(replicas=0)
    world.cloud.fail("create", _NoneLeftInZone("none left in zone a"))
    world.edit_set(replicas=1)
    await world.pass_time(5)
    (it,) = world.all(MACHINES)
    launched = find_condition(it.status.conditions, "Launched")
    assert launched is not None
    assert (launched.status, launched.reason) == ("False", "InsufficientCapacity")
    writes = len(world.api.log)
    await world.pass_time(10)
    assert len(world.api.log) - writes < 5, "it is written down once"
    await world.stop()
