"""Which drivers the other providers of our namespace serve, and whether they are still there: their Leases say it.

A leader renews its Lease every few seconds and writes the names of its drivers on it. A Lease that stands still for
:data:`AWAY_SECONDS`, by our own clock, is that of a provider that went; nothing else can be told of one that never had
a Lease here.

May touch: Leases in the provider's own namespace (read).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import structlog

from nodeset_provider.api.names import ANNOTATION_DRIVERS, LABEL_PROVIDER
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import ApiError
from nodeset_provider.kube.objects import Lease, LeaseSpec
from nodeset_provider.kube.resources import LEASES

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0
AWAY_SECONDS = 120.0
"""Longer than a change of leader and a restart with a new image take together."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease as it was last seen, and the moment at which it was first seen so."""

    spec: LeaseSpec
    drivers: frozenset[str]
    since: float


Sightings = Mapping[str, Sighting]


def noted(before: Sightings, leases: Iterable[Lease], moment: float) -> dict[str, Sighting]:
    """What is known by name of Lease after a look. Pure."""
    after: dict[str, Sighting] = {}
    for lease in leases:
        if LABEL_PROVIDER not in lease.metadata.labels:
            continue
        name, known = lease.metadata.name, before.get(lease.metadata.name)
        since = known.since if known is not None and known.spec == lease.spec else moment
        named = lease.metadata.annotations.get(ANNOTATION_DRIVERS, "").split(",")
        after[name] = Sighting(lease.spec, frozenset(driver for driver in named if driver), since)
    return after


def told(sightings: Sightings, moment: float) -> tuple[frozenset[str], frozenset[str]]:
    """(drivers that somebody serves, drivers that somebody served and nobody does any more). Pure."""
    here: set[str] = set()
    away: set[str] = set()
    for sighting in sightings.values():
        (away if moment >= sighting.since + AWAY_SECONDS else here).update(sighting.drivers)
    return frozenset(here), frozenset(away - here)


class Presence:
    """See the module."""

    def __init__(self, *, client: Client, namespace: str, clock: Clock) -> None:
        self._client = client
        self._resource = LEASES.within(namespace)
        self._clock = clock
        self._handlers: list[Callable[[], None]] = []
        self._sightings: Sightings = {}
        self._looked_at = float("-inf")
        self.here: Collection[str] = frozenset()
        self.gone: Collection[str] = frozenset()

    def add_handler(self, handler: Callable[[], None]) -> None:
        """Have it called when another driver is gone, or there again."""
        self._handlers.append(handler)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self._look()
            except ApiError as error:
                # Nothing is known then of who went; whoever is there says so itself.
                _log.debug("the Leases of other providers cannot be read", reason=error.message)
            await self._clock.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        leases: list[Lease] = []
        async for page in self._client.pages(self._resource, label_selector=LABEL_PROVIDER):
            leases += page.items
        moment = self._clock.monotonic()
        # While nobody could read the Leases, their holders could not write them either: that says nothing of them.
        before = self._sightings if moment < self._looked_at + 2 * LOOK_SECONDS else {}
        self._sightings, self._looked_at = noted(before, leases, moment), moment
        gone = self.gone
        self.here, self.gone = told(self._sightings, moment)
        if self.gone != gone:
            for handler in self._handlers:
                handler()
