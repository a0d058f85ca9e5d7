"""A Machine whose placeholder is gone before anything registered: goes on, takes another Node's place, or ends. Pure.

Decision 014. Nobody can see who deleted a Node, but a cloud-controller-manager says so in an Event before it does
(``DeletingNode``, cloud-provider/controllers/nodelifecycle). With that Event the machine goes on and its kubelet makes
a new Node. Without it the deletion is a person's word: after a grace period the machine goes, unless a Node that asks
for the same was made in its place, or the kubelet registered meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import is_true
from nodeset_provider.api.names import (
    ANNOTATION_HANDED_OVER,
    ANNOTATION_PLACEHOLDER,
    ANNOTATION_PLACEHOLDER_HASH,
    ANNOTATION_PLACEHOLDER_LOST,
    CONDITION_LAUNCHED,
)
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.placeholder.actions import Action, Annotate, AskWhoDeleted, Cancel, Wait
from nodeset_provider.controllers.placeholder.recognise import (
    is_handed_over,
    is_placeholder,
    placeholder_uid,
    wish_hash,
)
from nodeset_provider.controllers.times import from_rfc3339, to_rfc3339

WAITING_SECONDS = 10.0
"""Grace where nothing was launched: time for the Event to arrive, and for who deletes to create anew."""
BOOTING_SECONDS = 60.0
"""Grace while it boots: its kubelet may register any moment, and a machine that joined is worth more than one that did
not. Deleting its Node once more then takes it away."""
ASK_SECONDS = 5.0

REASON_LOST = "PlaceholderDeleted"
REASON_HANDED_OVER = "PlaceholderHandedOver"
REASON_FOUND = "PlaceholderFound"
REASON_CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the Events said at ``moment`` (monotonic)."""

    by_cloud: bool
    moment: float


def decide(machine: Machine, node: Node | None, answer: Answer | None, *, now: float, moment: float) -> Action:
    """What becomes of a Machine that was made for a placeholder; ``node`` is the Node of its name."""
    if machine.metadata.deleting or machine.status.node_ref is not None:
        return Wait()
    if node is not None and not node.metadata.deleting:
        if node.metadata.uid == placeholder_uid(machine) or node.has_kubelet:
            return _found(machine) if ANNOTATION_PLACEHOLDER_LOST in machine.metadata.annotations else Wait()
        if is_placeholder(node):
            return _made_again(machine, node)
    return Wait() if is_handed_over(machine) else _missing(machine, answer, now, moment)


def _missing(machine: Machine, answer: Answer | None, now: float, moment: float) -> Action:
    name, missing_since = machine.spec.node_name, machine.metadata.annotations.get(ANNOTATION_PLACEHOLDER_LOST)
    if missing_since is None:
        why = f"Node {name} is gone and its machine has not joined; unless the cloud deleted it, the machine goes too"
        return Annotate(machine, {ANNOTATION_PLACEHOLDER_LOST: to_rfc3339(now)}, REASON_LOST, why)
    left = _left(machine, missing_since, now)
    # Never cancelled on an answer from before the end: the Event may be late.
    if answer is None or (not answer.by_cloud and moment >= answer.moment + min(ASK_SECONDS, max(left, 0.1))):
        return AskWhoDeleted(name, placeholder_uid(machine))
    if answer.by_cloud:
        why = f"the cloud-controller-manager deleted Node {name}; the kubelet will make it anew"
        return Annotate(
            machine,
            {ANNOTATION_HANDED_OVER: placeholder_uid(machine), ANNOTATION_PLACEHOLDER_LOST: None},
            REASON_HANDED_OVER,
            why,
        )
    if left > 0:
        return Wait(min(ASK_SECONDS, left))
    return Cancel(machine, f"Node {name} was deleted before a machine had joined as it")


def _left(machine: Machine, missing_since: str, now: float) -> float:
    """Seconds of grace; a time in the future is another clock's."""
    grace = BOOTING_SECONDS if is_true(machine.status.conditions, CONDITION_LAUNCHED) else WAITING_SECONDS
    return min(grace, from_rfc3339(missing_since, default=now) + grace - now)


def _found(machine: Machine) -> Annotate:
    why = f"Node {machine.spec.node_name} is there; the machine goes on"
    return Annotate(machine, {ANNOTATION_PLACEHOLDER_LOST: None}, REASON_FOUND, why)


def _made_again(machine: Machine, node: Node) -> Action:
    """The same order once more, or another one, which gets a machine of its own once this one is gone."""
    name = node.metadata.name
    if wish_hash(node) != machine.metadata.annotations.get(ANNOTATION_PLACEHOLDER_HASH):
        return Cancel(machine, f"Node {name} was made again and asks for something else; it gets a new machine")
    why = f"Node {name} was made again and asks for the same; the machine goes on for it"
    changes: dict[str, str | None] = {ANNOTATION_PLACEHOLDER: node.metadata.uid, ANNOTATION_PLACEHOLDER_LOST: None}
    return Annotate(machine, changes, REASON_FOUND, why)
