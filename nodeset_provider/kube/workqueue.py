"""client-go's rate-limited work queue for asyncio: which key is worked on next, and never by two workers at once.

Rules, as in client-go ``util/workqueue``:

- a key that is added while it waits is worked on once;
- a key that is added while it is being worked on is queued again when that is done, and not before;
- keys come out in the order in which they went in; one that failed goes to the end;
- a delayed add that is already under way is only ever brought forward;
- a key that fails waits exponentially longer each time, until it is forgotten.

Holds only keys: the object is read from the cache when the key's turn has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from nodeset_provider.kube import metrics
from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock, Timer

K = TypeVar("K", bound=Hashable)


class ShutDown(Exception):
    """The queue was shut down and is empty."""


class WorkQueue(Generic[K]):
    """``base_delay`` seconds after the first failure, twice as much after each further one, at most ``max_delay``."""

    def __init__(
        self, name: str = "", *, base_delay: float = 0.05, max_delay: float = 60.0, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._clock = clock
        self._ready: deque[K] = deque()
        self._dirty: dict[K, float] = {}
        """What must be worked on, and since when; with ``_processing`` it decides what is in ``_ready``."""
        self._processing: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        """Delayed adds. An entry whose time is not the one in ``_due`` was brought forward and is void.

        Void entries never outnumber the others: a key that is brought forward often would otherwise leave one behind
        each time, until the time comes that it was first meant for.
        """
        self._order = itertools.count()
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shut_down = False
        self._depth = metrics.QUEUE_DEPTH.labels(name)
        self._adds = metrics.QUEUE_ADDS.labels(name)
        self._retries = metrics.QUEUE_RETRIES.labels(name)
        self._seconds = metrics.QUEUE_SECONDS.labels(name)

    def __len__(self) -> int:
        """Keys that wait for a worker now; delayed ones and those being worked on are not among them."""
        return len(self._ready)

    def add(self, key: K) -> None:
        """Queue the key, unless it is queued already. Ignored after :meth:`shut_down`."""
        if self._shut_down or key in self._dirty:
            return
        self._adds.inc()
        self._dirty[key] = self._clock.monotonic()
        if key not in self._processing:
            self._make_ready(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Queue the key in that many seconds; sooner where it is due sooner already."""
        if self._shut_down:
            return
        if seconds <= 0:
            self.add(key)
            return
        when = self._clock.monotonic() + seconds
        due = self._due.get(key)
        if due is not None and due <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, next(self._order), key))
        self._set_timer()

    def add_rate_limited(self, key: K) -> None:
        """Queue the key after its back-off, which doubles each time until :meth:`forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._retries.inc()
        self.add_after(key, min(self._max_delay, self._base_delay * 2.0 ** min(failures, 60)))

    def forget(self, key: K) -> None:
        """The key is well: its next failure is the first. Delayed adds stay."""
        self._failures.pop(key, None)

    def retries(self, key: K) -> int:
        """Failures since the key was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, which is then this worker's alone until :meth:`done`. Raises ShutDown."""
        while not self._ready:
            if self._shut_down:
                raise ShutDown
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # the key that we were woken for is somebody else's now
                with contextlib.suppress(ValueError):
                    self._getters.remove(getter)
                raise
        key = self._ready.popleft()
        self._seconds.observe(self._clock.monotonic() - self._dirty.pop(key))
        self._processing.add(key)
        self._depth.set(len(self._ready))
        return key

    def done(self, key: K) -> None:
        """The work on the key is over, well or badly. It is queued again where it was added in the meantime."""
        self._processing.discard(key)
        if key in self._dirty:
            self._make_ready(key)

    def shut_down(self) -> None:
        """Take no more keys, drop the delayed ones, and let ``get`` raise once the queue is empty."""
        self._shut_down = True
        self._due.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._getters:
            self._wake()

    def _make_ready(self, key: K) -> None:
        self._ready.append(key)
        self._depth.set(len(self._ready))
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _set_timer(self) -> None:
        """One timer for the earliest delayed add; a thousand waiting keys cost the event loop nothing."""
        if len(self._heap) > 2 * len(self._due):
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.call_later(max(0.0, when - self._clock.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                self.add(key)
        self._set_timer()
