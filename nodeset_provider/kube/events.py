"""Events for people: what ``kubectl describe`` and ``kubectl events`` show about an object.

Saying something costs the caller nothing and never fails: :meth:`Recorder.event` only notes it, :meth:`Recorder.run`
writes. The same thing said again raises the count of the Event that is there (one patch, however often it was said
since the last one); many different messages with one reason about one object become one "combined" Event. When the API
server cannot keep up, Events are dropped and counted: nothing depends on them.

core/v1 Events, because every tool shows their counts. Needs only the rights to create and patch events.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import socket
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

import structlog

from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.kube import metrics
from nodeset_provider.kube.backoff import Backoff
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock, rfc3339
from nodeset_provider.kube.errors import AlreadyExists, ApiError, NotFound, TooManyRequests, Unavailable
from nodeset_provider.kube.objects import Event, EventSource, ObjectReference
from nodeset_provider.kube.resources import EVENTS

log = structlog.get_logger(__name__)

EventType = Literal["Normal", "Warning"]

REMEMBERED = 4096
"""Events whose repeats are still recognised; the one that was silent longest is forgotten first."""
PENDING = 1000
"""Events that may wait to be written; what comes on top is dropped."""
SIMILAR = 10
SIMILAR_SECONDS = 600.0
"""So many different messages with one reason about one object, then they are combined, until nothing more was said for
so long (client-go's aggregator)."""
WRITES_PER_SECOND = 20.0
BURST = 50.0
QUIET_SECONDS = 5.0
"""Least time between two writes of the same Event; the count catches up."""
TRIES = 5
MESSAGE_LIMIT = 1024
"""Characters, by the API server's validation."""
CLUSTER_NAMESPACE = "default"
"""Where Events about cluster-scoped objects live, as the API server demands."""
COMBINED = "(combined from similar events): "


class Regarding(NamedTuple):
    """What an Event is about."""

    kind: str
    api_version: str
    metadata: ObjectMeta


class _Subject(NamedTuple):
    """One reason about one object."""

    reference: ObjectReference
    type: str
    reason: str


class _Key(NamedTuple):
    """One Event."""

    subject: _Subject
    message: str


@dataclass(slots=True)
class _Note:
    """What there is to say, and how much of it the API server knows."""

    first: str
    name: str
    last: str = ""
    message: str = ""
    count: int = 0
    created: bool = False
    tries: int = 0
    quiet_until: float = -math.inf
    waiting: bool = False
    """Whether the key is pending, or will be when its quiet time is over."""


@dataclass(slots=True)
class _Said:
    """The different messages of one subject, and when the last of them was said."""

    messages: set[str]
    last: float


class Recorder:
    """Says things in the name of ``component``; :meth:`run` must run for them to be written."""

    def __init__(self, client: Client, *, component: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client = client
        self._component = component
        self._instance = f"{component}-{socket.gethostname()}"[:128]
        self._clock = clock
        self._notes: OrderedDict[_Key, _Note] = OrderedDict()
        self._said: OrderedDict[_Subject, _Said] = OrderedDict()
        self._pending: deque[tuple[_Key, _Note]] = deque()
        self._more = asyncio.Event()
        self._tokens = BURST
        self._refilled = clock.monotonic()
        self._backoff = Backoff(0.5, 30.0)
        self._names = (f"{os.getpid():x}{number:06x}" for number in itertools.count())

    def event(
        self,
        regarding: Regarding | tuple[str, str, ObjectMeta],
        type: EventType,  # noqa: A002 - the name of the field
        reason: str,
        message: str,
    ) -> None:
        """Note that it happened. ``regarding`` is (kind, apiVersion, metadata); ``reason`` is CamelCase.

        Never waits, and never raises on the API server's account.
        """
        key = self._key(regarding, type, reason, message)
        now = self._clock.now()
        note = self._notes.get(key)
        if note is None:
            name = f"{key.subject.reference.name[:200]}.{int(now.timestamp()):x}{next(self._names)}"
            note = self._notes[key] = _Note(first=rfc3339(now), name=name)
            if len(self._notes) > REMEMBERED:
                self._notes.popitem(last=False)
        self._notes.move_to_end(key)
        note.count += 1
        note.last = rfc3339(now)
        note.message = (COMBINED + message if key.message == COMBINED else message)[:MESSAGE_LIMIT]
        if note.waiting:
            return
        quiet = note.quiet_until - self._clock.monotonic()
        note.waiting = True
        if quiet > 0:
            self._clock.call_later(quiet, lambda: self._enqueue(key, note))
        else:
            self._enqueue(key, note)

    async def run(self) -> None:
        """Write what was noted, until cancelled. Failures are counted, never raised."""
        while True:
            if not self._pending:
                self._more.clear()
                await self._more.wait()
            await self._take_token()
            key, note = self._pending.popleft()
            await self._write(key, note)

    def _key(
        self, regarding: Regarding | tuple[str, str, ObjectMeta], event_type: str, reason: str, message: str
    ) -> _Key:
        kind, api_version, metadata = regarding
        reference = ObjectReference(kind, api_version, metadata.name, metadata.namespace, metadata.uid)
        subject = _Subject(reference, event_type, reason)
        now = self._clock.monotonic()
        said = self._said.get(subject)
        if said is None or now - said.last > SIMILAR_SECONDS:
            said = self._said[subject] = _Said(set(), now)
            if len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        self._said.move_to_end(subject)
        said.last = now
        if message not in said.messages:
            if len(said.messages) >= SIMILAR:
                return _Key(subject, COMBINED)
            said.messages.add(message)
        return _Key(subject, message)

    def _enqueue(self, key: _Key, note: _Note) -> None:
        if len(self._pending) < PENDING:
            self._pending.append((key, note))
            self._more.set()
            return
        metrics.EVENTS_DROPPED.labels("Backlog").inc()
        note.waiting = False

    async def _take_token(self) -> None:
        """A token bucket, so that a storm of failures does not become a storm of requests."""
        now = self._clock.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._refilled) * WRITES_PER_SECOND)
        self._refilled = now
        if self._tokens < 1:
            await self._clock.sleep((1 - self._tokens) / WRITES_PER_SECOND)
            self._refilled = self._clock.monotonic()
            self._tokens = 1
        self._tokens -= 1

    async def _write(self, key: _Key, note: _Note) -> None:
        note.waiting = False  # what is said from here on needs another write
        note.quiet_until = self._clock.monotonic() + QUIET_SECONDS
        try:
            await self._send(key, note)
        except (Unavailable, TooManyRequests) as error:
            note.tries += 1
            if note.tries < TRIES:
                if not note.waiting:
                    note.waiting = True
                    self._enqueue(key, note)
                await self._clock.sleep(max(self._backoff.next(), getattr(error, "retry_after", 0.0)))
                return
            self._drop(key, error)
        except ApiError as error:
            self._drop(key, error)
        else:
            metrics.EVENTS_SENT.inc()
        note.tries = 0
        self._backoff.reset()

    def _drop(self, key: _Key, error: ApiError) -> None:
        metrics.EVENTS_DROPPED.labels(error.reason or type(error).__name__).inc()
        log.warning(
            "an event could not be written",
            about=f"{key.subject.reference.kind} {key.subject.reference.name}",
            reason=key.subject.reason,
            error=error.message,
        )

    async def _send(self, key: _Key, note: _Note) -> None:
        reference = key.subject.reference
        resource = EVENTS.within(reference.namespace or CLUSTER_NAMESPACE)
        if note.created:
            update = {"count": note.count, "lastTimestamp": note.last, "message": note.message}
            try:
                await self._client.patch(resource, note.name, update)
            except NotFound:
                note.created = False  # it outlived its time in the API server (an hour, usually)
            else:
                return
        event = Event(
            metadata=ObjectMeta(name=note.name, namespace=resource.namespace),
            involved_object=reference,
            reason=key.subject.reason,
            message=note.message,
            type=key.subject.type,
            source=EventSource(self._component),
            first_timestamp=note.first,
            last_timestamp=note.last,
            count=note.count,
            reporting_component=self._component,
            reporting_instance=self._instance,
        )
        try:
            await self._client.create(resource, event)
        except AlreadyExists:
            # The try before went through although its answer was lost.
            note.created = True
            await self._send(key, note)
            return
        note.created = True
