"""Terminate: a Machine that is being deleted, until the cloud says that nothing of it is left (design §5 rule 5). Pure.

Cloud first, then the Node (our finalizer on it, then the Node itself where nobody asked for its end), then the token,
the Machine's finalizer last: whoever crashes anywhere in between comes back to a Machine that still says what is to be
done. A drain takes its place before the cloud is asked.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from nodeset_provider.api.names import CONDITION_DELETED, FINALIZER_MACHINE
from nodeset_provider.controllers.drivers import AccountUnusable
from nodeset_provider.controllers.machine import ahead
from nodeset_provider.controllers.machine.actions import (
    Action,
    Destroy,
    DropToken,
    FindNode,
    Release,
    Wait,
)
from nodeset_provider.controllers.machine.failure import pause
from nodeset_provider.controllers.machine.memory import (
    REASON_STILL_DELETING,
    STILL_DELETING_SECONDS,
    Memory,
    Trouble,
)
from nodeset_provider.controllers.machine.node_end import take_away
from nodeset_provider.controllers.machine.observed import NOTHING_MADE, REASON_TOKEN_TAKEN, Observed
from nodeset_provider.controllers.machine.watch import launched_moment
from nodeset_provider.driverkit.contract import Deletion
from nodeset_provider.driverkit.errors import DriverError

POLL_BASE_SECONDS = 1.0
POLL_CAP_SECONDS = 10.0
POLL_GROWTH = 1.5
STILL_DELETING = (
    f"the cloud is still at it after {STILL_DELETING_SECONDS / 60:g} minutes and is asked on; see there what holds the "
    "machine up (a volume, an address, a protection against deletion)"
)


def decide(o: Observed) -> Action:
    """What to do next."""
    if FINALIZER_MACHINE not in o.machine.metadata.finalizers:
        return Wait()
    if not o.memory.gone and not nothing_was_made(o):
        return pause(o, CONDITION_DELETED) or Destroy()
    status = o.machine.status
    if (end := take_away(o) or ahead.take_away(o)) is not None:
        return end
    if (
        not o.owns_node
        and status.node_ref is None
        and o.memory.gone
        and not (o.memory.node_sought or o.memory.node_deleted)
    ):
        # A machine may have been there that was never seen to register: its kubelet may have done so a moment before.
        return FindNode()
    if status.node_ref is None and not o.memory.token_dropped and not _is_token_of_another(o):
        return DropToken()
    return Release()


def _is_token_of_another(o: Observed) -> bool:
    if o.memory.failure is not None:  # not written down yet
        return o.memory.failure.code == REASON_TOKEN_TAKEN
    return o.launched is not None and o.launched.status == "False" and o.launched.reason == REASON_TOKEN_TAKEN


def nothing_was_made(o: Observed) -> bool:
    """Whether it is certain that the cloud never made a machine for the current attempt; earlier ones are closed."""
    memory = o.memory
    if memory.instance is not None or memory.last_create is not None or memory.doubted_at is not None or o.is_launched:
        return False
    if o.launched is not None and o.launched.status == "False" and o.has_failed:
        return o.launched.reason in NOTHING_MADE
    return True


def after_destroy(
    memory: Memory,
    outcome: Deletion | DriverError | AccountUnusable,
    o: Observed,
    *,
    delay: float,
    random: Random,
) -> Memory:
    """What is known once ``delete`` answered at ``o.moment``; ``delay`` is the driver's consistency delay.

    GONE is believed only when the cloud has had the time to show a machine that was just created.
    """
    match outcome:
        case Deletion.GONE:
            known = (memory.last_create, memory.doubted_at, memory.made_at)
            made = [moment for moment in known if moment is not None]
            if o.launched is not None:  # also where it says that the machine failed: it was made all the same
                made.append(launched_moment(o))
            believable = max(made) + delay if made else o.moment
            if o.moment < believable:
                return replace(memory.recovered(), not_before=believable)
            return replace(memory.recovered(), gone=True)
        case Deletion.IN_PROGRESS:
            poll = min(POLL_CAP_SECONDS, POLL_BASE_SECONDS * POLL_GROWTH ** min(memory.polls, 16))
            since = memory.going_since if memory.going_since is not None else o.moment
            return replace(
                memory.recovered(),
                polls=memory.polls + 1,
                not_before=o.moment + poll,
                going_since=since,
                trouble=Trouble(REASON_STILL_DELETING, STILL_DELETING, since),
            )
        case _:
            return memory.struggling(outcome, o.moment, random)


def after_cleanup(
    memory: Memory,
    outcome: Deletion | DriverError | AccountUnusable,
    o: Observed,
    *,
    delay: float,
    random: Random,
) -> Memory:
    """The same for what an attempt that failed has left behind."""
    known = after_destroy(memory, outcome, o, delay=delay, random=random)
    return replace(known, gone=False, clean=known.gone)
