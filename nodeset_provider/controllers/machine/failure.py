"""How a failure is written down, and how an attempt that failed is followed by the next one. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import CONDITION_LAUNCHED, CONDITION_REGISTERED
from nodeset_provider.controllers.conditions import one_line, to_wire, with_condition
from nodeset_provider.controllers.machine import ahead
from nodeset_provider.controllers.machine.actions import Action, Announcement, CleanUp, Diagnose, Wait, WriteStatus
from nodeset_provider.controllers.machine.memory import HICCUPS, Trouble
from nodeset_provider.controllers.machine.node_end import take_away
from nodeset_provider.controllers.machine.observed import FINAL, NOTHING_MADE, REASON_NOT_SETTLED, Observed
from nodeset_provider.controllers.times import to_rfc3339

RETRY_BASE_SECONDS = 30.0
RETRY_CAP_SECONDS = 600.0


def failed(
    o: Observed,
    condition: str,
    reason: str,
    message: str,
    *,
    code: str = "",
    final: bool = False,
    more: dict[str, Any] | None = None,
) -> WriteStatus:
    """Write ``condition=False`` and ``lastFailure``; ``code`` of the failure is ``reason`` unless said otherwise.

    ``final``: its bootstrap token has done its work and goes, where it is not gone or another machine's.
    """
    code = code or reason
    message = one_line(message) or code
    conditions = with_condition(
        o.machine.status.conditions, condition, "False", reason=reason, message=message, now=o.now
    )
    status = {
        "conditions": to_wire(conditions),
        "lastFailure": {"code": code, "message": message, "time": to_rfc3339(o.now)},
        **(more or {}),
    }
    return WriteStatus(
        status, drop_token=final and not o.memory.token_dropped, announcement=Announcement(code, message)
    )


def unexplained(o: Observed, message: str) -> Diagnose | None:
    """Ask the machine itself, once, where ``message`` is empty: nobody else says what was wrong."""
    return Diagnose() if not message and o.memory.diagnosis is None else None


def explained(o: Observed, message: str) -> str:
    """Why a machine will never run, by the cloud's own words or the machine's last ones."""
    if message:
        return message
    last = f"; the machine last said: {o.memory.diagnosis}" if o.memory.diagnosis else ""
    return f"the cloud says that it will never run{last}"


def show(o: Observed, condition: str, trouble: Trouble) -> WriteStatus:
    """Write a trouble down, which closes nothing.

    A reason of `FINAL` must not stand at Launched for it: ``Unauthorized`` from a look-up says nothing about the
    machine that was looked for, and the next attempt would make a second one.
    """
    if condition != CONDITION_LAUNCHED or trouble.code not in FINAL:
        return failed(o, condition, trouble.code, trouble.message)
    return failed(o, condition, REASON_NOT_SETTLED, f"{trouble.code}: {trouble.message}", code=trouble.code)


def is_shown(o: Observed, condition: str, trouble: Trouble) -> bool:
    """Whether people see this trouble already.

    By its code: a message with a changing request id in it would otherwise cost one write per retry. A cloud in trouble
    is out of reach now and asks us to wait then: that is one trouble.
    """
    known, failure = find_condition(o.machine.status.conditions, condition), o.machine.status.last_failure
    if known is None or known.status != "False":
        return False
    told = failure.code if known.reason == REASON_NOT_SETTLED and failure is not None else known.reason
    return told == trouble.code or (told in HICCUPS and trouble.code in HICCUPS)


def pause(o: Observed, condition: str) -> Action | None:
    """While a trouble lasts: show it once it is due, then wait for the next try. None: try now."""
    trouble = o.memory.trouble
    until = o.memory.not_before
    if trouble is not None and not is_shown(o, condition, trouble):
        if trouble.is_due(o.moment):
            return show(o, condition, trouble)
        if o.moment < until:
            until = min(until, trouble.due_at)
    return Wait(until - o.moment) if o.moment < until else None


def retry_delay(uid: str, attempt: int) -> float:
    """Seconds between a failure of that attempt and the next: 30 s doubling to 10 min, by up to a fifth apart.

    The spread is a function of the Machine, so that deciding again gives the same answer.
    """
    spread = int.from_bytes(blake2b(f"{uid}/{attempt}".encode(), digest_size=2).digest(), "big") / 0xFFFF
    base = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(attempt - 1, 16))
    return base * (1.0 + 0.2 * spread)


def try_again(o: Observed) -> Action:
    """After an attempt that is over: clean up, wait, open the next (design §5 rule 4: that write closes this one).

    Without a machine left in the cloud and without its Node, because the next one boots under the same name.
    """
    reason = o.launched.reason if o.launched is not None else ""
    if reason not in NOTHING_MADE or o.is_launched:
        if not o.memory.clean:
            return Wait(o.memory.not_before - o.moment) if o.moment < o.memory.not_before else CleanUp()
        if (end := take_away(o)) is not None:
            return ahead.before_next_attempt(o) or end
    if not o.retries:
        return Wait()
    left = retry_delay(o.machine.metadata.uid, o.machine.status.attempt) - _since_failure(o)
    return Wait(left) if left > 0 else next_attempt(o)


def _since_failure(o: Observed) -> float:
    """Seconds. A time in the future is another clock's, or ours before it was set: it counts from our first look."""
    return o.now - o.failed_at if o.failed_at <= o.now else o.moment - o.memory.known_since


def next_attempt(o: Observed) -> WriteStatus:
    """Close this attempt by writing the next number, and forget all that was said of its machine."""
    status = o.machine.status
    attempt = status.attempt + 1
    failure = status.last_failure
    why = f"attempt {attempt}, after {failure.code}: {failure.message}" if failure else f"attempt {attempt}"
    kept = [c for c in status.conditions if c.type == CONDITION_LAUNCHED]
    conditions = with_condition(kept, CONDITION_LAUNCHED, "Unknown", reason="Retrying", message=why, now=o.now)
    return WriteStatus(
        {
            "attempt": attempt,
            "clientToken": None,
            "providerID": None,
            "nodeRef": None,
            "addresses": None,
            "conditions": to_wire(conditions),
        },
        drop_token=o.is_launched and find_condition(status.conditions, CONDITION_REGISTERED) is not None,
    )
