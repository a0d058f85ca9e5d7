"""What this process knows about one Machine beyond the API server: answers not yet written, doubts, pacing. Values.

It saves look-ups and keeps retries apart; it is lost in every crash, so correctness may rest on it in one direction
only: what it does not know counts as a doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from nodeset_provider.controllers.drivers import AccountUnusable
from nodeset_provider.driverkit.contract import Instance
from nodeset_provider.driverkit.errors import DriverError, Throttled, Transient

RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 60.0
SHOW_AFTER_SECONDS = 10.0
"""A hiccup shorter than this is nobody's business: showing it would make the autoscaler give the machine up."""
HICCUPS = frozenset({"Transient", "Throttled"})
REASON_TOKEN_NOT_WRITTEN = "BootstrapTokenNotWritten"  # noqa: S105
REASON_STILL_DELETING = "StillDeleting"
STILL_DELETING_SECONDS = 300.0
"""Clouds take their time to take a machine away; from then on people should have a look."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps us from going on, without closing the attempt."""

    code: str
    message: str
    since: float
    """Moment (monotonic) at which it began."""

    def is_due(self, moment: float) -> bool:
        """Whether people should see it by now."""
        return moment >= self.due_at

    @property
    def due_at(self) -> float:
        """Moment from which people should see it."""
        if self.code == REASON_STILL_DELETING:
            return self.since + STILL_DELETING_SECONDS
        waits = self.code in HICCUPS or self.code == REASON_TOKEN_NOT_WRITTEN
        return self.since + (SHOW_AFTER_SECONDS if waits else 0.0)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What kept us from even asking a cloud."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one attempt of one Machine. All times are moments of the monotonic clock."""

    attempt: int
    known_since: float = 0.0
    """When this process first looked at the attempt. What a wall clock wrote down before may be off by any amount."""
    last_create: float | None = None
    """When a create last may have reached the cloud without our knowing what came of it. None: nothing of this attempt
    is unaccounted for."""
    doubted_at: float | None = None
    """When a create of this attempt last ended without an answer. Unlike ``last_create`` it outlives the look-up that
    found nothing: that create may only be slow."""
    made_at: float | None = None
    """When the machine was made, or found, at the latest: right afterwards a cloud may still deny that it exists."""
    instance: Instance | None = None
    """The cloud's answer, not yet written down."""
    found_again: bool = False
    """``instance`` was found by looking it up: an earlier process made it."""
    failure: DriverError | None = None
    """The driver vouched that this attempt made nothing; not yet written down. Beside ``last_create``: it may not have
    known of an earlier create of the same attempt, so the cloud is asked once more."""
    trouble: Trouble | None = None
    failures: int = 0
    not_before: float = 0.0
    """No driver is asked before this moment."""
    checked_at: float | None = None
    """When a launched machine that has not joined was last looked at."""
    vanished: str = ""
    """Reason why a launched machine will never join (code), found by looking; not yet written down."""
    vanished_message: str = ""
    diagnosis: str | None = None
    """What the machine last said, fit for a condition; empty where nobody can tell, None where nobody was asked."""
    unheard: str = ""
    """Why the machine could not be asked, fit for a condition."""
    token_ensured: bool = False
    """This process saw to it that the bootstrap token outlives the launch time-out."""
    addresses_sought_since: float | None = None
    """Since when a launched machine is looked at for addresses that are not known; the pauses grow with it."""
    address_looked_at: float | None = None
    looked_for: tuple[str, ...] = ()
    """The Node's addresses at the last of these looks."""
    node_seen_at: float | None = None
    """When the Node of a machine that has not joined was first seen."""
    synced_at: float | None = None
    """When the Node was completed; what follows from it is not written down yet."""
    clean: bool = False
    """What a failed attempt left behind is gone."""
    gone: bool = False
    """The cloud said that the machine is gone (the Machine is being deleted)."""
    polls: int = 0
    going_since: float | None = None
    """When the cloud first said that it is at it."""
    node_sought: bool = False
    node_deleted: str = ""
    """UID of the Node that was deleted; the cache may still show it."""
    token_dropped: bool = False
    terminating: bool = False
    """The Machine's deletion was seen: what kept the launch waiting no longer counts."""

    def struggling(self, error: DriverError | AccountUnusable | Obstacle, moment: float, random: Random) -> Memory:
        """After a call that got nowhere: later again, doubling from 1 s to 60 s, and never before the cloud allows."""
        delay = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(self.failures, 16)) * random.uniform(0.75, 1.25)
        if isinstance(error, Throttled):
            delay = max(delay, error.retry_after)
        known = self.trouble
        since = known.since if known is not None and known.code == error.code else moment
        if known is not None and known.code in HICCUPS and isinstance(error, (Throttled, Transient)):
            since = known.since
        return replace(
            self,
            trouble=Trouble(error.code, error.message, since),
            failures=self.failures + 1,
            not_before=moment + delay,
        )

    def recovered(self) -> Memory:
        """After a call that got an answer."""
        return replace(self, trouble=None, failures=0, not_before=0.0)
