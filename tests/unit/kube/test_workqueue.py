"""client-go's rules for a work queue."""

import asyncio
import contextlib

import pytest
from testbed.manual_clock import ManualClock

from nodeset_provider.kube.workqueue import ShutDown, WorkQueue


@pytest.fixture
def queue(clock: ManualClock) -> WorkQueue[str]:
    return WorkQueue("test", base_delay=1.0, max_delay=30.0, clock=clock)


async def test_a_key_that_waits_is_worked_on_once(queue: WorkQueue[str]) -> None:
    for _ in range(3):
        queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_keys_come_out_in_the_order_in_which_they_went_in(queue: WorkQueue[str]) -> None:
    for key in "cab":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["c", "a", "b"]


async def test_a_key_added_while_it_is_worked_on_waits_until_that_is_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_key_that_was_not_added_again_does_not_come_back(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.done(await queue.get())
    queue.add("b")
    assert await queue.get() == "b"


async def test_a_busy_key_does_not_push_in_front_of_others(queue: WorkQueue[str]) -> None:
    queue.add("busy")
    assert await queue.get() == "busy"
    queue.add("busy")
    queue.add("other")
    queue.done("busy")
    assert [await queue.get(), await queue.get()] == ["other", "busy"]


async def test_get_waits_for_a_key(queue: WorkQueue[str]) -> None:
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not getting.done()
    queue.add("a")
    assert await getting == "a"


async def test_each_waiting_worker_gets_a_key_of_its_own(queue: WorkQueue[str]) -> None:
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in "abc":
        queue.add(key)
    assert sorted(await asyncio.gather(*workers)) == ["a", "b", "c"]


async def test_a_cancelled_worker_takes_no_key_with_it(queue: WorkQueue[str]) -> None:
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")  # wakes the first
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert await asyncio.wait_for(second, 5) == "a"


async def test_cancelling_before_a_key_comes_leaves_the_next_worker_in_line(queue: WorkQueue[str]) -> None:
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    first.cancel()
    queue.add("a")  # in the same turn of the loop: the first is cancelled and has not run yet
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert await asyncio.wait_for(second, 5) == "a"


async def test_a_delayed_key_comes_when_it_is_due_and_not_before(queue: WorkQueue[str], clock: ManualClock) -> None:
    queue.add_after("a", 10)
    await clock.advance(9.9)
    assert len(queue) == 0
    await clock.advance(0.2)
    assert await queue.get() == "a"


async def test_a_delay_is_only_ever_brought_forward(queue: WorkQueue[str], clock: ManualClock) -> None:
    queue.add_after("a", 10)
    queue.add_after("a", 60)
    queue.add_after("a", 5)
    await clock.advance(5)
    queue.done(await queue.get())
    await clock.advance(100)
    assert len(queue) == 0, "the later times of the same key are void"


async def test_an_earlier_key_is_not_held_up_by_a_later_one(queue: WorkQueue[str], clock: ManualClock) -> None:
    queue.add_after("late", 100)
    queue.add_after("soon", 1)
    await clock.advance(1)
    assert await queue.get() == "soon"
    await clock.advance(99)
    assert await queue.get() == "late"


async def test_no_delay_is_at_once(queue: WorkQueue[str]) -> None:
    queue.add_after("a", 0)
    queue.add_after("b", -3)
    assert [await queue.get(), await queue.get()] == ["a", "b"]


async def test_ten_thousand_delayed_keys_hold_one_timer(queue: WorkQueue[str], clock: ManualClock) -> None:
    for number in range(10_000):
        queue.add_after(str(number), 1 + number / 1000)
    assert clock.timers == 1
    await clock.advance(20)
    assert len(queue) == 10_000


async def test_a_delay_that_is_brought_forward_again_and_again_leaves_nothing_behind(
    queue: WorkQueue[str], clock: ManualClock
) -> None:
    keys = [str(number) for number in range(10)]
    for turn in range(1000):
        for key in keys:
            queue.add_after(key, 2000 - turn)
        assert len(queue._heap) <= 2 * len(keys)
    await clock.advance(1000)
    assert len(queue) == 0, "not before the earliest time that was asked for"
    await clock.advance(1)
    assert [await queue.get() for _ in keys] == keys


async def test_what_is_left_behind_by_keys_that_are_gone_goes_with_them(
    queue: WorkQueue[str], clock: ManualClock
) -> None:
    for number in range(100):
        queue.add_after(str(number), 300)
        queue.add_after(str(number), 1)
    queue.add_after("later", 500)
    await clock.advance(1)
    assert len(queue) == 100
    assert len(queue._heap) <= 2


async def test_each_failure_doubles_the_delay_up_to_the_limit(queue: WorkQueue[str], clock: ManualClock) -> None:
    waited = []
    for _ in range(7):
        before = clock.monotonic()
        queue.add_rate_limited("a")
        while not len(queue):
            await clock.advance(0.5)
        waited.append(clock.monotonic() - before)
        queue.done(await queue.get())
    assert waited == [1, 2, 4, 8, 16, 30, 30]
    assert queue.retries("a") == 7


async def test_a_key_that_was_forgotten_begins_anew(queue: WorkQueue[str], clock: ManualClock) -> None:
    for _ in range(5):
        queue.add_rate_limited("a")
    queue.forget("a")
    assert queue.retries("a") == 0
    queue.add_rate_limited("b")
    queue.add_rate_limited("a")
    await clock.advance(1)
    assert {await queue.get(), await queue.get()} == {"a", "b"}


async def test_a_key_fails_alone(queue: WorkQueue[str]) -> None:
    for _ in range(5):
        queue.add_rate_limited("a")
    assert queue.retries("b") == 0


async def test_after_shutdown_what_is_queued_is_handed_out_and_then_no_more(
    queue: WorkQueue[str], clock: ManualClock
) -> None:
    queue.add("a")
    queue.add_after("b", 1)
    queue.shut_down()
    queue.add("c")
    await clock.advance(10)
    assert await queue.get() == "a"
    with pytest.raises(ShutDown):
        await queue.get()


async def test_shutdown_wakes_every_waiting_worker(queue: WorkQueue[str]) -> None:
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.shut_down()
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert [type(result) for result in results] == [ShutDown] * 3
