"""The loop around a reconcile function: workers, retries, metrics. What is reconciled is none of its business."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic

import structlog

from nodeset_provider.kube import metrics
from nodeset_provider.kube.errors import ApiError, Conflict, TooManyRequests, Unavailable
from nodeset_provider.kube.workqueue import K, ShutDown, WorkQueue

log = structlog.get_logger(__name__)

Reconcile = Callable[[K], Awaitable[float | None]]


class Controller(Generic[K]):
    """``reconcile(key)`` returns None when all is said, or the seconds until the key is to be looked at again.

    What it raises is answered so: Conflict, a quiet retry (somebody else wrote: the cache will show it);
    TooManyRequests, again when the server says so; anything else, a line in the log and a retry with back-off.
    """

    def __init__(
        self, name: str, reconcile: Reconcile[K], *, workers: int = 1, queue: WorkQueue[K] | None = None
    ) -> None:
        if workers < 1:
            raise ValueError(f"controller {name}: workers must be at least 1, not {workers}")
        self.name = name
        self.queue: WorkQueue[K] = queue if queue is not None else WorkQueue(name)
        self._reconcile = reconcile
        self._workers = workers
        self._seconds = metrics.RECONCILE_SECONDS.labels(name)

    def enqueue(self, key: K) -> None:
        """Have the key reconciled soon; made for informer handlers."""
        self.queue.add(key)

    async def run(self) -> None:
        """Work until cancelled, or until the queue was shut down and is empty.

        Cancelling stops a reconcile at its next ``await``; its key is queued again, for the next time this is run.
        """
        async with asyncio.TaskGroup() as workers:
            for number in range(self._workers):
                workers.create_task(self._work(), name=f"{self.name}-{number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                await self._once(key)
            except asyncio.CancelledError:
                self.queue.add(key)
                raise
            finally:
                self.queue.done(key)

    async def _once(self, key: K) -> None:
        started = time.perf_counter()
        try:
            again = await self._reconcile(key)
        except Conflict as error:
            log.debug("changed meanwhile, again", controller=self.name, key=key, reason=error.message)
            result = "conflict"
            self.queue.add_rate_limited(key)
        except TooManyRequests as error:
            log.info("the API server asks to wait", controller=self.name, key=key, seconds=error.retry_after)
            result = "throttled"
            self.queue.add_after(key, error.retry_after)
        except ApiError as error:
            report = log.warning if isinstance(error, Unavailable) else log.error
            report("reconcile failed", controller=self.name, key=key, reason=error.reason, message=error.message)
            result = "error"
            self.queue.add_rate_limited(key)
        except Exception:
            log.exception("reconcile failed", controller=self.name, key=key)
            result = "error"
            self.queue.add_rate_limited(key)
        else:
            result = "success" if again is None else "requeue_after"
            self.queue.forget(key)
            if again is not None:
                self.queue.add_after(key, again)
        finally:
            self._seconds.observe(time.perf_counter() - started)
        metrics.RECONCILES.labels(self.name, result).inc()
