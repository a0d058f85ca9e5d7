"""A cache of one kind, kept current by list and watch, that other code may read without waiting.

How it stays right: a paged list, then watches with bookmarks that resume where the last one ended; 410 means list
again, and what the list does not hold was deleted. Every failure, and every watch that ends almost at once, is answered
with a growing, jittered pause, so that neither a missing right nor a half-dead server is hammered. For how long there
has been no watch is told (``interrupted_for``): what is read in that time is as old as that.
"""

from __future__ import annotations

import asyncio
import random as stdlib_random
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from typing import Generic

import structlog

from nodeset_provider.kube import metrics
from nodeset_provider.kube.backoff import Backoff
from nodeset_provider.kube.client import Client, WatchEvent
from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock
from nodeset_provider.kube.errors import ApiError, Expired, TooManyRequests
from nodeset_provider.kube.resources import Resource, T
from nodeset_provider.kube.store import Change, Index, Store

log = structlog.get_logger(__name__)

Handler = Callable[[T | None, T | None], None]

PAGE = 500
"""Objects per page: 500 Nodes are ~4 MB of JSON and ~15 ms of decoding in one piece."""
WATCH_SECONDS = 300
"""A watch is asked to last this long up to twice as long, so that watches do not all end together (as in client-go)."""
HEALTHY_WATCH_SECONDS = 5.0
"""A watch that ends sooner counts as a failure, however politely it ended."""
GATEWAY_TIMEOUT = 504
BACKOFF_BASE, BACKOFF_CAP = 0.2, 30.0
"""Seconds. The first step is short: an API server closes a watch whose reader was slow, in the middle of a burst."""


class Informer(Generic[T]):
    """Reads are synchronous and need no lock: everything happens in one event loop.

    Keys are names; where a namespaced kind is watched in all namespaces, ``namespace/name``. ``name`` is what metrics
    call it: two informers of one kind have two; by default the kind's plural.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        *,
        name: str = "",
        indexers: Mapping[str, Index[T]] | None = None,
        field_selector: str = "",
        label_selector: str = "",
        transform: Callable[[T], T] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        random: Callable[[], float] = stdlib_random.random,
    ) -> None:
        self._client = client
        self._resource = resource
        self._name = name or resource.plural
        self._field_selector = field_selector
        self._label_selector = label_selector
        self._transform = transform
        self._clock = clock
        self._random = random
        self._backoff = Backoff(BACKOFF_BASE, BACKOFF_CAP, random=random)
        self._store: Store[T] = Store(lambda item: resource.key(item.metadata), indexers or {})
        self._handlers: list[Handler[T]] = []
        self._synced = asyncio.Event()
        self._page = PAGE
        self._events = {
            kind: metrics.INFORMER_EVENTS.labels(self._name, kind)
            for kind in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")
        }
        self._objects = metrics.INFORMER_OBJECTS.labels(self._name)
        self._interrupted = metrics.INFORMER_INTERRUPTED.labels(self._name)
        self._interrupted_since: float | None = None
        """None while a watch is open, and while the informer does not run."""

    @property
    def synced(self) -> bool:
        """Whether the first list is complete. Stays True afterwards: a cache that is behind is still a cache.

        How far behind it may be is :attr:`interrupted_for`.
        """
        return self._synced.is_set()

    @property
    def interrupted_for(self) -> float:
        """Seconds for which no watch has been open, lists included; 0.0 while one is, and outside of :meth:`run`.

        A watch that ends is an interruption until the next one is accepted, which takes milliseconds where all is well.
        One that is accepted and ends at once without a word was none. A peer that vanished is noticed by the transport
        (``transport.KEEPALIVE``, under a minute); only from then on is it counted here.
        """
        since = self._interrupted_since
        return 0.0 if since is None else self._clock.monotonic() - since

    async def wait_synced(self) -> None:
        """Return once the first list is complete."""
        await self._synced.wait()

    def __len__(self) -> int:
        return len(self._store)

    def get(self, name: str) -> T | None:
        """The object of that name, None where there is none."""
        return self._store.get(name)

    def items(self) -> Collection[T]:
        """All objects, as a snapshot that stays the same across an ``await``."""
        return self._store.items()

    def by_index(self, index: str, key: str) -> list[T]:
        """The objects for which the indexer of that name yielded ``key``; KeyError for an index that there is not."""
        return self._store.by_index(index, key)

    def add_handler(self, handler: Handler[T]) -> None:
        """Call ``handler(old, new)`` after every change; now also ``(None, object)`` for every object that is here.

        ``old`` None: new here; ``new`` None: deleted (or out of the selector). It must not block; what it raises is
        logged and hinders no other handler.
        """
        self._handlers.append(handler)
        for item in self._store.items():
            self._call(handler, None, item)

    def observe(self, obj: T) -> None:
        """Take in the answer to an own write, so that the next decision sees it before the watch brings it.

        Ignored where the cache holds a newer version, or has seen the object's deletion.
        """
        self._publish(self._store.put(self._prepare(obj)))

    async def run(self) -> None:
        """List and watch until cancelled. API errors never end it."""
        self._interrupted_since = self._clock.monotonic()
        self._interrupted.set_function(lambda: self.interrupted_for)
        try:
            await self._follow()
        finally:
            # Nobody waits for a watch any more: the metric would grow for ever, and keep the whole cache in memory.
            self._interrupted_since = None
            self._interrupted.set_function(float)

    async def _follow(self) -> None:
        while True:
            try:
                await self._list()
                while True:
                    await self._watch()
            except Expired as error:
                log.info("listing again", resource=str(self._resource), reason=error.message)
                await self._pause(error)
            except ApiError as error:
                await self._pause(error)

    async def _list(self) -> None:
        seen: set[str] = set()
        version = 0
        self._store.begin_list()
        pages = self._client.pages(
            self._resource, field_selector=self._field_selector, label_selector=self._label_selector, limit=self._page
        )
        try:
            async for page in pages:
                version = int(page.resource_version or 0)
                seen.update(page.unreadable)
                for item in page.items:
                    seen.add(self._resource.key(item.metadata))
                    self._publish(self._store.put_listed(self._prepare(item), version=version))
                await asyncio.sleep(0)  # a page is the longest piece of work; let others in between
        except Expired:
            self._page = 0  # page by page takes longer than the server keeps history: all in one piece next time
            raise
        self._page = PAGE
        self._publish(self._store.finish_list(version, seen))
        metrics.INFORMER_LISTS.labels(self._name).inc()
        self._synced.set()

    async def _watch(self) -> None:
        """One watch, from ``progress`` on. Returns when it may be resumed; raises Expired where it may not."""
        started = self._clock.monotonic()
        interrupted_since = self._interrupted_since
        events = self._client.watch(
            self._resource,
            resource_version=str(self._store.progress),
            field_selector=self._field_selector,
            label_selector=self._label_selector,
            timeout_seconds=int(WATCH_SECONDS * (1 + self._random())),
            opened=self._resumed,
        )
        heard = changes = 0
        failure: ApiError | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    self._resumed()
                    self._apply(event)
                    heard += 1
                    changes += event.type != "BOOKMARK"
        except Expired:
            raise
        except ApiError as error:
            if error.status == GATEWAY_TIMEOUT:
                # "Too large resource version": the server's history went back, or it is far behind. Only a list helps.
                raise Expired(error.status, error.reason, error.message) from error
            failure = error
        finally:
            now = self._clock.monotonic()
            lasted = now - started >= HEALTHY_WATCH_SECONDS
            if self._interrupted_since is None:
                # A gateway that takes the request and has nobody behind it opens a watch too.
                self._interrupted_since = now if lasted or heard else interrupted_since
        if lasted or changes:
            self._backoff.reset()
        if failure is not None or not lasted:
            await self._pause(failure)

    def _resumed(self) -> None:
        """A watch is open: the server took it, or it spoke."""
        self._interrupted_since = None

    def _apply(self, event: WatchEvent[T]) -> None:
        self._events[event.type].inc()
        version = int(event.resource_version) if event.resource_version.isdecimal() else 0
        if event.type == "DELETED":
            key = self._resource.key(event.object.metadata) if event.object is not None else event.unreadable
            self._publish(self._store.delete(key, version))
        elif event.object is not None:
            self._publish(self._store.put(self._prepare(event.object)))
        self._store.advance(version)

    def _prepare(self, item: T) -> T:
        if self._transform is None:
            return item
        try:
            return self._transform(item)
        except Exception:
            log.exception("a transform failed", resource=str(self._resource), name=item.metadata.name)
            return item

    def _publish(self, changes: list[Change[T]]) -> None:
        for old, new in changes:
            for handler in self._handlers:
                self._call(handler, old, new)
        if changes:
            self._objects.set(len(self._store))

    def _call(self, handler: Handler[T], old: T | None, new: T | None) -> None:
        try:
            handler(old, new)
        except Exception:
            log.exception("a handler failed", resource=str(self._resource))

    async def _pause(self, error: ApiError | None) -> None:
        delay = self._backoff.next()
        if isinstance(error, TooManyRequests):
            delay = max(delay, error.retry_after)
        reason = type(error).__name__ if error is not None else "EndedAtOnce"
        metrics.INFORMER_FAILURES.labels(self._name, reason).inc()
        report = log.warning if self._backoff.failures > 1 else log.info
        report(
            "watching is interrupted",
            resource=str(self._resource),
            reason=reason,
            message=error.message if error is not None else "the server ended the watch at once",
            again_in_seconds=round(delay, 1),
        )
        await self._clock.sleep(delay)
