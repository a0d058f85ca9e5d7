"""Watch: a machine that was launched and has not joined yet is looked at, and given up when its time is over. Pure."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from nodeset_provider.api.names import CONDITION_LAUNCHED, CONDITION_REGISTERED, REASON_REGISTRATION_TIMEOUT
from nodeset_provider.controllers.drivers import AccountUnusable
from nodeset_provider.controllers.machine.actions import Action, EnsureToken, LookUp, Wait
from nodeset_provider.controllers.machine.failure import explained, failed, try_again, unexplained
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import (
    REASON_INSTANCE_FAILED,
    REASON_INSTANCE_GONE,
    Observed,
)
from nodeset_provider.driverkit.contract import Instance, InstanceState
from nodeset_provider.driverkit.errors import DriverError, NotFound

CHECK_SECONDS = 60.0
GRACE_SECONDS = 60.0
"""How long a machine that another process launched is watched at least before it is given up."""
TIMES_ARE_CUT_BY_SECONDS = 1.0
"""How much earlier a condition's time may be than what it tells of. A cloud that shows a machine after its consistency
delay, counted from too early, would be believed to have none."""


def decide(o: Observed) -> Action | None:  # noqa: PLR0911 - one line per state
    """What to do next; None once the Node is registered."""
    if o.is_registered:
        return None
    if o.timed_out:
        return try_again(o) if o.retries else Wait()
    memory = o.memory
    if memory.vanished:
        return unexplained(o, memory.vanished_message) or failed(
            o, CONDITION_LAUNCHED, memory.vanished, explained(o, memory.vanished_message), final=True
        )
    timeout = o.machine.spec.template.launch_timeout_seconds
    left = _time_left(o, timeout)
    if left <= 0:
        return unexplained(o, _obstacle(o)) or failed(
            o, CONDITION_REGISTERED, REASON_REGISTRATION_TIMEOUT, _why_late(o, timeout), final=True
        )
    if not memory.token_ensured and o.machine.status.node_ref is None:
        # Another process launched it, with a token that may end before the time that we give the machine.
        return EnsureToken()
    launched = memory.made_at
    if launched is None:
        launched = min(memory.known_since, o.moment - (o.now - o.launched_at))
    check = max((memory.checked_at or launched) + CHECK_SECONDS, memory.not_before)
    if o.moment >= check:
        return LookUp()
    return Wait(min(check - o.moment, left))


def _time_left(o: Observed, timeout: float) -> float:
    """Seconds until the machine is given up.

    What this process saw itself is measured by its own monotonic clock. Of a launch that another one wrote down, a
    wall clock tells; one that is ahead must not end machines that boot, nor one that is behind keep them for ever.
    """
    if o.machine.status.node_ref is not None:
        # A Node that was here once and went is no reason to take the machine away: only the first join has a deadline.
        return float("inf")
    if o.memory.made_at is not None:
        return o.memory.made_at + timeout - o.moment
    seen = o.moment - o.memory.known_since
    told = o.launched_at + timeout - o.now
    return min(timeout - seen, max(told, min(GRACE_SECONDS, timeout) - seen))


def launched_moment(o: Observed) -> float:
    """The launch on the monotonic clock, at the latest: what was written down has no fractions of a second."""
    return o.moment - max(0.0, o.now - o.launched_at - TIMES_ARE_CUT_BY_SECONDS)


def _why_late(o: Observed, timeout: int) -> str:
    name = o.machine.spec.node_name
    if obstacle := _obstacle(o):
        return f"no usable Node {name} within {timeout} s: {obstacle}"
    late = f"no Node {name} within {timeout} s of the launch of {o.provider_id}"
    if o.memory.diagnosis:
        return f"{late}; the machine last said: {o.memory.diagnosis}"
    unheard = f"; it cannot be asked why: {o.memory.unheard}" if o.memory.unheard else ""
    return (
        f"{late}{unheard}; look at the kubelet's log on the machine, or raise "
        "spec.launchTimeoutSeconds of the NodeClass"
    )


def _obstacle(o: Observed) -> str:
    """What is known to be wrong with its Node; empty where none was seen."""
    return o.registered.message if o.registered is not None and o.registered.status == "False" else ""


def with_token_taken(memory: Memory) -> Memory:
    """What is known of a machine that boots and whose token's id another machine has by now: it can never join.

    The Secret stays: it is not this machine's.
    """
    return replace(
        memory,
        vanished=REASON_INSTANCE_FAILED,
        vanished_message="another machine has its bootstrap token's id, it cannot join",
        token_dropped=True,
    )


def after_check(
    memory: Memory,
    outcome: Instance | DriverError | AccountUnusable,
    *,
    moment: float,
    launched: float,
    delay: float,
    random: Random,
) -> Memory:
    """What is known once ``get`` answered; ``launched`` is the moment of the launch."""
    match outcome:
        case Instance(state=InstanceState.FAILED):
            return replace(memory, vanished=REASON_INSTANCE_FAILED, vanished_message=outcome.message)
        case Instance():
            return replace(memory.recovered(), instance=outcome, checked_at=moment)
        case NotFound() if moment >= launched + delay:
            why = f"the cloud no longer knows it: {outcome.message}"
            return replace(memory, vanished=REASON_INSTANCE_GONE, vanished_message=why)
        case NotFound():
            return replace(memory, checked_at=moment)
        case _:
            # Not shown: the machine may well be joining while the cloud's API is away.
            return replace(memory.struggling(outcome, moment, random), trouble=None, checked_at=moment)
