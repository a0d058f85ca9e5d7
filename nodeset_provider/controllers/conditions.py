"""Conditions as values: setting one gives a new list. Touches nothing."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from nodeset_provider.api.meta import Condition, ConditionStatus, find_condition
from nodeset_provider.api.names import CONDITION_READY, CONDITION_VALID
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.controllers.times import to_rfc3339

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
"""Of terminals (ECMA-48): a serial console is full of colours and cursor movements."""
MESSAGE_LIMIT = 1024
"""Characters. meta/v1 allows 32768; a person reads one line, and every Machine of a failed set carries its own copy."""


def with_condition(
    conditions: list[Condition],
    kind: str,
    status: ConditionStatus,
    *,
    reason: str,
    message: str,
    now: float,
    generation: int = 0,
) -> list[Condition]:
    """The conditions with that one set; the others keep their order.

    ``lastTransitionTime`` moves only when the status changes (meta/v1 Condition), so an unchanged condition compares
    equal and costs no write.
    """
    before = find_condition(conditions, kind)
    since = before.last_transition_time if before is not None and before.status == status else None
    after = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=one_line(message),
        last_transition_time=since or to_rfc3339(now),
        observed_generation=generation,
    )
    if before is None:
        return [*conditions, after]
    return [after if condition.type == kind else condition for condition in conditions]


def with_verdict(
    node_class: NodeClass, status: ConditionStatus, *, reason: str, message: str, now: float
) -> list[Condition]:
    """The class's conditions with its verdict, Valid and Ready alike, set for its present generation."""
    conditions = node_class.status.conditions
    for kind in (CONDITION_VALID, CONDITION_READY):
        conditions = with_condition(
            conditions,
            kind,
            status,
            reason=reason,
            message=message,
            now=now,
            generation=node_class.metadata.generation,
        )
    return conditions


def one_line(text: str) -> str:
    """``text`` on one line, cut in its middle to what a person reads: the cause stands at one end or the other."""
    joined = printable(text)
    if len(joined) <= MESSAGE_LIMIT:
        return joined
    tail = MESSAGE_LIMIT // 3
    return f"{joined[: MESSAGE_LIMIT - tail - 3]} … {joined[-tail:]}"


def printable(text: str) -> str:
    """``text`` on one line, without control characters and escape sequences of terminals."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in _ESCAPES.sub("", text))
    return " ".join(text.split())


def to_wire(conditions: list[Condition]) -> list[dict[str, Any]]:
    """The list as it goes into a merge patch, which replaces lists whole. Required fields are there even when empty."""
    return [{"reason": "", "message": "", **msgspec.to_builtins(condition)} for condition in conditions]
