"""What the loop around a reconcile function does with each outcome."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from testbed.manual_clock import ManualClock, settle

from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.errors import Conflict, Forbidden, TooManyRequests
from nodeset_provider.kube.workqueue import WorkQueue


class Recorded:
    """Reconciles that end as the test says, and when they began."""

    def __init__(self, clock: ManualClock, *outcomes: float | Exception | None) -> None:
        self.clock = clock
        self.start = clock.monotonic()
        self.outcomes = list(outcomes)
        self.seen: list[tuple[str, float]] = []

    async def __call__(self, key: str) -> float | None:
        self.seen.append((key, self.clock.monotonic() - self.start))
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def queue(clock: ManualClock) -> WorkQueue[str]:
    return WorkQueue("test", base_delay=1, max_delay=60, clock=clock)


async def run_for(seconds: float, controller: Controller[str], clock: ManualClock) -> None:
    task = asyncio.create_task(controller.run())
    await clock.advance(seconds)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled(), "only cancelling ends it"


async def test_success_is_the_end_of_it(queue: WorkQueue[str], clock: ManualClock) -> None:
    reconcile = Recorded(clock)
    controller = Controller("test", reconcile, queue=queue)
    controller.enqueue("a")
    await run_for(1000, controller, clock)
    assert reconcile.seen == [("a", 0)]


async def test_seconds_are_when_it_is_looked_at_again(queue: WorkQueue[str], clock: ManualClock) -> None:
    reconcile = Recorded(clock, 30, 5)
    controller = Controller("test", reconcile, queue=queue)
    controller.enqueue("a")
    await run_for(1000, controller, clock)
    assert reconcile.seen == [("a", 0), ("a", 30), ("a", 35)]


async def test_failures_come_back_ever_later_until_one_succeeds(queue: WorkQueue[str], clock: ManualClock) -> None:
    reconcile = Recorded(clock, OSError("a"), Forbidden(403, "", "b"), ValueError("c"), None, OSError("d"))
    controller = Controller("test", reconcile, queue=queue)
    controller.enqueue("a")
    await run_for(20, controller, clock)
    assert [when for _, when in reconcile.seen] == [0, 1, 3, 7]
    controller.enqueue("a")
    await run_for(20, controller, clock)
    assert [when for _, when in reconcile.seen][4:] == [20, 21], "forgotten after the success"


async def test_a_conflict_is_retried_without_noise(queue: WorkQueue[str], clock: ManualClock) -> None:
    reconcile = Recorded(clock, Conflict(409, "Conflict", "modified"))
    controller = Controller("test", reconcile, queue=queue)
    controller.enqueue("a")
    with capture_logs() as logs:
        await run_for(5, controller, clock)
    assert len(reconcile.seen) == 2
    assert {entry["log_level"] for entry in logs} <= {"debug"}


async def test_throttling_is_obeyed(queue: WorkQueue[str], clock: ManualClock) -> None:
    reconcile = Recorded(clock, TooManyRequests(429, "", "later", retry_after=12))
    controller = Controller("test", reconcile, queue=queue)
    controller.enqueue("a")
    await run_for(100, controller, clock)
    assert [when for _, when in reconcile.seen] == [0, 12]


async def test_an_error_names_controller_and_key(queue: WorkQueue[str], clock: ManualClock) -> None:
    controller = Controller("machines", Recorded(clock, RuntimeError("a bug")), queue=queue)
    controller.enqueue("m-1")
    with capture_logs() as logs:
        await run_for(0, controller, clock)
    assert [(entry["controller"], entry["key"], entry["log_level"]) for entry in logs] == [("machines", "m-1", "error")]


async def test_workers_work_side_by_side_but_never_on_one_key(queue: WorkQueue[str], clock: ManualClock) -> None:
    running: list[str] = []
    most = 0

    async def reconcile(key: str) -> None:
        nonlocal most
        assert key not in running
        running.append(key)
        most = max(most, len(running))
        await clock.sleep(1)
        running.remove(key)

    controller = Controller("test", reconcile, workers=3, queue=queue)
    task = asyncio.create_task(controller.run())
    for _ in range(10):
        for key in "abcde":
            controller.enqueue(key)
        await clock.advance(0.7)
    await clock.advance(10)
    assert most == 3
    assert not running
    task.cancel()
    await asyncio.wait([task])


async def test_a_cancelled_reconcile_is_not_forgotten(queue: WorkQueue[str], clock: ManualClock) -> None:
    async def forever(key: str) -> None:
        await asyncio.Event().wait()

    await run_for(1, Controller("test", forever, queue=queue), clock)
    queue.add("a")
    await run_for(1, Controller("test", forever, queue=queue), clock)
    reconcile = Recorded(clock)
    await run_for(1, Controller("test", reconcile, queue=queue), clock)
    assert [key for key, _ in reconcile.seen] == ["a"]


async def test_shutdown_of_the_queue_ends_it_when_all_is_done(queue: WorkQueue[str], clock: ManualClock) -> None:
    reconcile = Recorded(clock)
    controller = Controller("test", reconcile, workers=2, queue=queue)
    for key in "abc":
        controller.enqueue(key)
    queue.shut_down()
    await controller.run()
    assert sorted(key for key, _ in reconcile.seen) == ["a", "b", "c"]


async def test_no_worker_is_refused(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="workers"):
        Controller("test", Recorded(clock), workers=0)
    await settle()
