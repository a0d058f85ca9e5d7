"""Runs libvirt's blocking calls in a bounded number of threads, so that they never block the event loop.

Not a ThreadPoolExecutor: the interpreter waits for its threads when it ends, and a call to a host that answers nothing
may last for ever. These threads are daemons. May touch: threads.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from nodeset_provider.driverkit.errors import Transient

T = TypeVar("T")


class Abandoned(Exception):
    """Nobody waits for this work any more, so it stops before its next step."""


class Wanted:
    """Asked by work between two steps: whether anybody still waits for it."""

    def __init__(self) -> None:
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """The caller was cancelled."""
        self._given_up.set()

    def check(self) -> None:
        """Raises Abandoned once nobody waits."""
        if self._given_up.is_set():
            raise Abandoned


Work = Callable[[Wanted], T]


class Workers:
    """At most ``limit`` threads, started when they are needed; what is more waits in order."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Work[Any], Wanted] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._closed = False

    async def run(self, work: Work[T]) -> T:
        """What ``work`` returns or raises. Cancelled: work that has not begun never does, and the rest is told."""
        future: Future[T] = Future()
        wanted = Wanted()
        with self._lock:
            if self._closed:
                raise Transient("the driver is closed")
            self._jobs.put((future, work, wanted))
            if self._idle == 0 and self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._serve, name=f"{self._name}-{self._threads}", daemon=True).start()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            wanted.give_up()
            raise

    def close(self) -> None:
        """Idle threads end; a busy one ends after its work, which is told that nobody waits only by its caller."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if job is None:
                return
            future, work, wanted = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answer = work(wanted)
            except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
                future.set_exception(error)
            else:
                future.set_result(answer)
            del future, work, job  # an idle thread keeps nothing alive
