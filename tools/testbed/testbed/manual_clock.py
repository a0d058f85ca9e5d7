"""A clock that goes only where a test moves it (``nodeset_provider.kube.clock.Clock``)."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)
_TURNS = 30
"""Turns of the event loop that any chain of callbacks without I/O is over in."""


class ManualTimer:
    """A call that is due when the clock gets there."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    @property
    def active(self) -> bool:
        """Whether the call is still to come."""
        return self._callback is not None

    def cancel(self) -> None:
        """Forget the call."""
        self._callback = None

    def fire(self) -> bool:
        """Make the call; False where it was cancelled."""
        callback, self._callback = self._callback, None
        if callback is None:
            return False
        callback()
        return True


class ManualClock:
    """``skew`` (seconds) shifts the wall clock alone, as on a machine whose time is wrong; ``slept`` is the record."""

    def __init__(self, *, skew: float = 0.0) -> None:
        self.time = 1000.0
        self.skew = skew
        self.slept: list[float] = []
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """Seconds that only :meth:`advance` and :meth:`jump` add to."""
        return self.time

    def now(self) -> datetime:
        """Wall-clock time, skew included."""
        return START + timedelta(seconds=self.time + self.skew)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved so far."""
        self.slept.append(seconds)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await done
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> ManualTimer:
        """Call back when the clock was moved so far."""
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self.time + seconds, next(self._order), timer))
        return timer

    @property
    def timers(self) -> int:
        """Calls that are still to come."""
        return sum(timer.active for _, _, timer in self._timers)

    async def advance(self, seconds: float) -> None:
        """Let time pass; everything that is due happens at its moment, in order, and its consequences too."""
        end = self.time + seconds
        await settle()
        while self._fire_next(end):
            await settle()
        self.time = end
        await settle()

    def jump(self, seconds: float) -> None:
        """As :meth:`advance`, outside an event loop: consequences that are tasks wait until one runs."""
        end = self.time + seconds
        while self._fire_next(end):
            pass
        self.time = end

    def _fire_next(self, end: float) -> bool:
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self.time = max(self.time, when)
            if timer.fire():
                return True
        return False


async def settle() -> None:
    """Let everything run that can run without I/O or time."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
