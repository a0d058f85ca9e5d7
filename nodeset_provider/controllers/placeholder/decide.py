"""What to do about a Node that asks for a machine: say what is wrong, mark it, make its Machine. Pure.

The Machine has the Node's name, so that making it twice is refused by the API server. The Node gets no finalizer, no
condition, no capacity and no provider id: nothing may look as if a machine were there (node-lifecycle: 'The shape that
keeps kubectl create working').
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from nodeset_provider.api.machine import Machine, MachineSpec
from nodeset_provider.api.names import (
    ANNOTATION_EXCLUDED,
    ANNOTATION_NODE_CLASS,
    ANNOTATION_PLACEHOLDER,
    ANNOTATION_PLACEHOLDER_HASH,
    FINALIZER_MACHINE,
    LABEL_EXCLUDE_FROM_LOAD_BALANCERS,
    LABEL_NODE_CLASS,
    LABEL_TEMPLATE_HASH,
    TAINT_UNINITIALIZED,
)
from nodeset_provider.api.node import Node, NodeTaint
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.controllers.asked import Asked
from nodeset_provider.controllers.placeholder import lost
from nodeset_provider.controllers.placeholder.actions import Action, MakeMachine, Mark, Resolve, Tell, Wait
from nodeset_provider.controllers.placeholder.recognise import (
    is_placeholder,
    node_class_of,
    placeholder_uid,
    wish_hash,
    wish_of,
)
from nodeset_provider.controllers.resolver import (
    MENDED_ELSEWHERE_SECONDS,
    Problem,
    Resolution,
    class_problem,
)
from nodeset_provider.join.token_use import chooses_node_name

REASON_NAME = "NodeNameUnusable"
REASON_TAKEN = "MachineNameTaken"
REASON_TAKEN_OVER = "NodeTakenOver"
TAKEN_OVER = (
    "the machine of an earlier Node of this name registered as this one while it was being taken away, and takes it "
    "along; create the Node again once it is gone"
)
REASON_NOT_CHOSEN = "NodeNameNotChosen"
PASSING_SECONDS = 10.0
"""A driver that is out of reach is asked again after that."""
FIELD = f"metadata.annotations[{ANNOTATION_NODE_CLASS}]"

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Observed:
    """One consistent look at all that has one name. ``now`` is wall-clock time, ``moment`` the monotonic one."""

    node: Node | None
    machine: Machine | None
    node_class: NodeClass | None
    """The class that the Node asks for."""
    resolution: Resolution | Problem | None
    """What the driver said of this Node's wish; None where it was not asked yet."""
    answer: lost.Answer | None
    """Whether a cloud-controller-manager deleted the Node; None where nobody was asked yet."""
    now: float
    moment: float


def decide(o: Observed) -> Action:
    """The next action."""
    if o.machine is not None and placeholder_uid(o.machine):
        if (
            o.node is not None
            and is_placeholder(o.node)
            and (marks := mark(o.node))
            and not o.machine.metadata.deleting
        ):
            return marks  # made again, for a Machine that exists
        if o.node is not None and _goes_along(o.node, o.machine):
            return Tell(o.node, REASON_TAKEN_OVER, TAKEN_OVER)
        return lost.decide(o.machine, o.node, o.answer, now=o.now, moment=o.moment)
    node = o.node
    if node is None or node.metadata.deleting or not is_placeholder(node):
        return Wait()
    return _refusal(node, o) or mark(node) or _make(node, o)


def _goes_along(node: Node, machine: Machine) -> bool:
    """Whether another Node than its own goes with that Machine: its kubelet was faster than its end."""
    return (
        machine.metadata.deleting
        and node.has_kubelet
        and node.metadata.uid != placeholder_uid(machine)
        and any(taint.key == TAINT_UNINITIALIZED for taint in node.spec.taints)
    )


def _refusal(node: Node, o: Observed) -> Action | None:
    name = node.metadata.name
    if not _DNS_LABEL.fullmatch(name):
        why = (
            f"metadata.name: {name!r} cannot be a machine's host name; create the Node under a name of lower-case "
            "letters, digits and -, at most 63 characters, without dots"
        )
        return Tell(node, REASON_NAME, why)
    if o.machine is not None:
        why = f"metadata.name: there is a Machine {name} that is not this Node's; create the Node under another name"
        return Tell(node, REASON_TAKEN, why)
    problem = class_problem(node_class_of(node), o.node_class, field=FIELD)
    if problem is not None:
        return Wait() if problem.passing else Tell(node, problem.reason, problem.message)
    if o.node_class is not None and not chooses_node_name(o.node_class.spec.join):
        why = (
            f"{FIELD}: in machines of NodeClass {o.node_class.metadata.name} the cloud chooses the Node's name "
            f"(spec.join.mode {o.node_class.spec.join.mode}), so that none can join as {name}; use a NodeSet"
        )
        return Tell(node, REASON_NOT_CHOSEN, why)
    return None


def _make(node: Node, o: Observed) -> Action:
    match o.resolution:
        case None:
            return Resolve()
        case Problem() as problem:
            seconds = PASSING_SECONDS if problem.passing else MENDED_ELSEWHERE_SECONDS
            return Tell(node, problem.reason, problem.message, seconds, passing=problem.passing)
        case resolution:
            return MakeMachine(node, manifest(node, resolution))


def mark(node: Node) -> Mark | None:
    """What keeps pods and load balancers away from a Node that nothing runs as; None where it is there."""
    metadata: dict[str, Any] = {}
    if LABEL_EXCLUDE_FROM_LOAD_BALANCERS not in node.metadata.labels:
        # Remembered beside it: a person's own label stays for good.
        metadata["labels"] = {LABEL_EXCLUDE_FROM_LOAD_BALANCERS: ""}
        metadata["annotations"] = {ANNOTATION_EXCLUDED: "true"}
    spec: dict[str, Any] = {}
    if all(taint.key != TAINT_UNINITIALIZED for taint in node.spec.taints):
        taints = [*node.spec.taints, NodeTaint(key=TAINT_UNINITIALIZED, effect="NoExecute")]
        spec["taints"] = [msgspec.to_builtins(taint) for taint in taints]
    if not metadata and not spec:
        return None
    metadata["resourceVersion"] = node.metadata.resource_version
    return Mark(node, {"metadata": metadata, **({"spec": spec} if spec else {})})


def asked_by(node: Node) -> Asked:
    """What the Node asks for on top of its class."""
    wish = wish_of(node)
    return Asked(labels=wish.labels, annotations=wish.annotations, taints=wish.taints, node_exists=True)


def manifest(node: Node, resolution: Resolution) -> dict[str, Any]:
    """The body of its Machine. The finalizer is there from the first moment (design §5 rule 1)."""
    return {
        "metadata": {
            "name": node.metadata.name,
            "labels": {LABEL_NODE_CLASS: resolution.template.node_class_name, LABEL_TEMPLATE_HASH: resolution.hash},
            "annotations": {
                ANNOTATION_PLACEHOLDER: node.metadata.uid,
                ANNOTATION_PLACEHOLDER_HASH: wish_hash(node),
            },
            "finalizers": [FINALIZER_MACHINE],
        },
        "spec": MachineSpec(node_name=node.metadata.name, template=resolution.template),
    }
