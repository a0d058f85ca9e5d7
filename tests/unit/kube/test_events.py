"""Events tell people enough and the API server not too much, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from testbed.manual_clock import ManualClock, settle
from testbed.memory_api import MemoryApi, MemoryClient

from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.kube import events
from nodeset_provider.kube.errors import ApiError, Forbidden, Unavailable
from nodeset_provider.kube.events import Recorder, Regarding
from nodeset_provider.kube.resources import EVENTS

MACHINE = Regarding("Machine", "nodeset.dev/v1alpha1", ObjectMeta(name="big-abcde", uid="u1"))


def other(number: int) -> Regarding:
    return Regarding("Machine", "nodeset.dev/v1alpha1", ObjectMeta(name=f"big-{number}", uid=f"u{number}"))


@pytest.fixture
async def recorder(client: MemoryClient, clock: ManualClock) -> AsyncIterator[Recorder]:
    recorder = Recorder(client, component="nodeset-provider", clock=clock)
    task = asyncio.create_task(recorder.run())
    await settle()
    yield recorder
    assert not task.done(), "it ended by itself"
    task.cancel()
    await asyncio.wait([task])


def stored(api: MemoryApi, namespace: str = "default") -> list[dict[str, Any]]:
    return [body for (base, _), body in api.objects.items() if base == EVENTS.within(namespace).path()]


def fail(error: ApiError) -> Callable[[str, str], Awaitable[None]]:
    async def fault(verb: str, name: str) -> None:
        raise error

    return fault


async def test_an_event_has_what_kubectl_shows(recorder: Recorder, api: MemoryApi) -> None:
    recorder.event(MACHINE, "Warning", "LaunchFailed", "no c8.large left in zone-a")
    await settle()
    (event,) = stored(api)
    assert event["involvedObject"] == {
        "kind": "Machine",
        "apiVersion": "nodeset.dev/v1alpha1",
        "name": "big-abcde",
        "uid": "u1",
    }
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "LaunchFailed",
        "no c8.large left in zone-a",
    )
    assert event["count"] == 1
    assert event["source"] == {"component": "nodeset-provider"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:16:40Z"


async def test_events_of_namespaced_objects_live_beside_them(recorder: Recorder, api: MemoryApi) -> None:
    recorder.event(("Secret", "v1", ObjectMeta(name="s", namespace="team-a")), "Normal", "R", "m")
    await settle()
    assert len(stored(api, "team-a")) == 1


async def test_the_same_thing_said_again_raises_the_count_by_one_patch(
    recorder: Recorder, api: MemoryApi, clock: ManualClock
) -> None:
    for _ in range(100):
        recorder.event(MACHINE, "Warning", "LaunchFailed", "no capacity")
        await clock.advance(0.1)
    await clock.advance(10)
    (event,) = stored(api)
    assert event["count"] == 100
    assert event["firstTimestamp"] < event["lastTimestamp"]
    assert [verb for verb, _ in api.log] == ["create", "patch", "patch"]


async def test_only_create_and_patch_are_ever_asked_for(recorder: Recorder, api: MemoryApi, clock: ManualClock) -> None:
    for number in range(200):
        recorder.event(other(number % 7), "Warning", "Failed", f"because of {number % 31}")
        await clock.advance(0.5)
    assert {verb for verb, _ in api.log} == {"create", "patch"}


async def test_many_messages_about_one_thing_are_combined(
    recorder: Recorder, api: MemoryApi, clock: ManualClock
) -> None:
    for number in range(500):
        recorder.event(MACHINE, "Warning", "MachineFailed", f"big-{number}: no capacity")
    await clock.advance(60)
    assert len(stored(api)) == events.SIMILAR + 1
    combined = [event for event in stored(api) if event["message"].startswith(events.COMBINED)]
    assert [(event["count"], event["message"]) for event in combined] == [
        (490, f"{events.COMBINED}big-499: no capacity")
    ]


async def test_after_a_quiet_time_messages_are_told_apart_again(
    recorder: Recorder, api: MemoryApi, clock: ManualClock
) -> None:
    for number in range(20):
        recorder.event(MACHINE, "Warning", "Failed", f"m{number}")
    await clock.advance(events.SIMILAR_SECONDS + 1)
    recorder.event(MACHINE, "Warning", "Failed", "something new")
    await clock.advance(1)
    assert "something new" in [event["message"] for event in stored(api)]


async def test_a_storm_does_not_become_a_storm_of_requests(
    recorder: Recorder, api: MemoryApi, clock: ManualClock
) -> None:
    for number in range(800):
        recorder.event(other(number), "Warning", "Failed", "m")
    await clock.advance(10)
    assert len(api.log) == pytest.approx(events.BURST + 10 * events.WRITES_PER_SECOND, abs=2)
    await clock.advance(60)
    assert len(stored(api)) == 800


async def test_what_cannot_be_kept_is_dropped_and_memory_stays_bounded(
    recorder: Recorder, client: MemoryClient, api: MemoryApi, clock: ManualClock
) -> None:
    client.fault = fail(Unavailable(0, "", "down"))
    for number in range(20_000):
        recorder.event(other(number), "Warning", "Failed", f"m{number}")
    await clock.advance(30)
    assert len(recorder._pending) <= events.PENDING
    assert len(recorder._notes) <= events.REMEMBERED
    assert len(recorder._said) <= events.REMEMBERED
    client.fault = None
    await clock.advance(600)
    assert 0 < len(stored(api)) <= events.PENDING


async def test_a_short_failure_loses_nothing(
    recorder: Recorder, client: MemoryClient, api: MemoryApi, clock: ManualClock
) -> None:
    client.fault = fail(Unavailable(503, "", "down"))
    recorder.event(MACHINE, "Warning", "Failed", "m")
    await clock.advance(1)
    client.fault = None
    await clock.advance(30)
    assert len(stored(api)) == 1


async def test_a_create_whose_answer_was_lost_makes_one_event(
    recorder: Recorder, client: MemoryClient, api: MemoryApi, clock: ManualClock
) -> None:
    client.lose_answer = True
    recorder.event(MACHINE, "Warning", "Failed", "m")
    await clock.advance(30)
    recorder.event(MACHINE, "Warning", "Failed", "m")
    await clock.advance(30)
    assert [event["count"] for event in stored(api)] == [2]


async def test_an_event_that_outlived_its_time_is_made_anew(
    recorder: Recorder, api: MemoryApi, clock: ManualClock
) -> None:
    recorder.event(MACHINE, "Warning", "Failed", "m")
    await settle()
    api.objects.clear()
    await clock.advance(3600)
    recorder.event(MACHINE, "Warning", "Failed", "m")
    await clock.advance(10)
    assert [event["count"] for event in stored(api)] == [2]


async def test_a_missing_right_costs_one_try_per_event(
    recorder: Recorder, client: MemoryClient, api: MemoryApi, clock: ManualClock
) -> None:
    client.fault = fail(Forbidden(403, "Forbidden", "events is forbidden"))
    for number in range(5):
        recorder.event(other(number), "Warning", "Failed", "m")
    await clock.advance(600)
    assert len(api.log) == 5


async def test_an_overlong_message_is_cut_to_what_is_allowed(recorder: Recorder, api: MemoryApi) -> None:
    recorder.event(MACHINE, "Warning", "Failed", "x" * 5000)
    await settle()
    assert len(stored(api)[0]["message"]) == 1024


async def test_without_run_nothing_is_sent_and_nobody_waits(
    client: MemoryClient, api: MemoryApi, clock: ManualClock
) -> None:
    recorder = Recorder(client, component="c", clock=clock)
    for number in range(5000):
        recorder.event(other(number), "Normal", "R", "m")
    await settle()
    assert api.log == []
