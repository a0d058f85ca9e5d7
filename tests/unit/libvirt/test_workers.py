"""Blocking work is bounded, never blocks the loop, and stops at its next step once nobody waits for it."""

import asyncio
import threading

import pytest
from nodeset_driver_libvirt.workers import Abandoned, Wanted, Workers

from nodeset_provider.driverkit.errors import Transient


async def test_no_more_threads_than_allowed_work_at_once() -> None:
    workers, gate, most, running, lock = Workers(2, "test"), threading.Event(), [0], [0], threading.Lock()

    def work(_wanted: Wanted) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        gate.wait(10)
        with lock:
            running[0] -= 1

    calls = [asyncio.create_task(workers.run(work)) for _ in range(6)]
    async with asyncio.timeout(10):
        while running[0] < 2:  # noqa: ASYNC110 - it is another thread's
            await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*calls)
    assert most[0] == 2
    workers.close()


async def test_answers_and_errors_reach_the_caller() -> None:
    workers = Workers(1, "test")
    assert await workers.run(lambda _wanted: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda _wanted: 1 / 0)
    assert await workers.run(lambda _wanted: 8) == 8
    workers.close()


async def test_work_whose_caller_went_stops_at_its_next_step_and_what_waited_behind_it_never_begins() -> None:
    workers, entered, gate = Workers(1, "test"), threading.Event(), threading.Event()
    steps: list[str] = []

    def work(wanted: Wanted) -> None:
        entered.set()
        gate.wait(10)
        try:
            wanted.check()
        except Abandoned:
            steps.append("stopped")
            raise
        steps.append("went on")

    def behind(_wanted: Wanted) -> None:
        steps.append("began")

    first, second = asyncio.create_task(workers.run(work)), asyncio.create_task(workers.run(behind))
    await asyncio.to_thread(entered.wait, 10)
    for call in (first, second):
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    gate.set()
    await workers.run(lambda _wanted: None)
    assert steps == ["stopped"]
    workers.close()


async def test_closed_workers_take_no_work() -> None:
    workers = Workers(1, "test")
    await workers.run(lambda _wanted: None)
    workers.close()
    with pytest.raises(Transient):
        await workers.run(lambda _wanted: None)
