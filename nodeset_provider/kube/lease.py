"""Leader election by a Lease: at any moment at most one process leads.

The rules are client-go's ``tools/leaderelection``:

- a candidate takes the Lease only once it has seen the *same* record for a whole lease duration by its own clock; the
  times in the record are for people and are never compared, so clocks may differ;
- the leader renews every ``retry_period`` and stops leading when the last renewal that is known to have succeeded was
  *sent* ``renew_deadline`` ago. That is before any candidate can take over, who counts from a later moment (when it saw
  the record), and ``lease_duration - renew_deadline`` is what the leader's work has to come to an end in;
- every write carries the resourceVersion that was read, so of two candidates one wins;
- a leader that shuts down gives the Lease up, after its work has ended and not before.
"""

from __future__ import annotations

import asyncio
import math
import random as stdlib_random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
import structlog

from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.kube import metrics
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock, rfc3339_micro
from nodeset_provider.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from nodeset_provider.kube.objects import Lease, LeaseSpec
from nodeset_provider.kube.resources import LEASES

log = structlog.get_logger(__name__)

JITTER = 1.2
"""A candidate waits between one and 2.2 retry periods, so that candidates do not come all at once (client-go)."""
RELEASE_SECONDS = 3.0
"""How long a shutdown waits for the Lease to be given up."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The Lease as it was last read or written, and when that record was first seen by our clock."""

    lease: Lease
    since: float


class LeaderElector:
    """One candidate. ``identity`` must differ between processes, also between two runs of the same one.

    ``labels`` and ``annotations`` are put on the Lease by whoever holds it, beside those of others.

    Seconds; ``lease_duration`` > ``renew_deadline`` > 1.2 ``retry_period``, as client-go demands.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        lease_duration: float = 15,
        renew_deadline: float = 10,
        retry_period: float = 2,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        random: Callable[[], float] = stdlib_random.random,
    ) -> None:
        if not lease_duration > renew_deadline > retry_period * JITTER > 0:
            raise ValueError(
                "leader election: leaseDuration must be longer than renewDeadline, and that longer than "
                f"{JITTER} times retryPeriod (got {lease_duration:g}, {renew_deadline:g}, {retry_period:g} seconds)"
            )
        if not identity:
            raise ValueError("leader election: the identity is empty")
        self._client = client
        self._resource = LEASES.within(namespace)
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._labels = dict(labels or {})
        self._annotations = dict(annotations or {})
        self._lease_duration = lease_duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._clock = clock
        self._random = random
        self._seen: _Seen | None = None
        self._leads_until = -math.inf
        self._gauge = metrics.LEADER.labels(name)
        self._gauge.set(0)

    @property
    def is_leader(self) -> bool:
        """Whether we lead at this very moment, also where the event loop was held up and nobody noticed the end."""
        return self._clock.monotonic() < self._leads_until

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen; empty where nobody did."""
        return self._seen.lease.spec.holder_identity if self._seen is not None else ""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Stand for election, lead, and stand again when the Lease is lost; until cancelled or ``lead`` ends.

        ``lead()`` is cancelled when the Lease is lost or this is cancelled, and must then end promptly: the Lease is
        given up only after it has. What ``lead()`` raises is raised.
        """
        while True:
            await self._acquire()
            log.info("leading", lease=self._name, identity=self._identity)
            self._gauge.set(1)
            try:
                if await self._lead(lead):
                    return
            finally:
                self._gauge.set(0)
                await self._release()

    async def _acquire(self) -> None:
        while True:
            try:
                if await self._try_acquire():
                    return
            except (Conflict, AlreadyExists):
                pass  # another candidate was faster
            except ApiError as error:
                log.warning("cannot stand for election", lease=self._name, reason=error.message)
            await self._clock.sleep(self._retry_period * (1.0 + JITTER * self._random()))

    async def _try_acquire(self) -> bool:
        """Look, and take the Lease where it is free. False where somebody else has it."""
        sent = self._clock.monotonic()
        try:
            lease = await self._client.get(self._resource, self._name)
        except NotFound:
            metadata = self._signed(ObjectMeta(name=self._name, namespace=self._namespace))
            self._won(await self._client.create(self._resource, Lease(metadata, self._record(None))), sent)
            return True
        seen = self._see(lease)
        if not self._is_free(seen):
            return False
        sent = self._clock.monotonic()
        self._won(await self._write(lease, self._record(lease)), sent)
        return True

    def _see(self, lease: Lease) -> _Seen:
        """Note the record; its validity is counted anew only where it has changed."""
        if self._seen is None or self._seen.lease != lease:
            self._seen = _Seen(lease, self._clock.monotonic())
        return self._seen

    def _is_free(self, seen: _Seen) -> bool:
        spec = seen.lease.spec
        if not spec.holder_identity or spec.holder_identity == self._identity:
            return True
        # The holder's own duration counts where it is longer: it may have been started with other settings.
        duration = max(self._lease_duration, spec.lease_duration_seconds)
        return self._clock.monotonic() >= seen.since + duration

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """Run ``lead`` while the Lease is renewed. True where it ended by itself, False where the Lease was lost."""
        work = asyncio.ensure_future(_call(lead))
        renewal = asyncio.ensure_future(self._renew())
        expiry = asyncio.ensure_future(self._expire())
        try:
            await asyncio.wait({work, renewal, expiry}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                return True
            for task in (renewal, expiry):
                if task.done():
                    task.result()
            return False
        finally:
            stopped = work.cancel()
            renewal.cancel()
            expiry.cancel()
            self._leads_until = -math.inf
            await self._settle(work, renewal, expiry)
            if stopped and not work.cancelled() and (error := work.exception()) is not None:
                log.error("the leader's work failed while it was being stopped", lease=self._name, error=repr(error))

    async def _settle(self, *tasks: asyncio.Future[None]) -> None:
        """Wait until all have ended, also where we are cancelled once more.

        Nothing may cut this short: to give up the Lease while the work goes on would make two leaders.
        """
        margin = self._lease_duration - self._renew_deadline
        cancelled = False
        while pending := {task for task in tasks if not task.done()}:
            try:
                _, late = await asyncio.wait(pending, timeout=margin)
            except asyncio.CancelledError:
                cancelled = True
                continue
            if late:
                log.error("the leader's work does not end although it was cancelled", lease=self._name)
        if cancelled:
            raise asyncio.CancelledError

    async def _expire(self) -> None:
        """Return when the last renewal that is known to have succeeded is too old."""
        while (remaining := self._leads_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(remaining)
        log.error("the Lease could not be renewed in time: no longer leading", lease=self._name)

    async def _renew(self) -> None:
        """Renew until another one holds the Lease."""
        while True:
            await self._clock.sleep(self._retry_period)
            try:
                if not await self._try_renew():
                    log.error("another one holds the Lease: no longer leading", lease=self._name, holder=self.holder)
                    return
            except ApiError as error:
                log.warning("renewing the Lease failed", lease=self._name, reason=error.message)

    async def _try_renew(self) -> bool:
        """Write the next record over the one that we wrote last; read first only where that is not the one there."""
        sent = self._clock.monotonic()
        seen = self._seen
        if seen is not None:
            try:
                self._won(await self._write(seen.lease, self._record(seen.lease)), sent)
            except (Conflict, NotFound):
                pass
            else:
                return True
        sent = self._clock.monotonic()
        try:
            lease = await self._client.get(self._resource, self._name)
        except NotFound:
            # Deleted by hand. Whoever makes it anew leads; it need not be us.
            self._seen = None
            return False
        self._see(lease)
        if lease.spec.holder_identity != self._identity:
            return False
        self._won(await self._write(lease, self._record(lease)), sent)
        return True

    async def _release(self) -> None:
        """Give the Lease up where it is still ours, so that another one need not wait for its end."""
        seen = self._seen
        if seen is None or seen.lease.spec.holder_identity != self._identity:
            return
        now = rfc3339_micro(self._clock.now())
        spec = LeaseSpec(
            lease_duration_seconds=1,
            acquire_time=now,
            renew_time=now,
            lease_transitions=seen.lease.spec.lease_transitions,
        )
        self._seen = None
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._write(seen.lease, spec)
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease could not be given up; it will run out", lease=self._name, reason=str(error))
        else:
            log.info("gave up the Lease", lease=self._name, identity=self._identity)

    def _won(self, lease: Lease, sent: float) -> None:
        """That write succeeded: we lead, counted from when it was sent."""
        self._seen = _Seen(lease, self._clock.monotonic())
        self._leads_until = sent + self._renew_deadline

    def _record(self, previous: Lease | None) -> LeaseSpec:
        now = rfc3339_micro(self._clock.now())
        acquired, transitions = now, 0
        if previous is not None:
            transitions = previous.spec.lease_transitions
            if previous.spec.holder_identity == self._identity:
                acquired = previous.spec.acquire_time or now
            else:
                transitions += 1
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=math.ceil(self._lease_duration),
            acquire_time=acquired,
            renew_time=now,
            lease_transitions=transitions,
        )

    async def _write(self, lease: Lease, spec: LeaseSpec) -> Lease:
        """PUT with the version that was read: Conflict where anybody wrote in between."""
        signed = msgspec.structs.replace(lease, metadata=self._signed(lease.metadata), spec=spec)
        return await self._client.replace(self._resource, self._name, signed)

    def _signed(self, metadata: ObjectMeta) -> ObjectMeta:
        return msgspec.structs.replace(
            metadata,
            labels={**metadata.labels, **self._labels},
            annotations={**metadata.annotations, **self._annotations},
        )


async def _call(lead: Callable[[], Awaitable[None]]) -> None:
    await lead()
