"""At most one leader at any moment, and soon another one when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from testbed.manual_clock import ManualClock, settle
from testbed.memory_api import MemoryApi, MemoryClient

from nodeset_provider.kube.errors import ApiError, Unavailable
from nodeset_provider.kube.lease import LeaderElector
from nodeset_provider.kube.resources import LEASES

BASE = LEASES.within("system").path()


class Candidate:
    """One process: its elector, its connection, and whether its work runs."""

    def __init__(self, api: MemoryApi, clock: ManualClock, identity: str, **settings: float) -> None:
        self.client = MemoryClient(api)
        self.clock = clock
        self.leading = False
        self.terms = 0
        self.stopping_takes = 0.0
        self.elector = LeaderElector(
            self.client,
            namespace="system",
            name="provider",
            identity=identity,
            clock=clock,
            random=lambda: 0.5,
            **settings,
        )
        self.task: asyncio.Task[None] | None = None

    async def lead(self) -> None:
        self.leading = True
        self.terms += 1
        try:
            await asyncio.Event().wait()
        finally:
            if self.stopping_takes:
                await self.clock.sleep(self.stopping_takes)
            self.leading = False

    async def start(self) -> None:
        self.task = asyncio.create_task(self.elector.run(self.lead))
        await settle()

    async def stop(self) -> None:
        """As on SIGTERM."""
        if self.task is not None:
            self.task.cancel()
            await settle()

    def kill(self) -> None:
        """As kill -9: nothing that it has begun is finished."""
        self.client.fault = fail(Unavailable(0, "", "dead"))
        self.leading = False
        if self.task is not None:
            self.task.cancel()


def fail(error: ApiError) -> Callable[[str, str], Awaitable[None]]:
    async def fault(verb: str, name: str) -> None:
        raise error

    return fault


def holder(api: MemoryApi) -> str:
    return str(api.objects[BASE, "provider"]["spec"].get("holderIdentity", ""))


@pytest.fixture
def one(api: MemoryApi, clock: ManualClock) -> Candidate:
    return Candidate(api, clock, "one")


@pytest.fixture
def two(api: MemoryApi, clock: ManualClock) -> Candidate:
    return Candidate(api, clock, "two")


async def test_the_first_one_leads_and_the_second_waits(one: Candidate, two: Candidate, clock: ManualClock) -> None:
    await one.start()
    await two.start()
    await clock.advance(300)
    assert (one.leading, two.leading) == (True, False)
    assert one.elector.is_leader
    assert not two.elector.is_leader
    assert two.elector.holder == "one"
    assert one.terms == 1


async def test_a_leader_writes_once_per_retry_period_and_reads_nothing(
    one: Candidate, api: MemoryApi, clock: ManualClock
) -> None:
    await one.start()
    api.log.clear()
    await clock.advance(20)
    assert api.log == [("replace", "provider")] * 10


async def test_what_the_holder_says_of_itself_stands_on_the_lease_beside_what_others_wrote(
    api: MemoryApi, clock: ManualClock
) -> None:
    for identity, drivers in (("one", "aws"), ("two", "aws,ssh")):
        elector = LeaderElector(
            MemoryClient(api),
            namespace="system",
            name="provider",
            identity=identity,
            labels={"nodeset.dev/provider": ""},
            annotations={"nodeset.dev/drivers": drivers},
            clock=clock,
        )
        task = asyncio.create_task(elector.run(asyncio.Event().wait))
        await clock.advance(10)
        metadata = api.objects[BASE, "provider"]["metadata"]
        assert metadata["labels"]["nodeset.dev/provider"] == ""
        assert metadata["annotations"]["nodeset.dev/drivers"] == drivers
        task.cancel()
        await settle()
        body = api.objects[BASE, "provider"]
        api.write(BASE, "provider", {**body, "metadata": {**body["metadata"], "labels": {"team": "blue"}}})
    assert api.objects[BASE, "provider"]["metadata"]["labels"] == {"team": "blue"}
    assert api.objects[BASE, "provider"]["metadata"]["annotations"]["nodeset.dev/drivers"] == "aws,ssh"


async def test_shutdown_gives_the_lease_up_after_the_work_has_ended(
    one: Candidate, two: Candidate, api: MemoryApi, clock: ManualClock
) -> None:
    one.stopping_takes = 3
    await one.start()
    await two.start()
    await one.stop()
    await clock.advance(2.9)
    assert one.leading
    assert holder(api) == "one"
    await clock.advance(0.1)
    assert not one.leading
    assert holder(api) == ""
    await clock.advance(4.4)
    assert two.leading, "one retry period, with its jitter, is enough"


async def test_a_second_cancellation_does_not_give_it_up_early(
    one: Candidate, api: MemoryApi, clock: ManualClock
) -> None:
    one.stopping_takes = 3
    await one.start()
    await one.stop()
    await one.stop()
    assert one.leading
    assert holder(api) == "one"
    await clock.advance(3)
    assert holder(api) == ""
    assert one.task is not None
    assert one.task.cancelled()


async def test_a_dead_leader_is_followed_after_the_lease_duration(
    one: Candidate, two: Candidate, clock: ManualClock
) -> None:
    await one.start()
    await two.start()
    await clock.advance(10)
    one.kill()
    await clock.advance(11)
    assert not two.leading
    await clock.advance(15 + 4.4 - 11)
    assert two.leading


async def test_who_comes_new_waits_a_whole_lease_duration_whatever_the_record_says(
    two: Candidate, api: MemoryApi, clock: ManualClock
) -> None:
    """The record is hours old by its own times; but the clocks may differ, so only what we saw ourselves counts."""
    ancient = "2001-01-01T00:00:00.000000Z"
    spec = {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": ancient, "acquireTime": ancient}
    api.write(BASE, "provider", {"metadata": {}, "spec": spec})
    await two.start()
    await clock.advance(14)
    assert not two.leading
    await clock.advance(6)
    assert two.leading
    assert api.objects[BASE, "provider"]["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("skew", [-86400.0, 86400.0])
async def test_a_wrong_wall_clock_changes_nothing(
    one: Candidate, api: MemoryApi, clock: ManualClock, skew: float
) -> None:
    class Skewed(ManualClock):
        """The same passing of time, another idea of the date."""

        def __init__(self) -> None:
            super().__init__(skew=skew)
            self.monotonic = clock.monotonic  # type: ignore[method-assign]
            self.sleep = clock.sleep  # type: ignore[method-assign]

    two = Candidate(api, Skewed(), "two")
    await one.start()
    await two.start()
    await clock.advance(120)
    assert (one.leading, two.leading) == (True, False)


async def test_the_longer_lease_duration_counts_where_settings_differ(api: MemoryApi, clock: ManualClock) -> None:
    one = Candidate(api, clock, "one", lease_duration=60, renew_deadline=40)
    two = Candidate(api, clock, "two")
    await one.start()
    await two.start()
    one.client.fault = fail(Unavailable(0, "", "cut off"))
    await clock.advance(39)
    assert (one.leading, two.leading) == (True, False)
    await clock.advance(1)
    assert (one.leading, two.leading) == (False, False)
    await clock.advance(25)
    assert two.leading


async def test_a_leader_that_cannot_renew_stops_before_another_may_begin(
    one: Candidate, two: Candidate, clock: ManualClock
) -> None:
    await one.start()
    await two.start()
    one.client.fault = fail(Unavailable(0, "", "cut off"))
    await clock.advance(9.9)
    assert one.leading
    await clock.advance(0.2)
    assert (one.leading, two.leading) == (False, False)
    await clock.advance(20)
    assert (one.leading, two.leading) == (False, True)


async def test_a_renewal_without_an_answer_does_not_hold_the_end_up(one: Candidate, clock: ManualClock) -> None:
    async def hang(verb: str, name: str) -> None:
        await asyncio.Event().wait()

    await one.start()
    one.client.fault = hang
    await clock.advance(10)
    assert not one.elector.is_leader
    assert not one.leading


async def test_is_leader_is_false_in_time_also_where_the_loop_was_held_up(one: Candidate, clock: ManualClock) -> None:
    await one.start()
    clock.time += 10.1  # nothing ran in the meantime
    assert not one.elector.is_leader


async def test_a_leader_that_was_cut_off_stands_again(one: Candidate, clock: ManualClock) -> None:
    await one.start()
    one.client.fault = fail(Unavailable(0, "", "cut off"))
    await clock.advance(60)
    assert not one.leading
    one.client.fault = None
    await clock.advance(5)
    assert one.leading
    assert one.terms == 2


async def test_a_renewal_whose_answer_was_lost_is_no_loss(one: Candidate, clock: ManualClock) -> None:
    await one.start()
    one.client.lose_answer = True
    await clock.advance(60)
    assert one.leading
    assert one.terms == 1


async def test_one_who_took_the_lease_is_respected_at_once(one: Candidate, api: MemoryApi, clock: ManualClock) -> None:
    await one.start()
    body = api.objects[BASE, "provider"]
    api.write(BASE, "provider", {**body, "spec": {**body["spec"], "holderIdentity": "thief"}})
    await clock.advance(2)
    assert not one.leading
    assert holder(api) == "thief", "and it is not given up in their place"


async def test_two_who_create_it_together_do_not_both_lead(one: Candidate, two: Candidate, clock: ManualClock) -> None:
    gate = asyncio.Event()

    async def wait(verb: str, name: str) -> None:
        if verb == "create":
            await gate.wait()

    one.client.fault = two.client.fault = wait
    await one.start()
    await two.start()
    gate.set()
    await settle()
    assert one.leading + two.leading == 1


async def test_work_that_ends_ends_the_run_and_gives_the_lease_up(one: Candidate, api: MemoryApi) -> None:
    async def work() -> None:
        return

    await one.elector.run(work)
    assert holder(api) == ""


async def test_work_that_fails_fails_the_run_and_gives_the_lease_up(one: Candidate, api: MemoryApi) -> None:
    async def work() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await one.elector.run(work)
    assert holder(api) == ""


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"lease_duration": 10, "renew_deadline": 10}, "leaseDuration"),
        ({"renew_deadline": 2, "retry_period": 2}, "retryPeriod"),
    ],
)
def test_settings_that_could_make_two_leaders_are_refused(
    clock: ManualClock, settings: dict[str, float], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Candidate(MemoryApi(), clock, "one", **settings)


def test_an_empty_identity_is_refused(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="identity"):
        Candidate(MemoryApi(), clock, "")


WHO = st.integers(0, 2)
STEP = st.one_of(
    st.tuples(st.just("wait"), WHO, st.sampled_from([0.3, 1.0, 2.5, 7.0, 16.0])),
    st.tuples(st.sampled_from(["cut", "mend", "slow", "lose", "kill", "stop", "start"]), WHO, st.just(0.0)),
)


async def _act(candidates: list[Candidate], clock: ManualClock, act: str, who: int) -> None:
    candidate = candidates[who]

    async def slow(verb: str, name: str) -> None:
        await clock.sleep(3.5)

    match act:
        case "cut":
            candidate.client.fault = fail(Unavailable(0, "", "cut off"))
        case "mend":
            candidate.client.fault = None
        case "slow":
            candidate.client.fault = slow
        case "lose":
            candidate.client.lose_answer = True
        case "kill":
            candidate.kill()
        case "stop":
            await candidate.stop()
        case "start" if candidate.task is None or candidate.task.done():
            candidate.client.fault = None
            await candidate.start()


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(STEP, max_size=30), stopping=st.sampled_from([0.0, 4.9]))
def test_never_two_leaders(steps: list[tuple[str, int, float]], stopping: float) -> None:
    async def play() -> None:
        clock, api = ManualClock(), MemoryApi()
        candidates = [Candidate(api, clock, f"c{number}") for number in range(3)]
        for candidate in candidates:
            candidate.stopping_takes = stopping
            await candidate.start()
        for act, who, seconds in steps:
            await _act(candidates, clock, act, who)
            for _ in range(int(seconds * 2) or 1):
                await clock.advance(0.5)
                assert sum(candidate.leading for candidate in candidates) <= 1
                assert sum(candidate.elector.is_leader for candidate in candidates) <= 1
        for number, candidate in enumerate(candidates):
            await _act(candidates, clock, "mend", number)
            await _act(candidates, clock, "start", number)
            candidate.client.lose_answer = False
        await clock.advance(60)
        assert sum(candidate.leading for candidate in candidates) == 1, "and in the end there is one"
        for candidate in candidates:
            await candidate.stop()
        await clock.advance(10)

    asyncio.run(play())
