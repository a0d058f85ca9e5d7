"""Initialize: the Node is complete once it is Ready, its startup taints are gone and its devices are there. Pure."""

from __future__ import annotations

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.meta import Condition, find_condition, is_true
from nodeset_provider.api.names import CONDITION_INITIALIZED
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.conditions import to_wire, with_condition
from nodeset_provider.controllers.machine.actions import Action, Wait, WriteStatus
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.controllers.times import from_rfc3339

REASON_WAITING = "Waiting"
EXPLAIN_AFTER_SECONDS = 60.0
"""Until then waiting is normal and not worth a write."""


def decide(o: Observed) -> Action | None:
    """What to do next; None once the Node is initialized, which is for good."""
    conditions = o.machine.status.conditions
    if is_true(conditions, CONDITION_INITIALIZED):
        return None
    if o.node is None:
        return Wait()
    blockers = missing(o.machine.spec.template, o.node)
    if not blockers:
        return WriteStatus({"conditions": to_wire(initialized(conditions, o.now))})
    since = from_rfc3339(o.registered.last_transition_time if o.registered else None, default=o.now)
    if o.now < since + EXPLAIN_AFTER_SECONDS:
        return Wait(since + EXPLAIN_AFTER_SECONDS - o.now)
    why = f"waits for {', '.join(blockers)}"
    known = find_condition(conditions, CONDITION_INITIALIZED)
    if known is not None and known.message == why:
        return Wait()
    explained = with_condition(
        conditions, CONDITION_INITIALIZED, "False", reason=REASON_WAITING, message=why, now=o.now
    )
    return WriteStatus({"conditions": to_wire(explained)})


def initialized(conditions: list[Condition], now: float) -> list[Condition]:
    """The conditions of a Machine whose Node can take its pods."""
    return with_condition(
        conditions,
        CONDITION_INITIALIZED,
        "True",
        reason="Initialized",
        message="the Node is Ready, without startup taints, with its extended resources",
        now=now,
    )


def missing(template: MachineTemplate, node: Node) -> list[str]:
    """What the Node lacks; empty when it is complete.

    Extended resources (names with a domain) appear when a device plug-in registers, often after Ready; a GPU Node
    that counts as complete without them gets pods that fail.
    """
    blockers = [] if node.ready else ["the Node to be Ready"]
    startup = {(taint.key, taint.effect) for taint in template.startup_taints}
    blockers += [f"the taint {taint.key} to go" for taint in node.spec.taints if (taint.key, taint.effect) in startup]
    blockers += [
        f"resource {name}"
        for name, quantity in template.capacity.items()
        if "/" in name and quantity != "0" and node.status.allocatable.get(name, "0") == "0"
    ]
    return blockers
