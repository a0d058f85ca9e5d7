"""Register: the Node that joined gets everything that a kubelet may not give it, then loses our taint. Pure.

The taint goes in the same write that brings labels and taints, so no pod ever sees half a Node.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nodeset_provider.api.meta import Taint
from nodeset_provider.api.names import (
    ANNOTATION_EXCLUDED,
    CONDITION_INITIALIZED,
    CONDITION_REGISTERED,
    FINALIZER_NODE,
    LABEL_ARCH,
    LABEL_ARCH_BETA,
    LABEL_EXCLUDE_FROM_LOAD_BALANCERS,
    LABEL_HOSTNAME,
    LABEL_OS,
    LABEL_OS_BETA,
    TAINT_UNINITIALIZED,
    TAINT_UNREGISTERED,
)
from nodeset_provider.api.node import Node, NodeTaint
from nodeset_provider.controllers.conditions import to_wire, with_condition
from nodeset_provider.controllers.machine import initialize
from nodeset_provider.controllers.machine.actions import Action, SyncNode, Wait, WriteStatus
from nodeset_provider.controllers.machine.failure import failed
from nodeset_provider.controllers.machine.observed import Observed

REASON_NODE_GONE = "NodeGone"
REASON_PROVIDER_ID = "ProviderIDMismatch"
REASON_NODE_NAME = "NodeNameMismatch"
QUIET_SECONDS = 3.0
"""How long the sync of a new Node waits for the first writes of others to be over."""
READY_SECONDS = 2.0
"""How long the record of a registration waits for the Node to be Ready. The Node itself is complete before that."""

_OURS = frozenset({TAINT_UNREGISTERED, TAINT_UNINITIALIZED})
_NOT_READY = "node.kubernetes.io/not-ready"
_KUBELET_OWNS = frozenset({LABEL_ARCH, LABEL_ARCH_BETA, LABEL_OS, LABEL_OS_BETA, LABEL_HOSTNAME})
"""The kubelet writes these by itself and again at each start; it knows better than a price list."""


def decide(o: Observed) -> Action | None:  # noqa: PLR0911 - one line per state
    """What to do next; None where there is nothing to do (registered, or no Node yet)."""
    if o.timed_out and o.retries:
        return None
    node = o.node
    if node is None:
        return _without_node(o)
    reference = o.machine.status.node_ref
    if o.is_registered and reference is not None and reference.uid == node.metadata.uid:
        return None
    if node.spec.provider_id and node.spec.provider_id != o.provider_id:
        why = (
            f"Node {node.metadata.name} has the provider id {node.spec.provider_id}, the machine {o.provider_id}; "
            "it is left alone, delete it if its machine is gone"
        )
        return _unusable(o, REASON_PROVIDER_ID, why)
    if node.metadata.deleting:
        return None  # it goes by itself, and takes no finalizer any more
    if not node.has_kubelet and not o.owns_node:
        return None  # nothing runs as it: a placeholder, or a name that somebody took
    patch = node_patch(o, node)
    if patch:
        return _being_written(o, node) or SyncNode(node.metadata.name, patch)
    return _soon_ready(o, node) or _registered(o, node)


def _being_written(o: Observed, node: Node) -> Wait | None:
    """Kubelet, node lifecycle controller and we all write to a new Node; the last one has the fewest conflicts.

    Its pods lose nothing by that: until it is Ready no pod is bound to it anyway.
    """
    seen = o.memory.node_seen_at
    if seen is None or (node.ready and not any(taint.key == _NOT_READY for taint in node.spec.taints)):
        return None
    left = seen + QUIET_SECONDS - o.moment
    return Wait(left) if left > 0 else None


def _soon_ready(o: Observed, node: Node) -> Wait | None:
    """A kubelet tells that it is Ready a moment after it registered: both are then worth one write and not two."""
    synced = o.memory.synced_at
    if synced is None or not initialize.missing(o.machine.spec.template, node):
        return None
    left = synced + READY_SECONDS - o.moment
    return Wait(left) if left > 0 else None


def _without_node(o: Observed) -> Action | None:
    if o.namesake is not None and not o.is_registered:
        why = (
            f"the kubelet registered as {o.namesake.metadata.name}, not as {o.machine.spec.node_name}; something on "
            "the image overrules --hostname-override"
        )
        return _unusable(o, REASON_NODE_NAME, why)
    if not o.is_registered:
        return None
    why = f"Node {o.machine.node_name} is gone; the machine stays and is taken up again when its kubelet registers"
    action = failed(o, CONDITION_REGISTERED, REASON_NODE_GONE, why)
    conditions = with_condition(
        o.machine.status.conditions, CONDITION_REGISTERED, "False", reason=REASON_NODE_GONE, message=why, now=o.now
    )
    conditions = with_condition(
        conditions, CONDITION_INITIALIZED, "False", reason=REASON_NODE_GONE, message=why, now=o.now
    )
    return WriteStatus(action.status | {"conditions": to_wire(conditions)}, announcement=action.announcement)


def _unusable(o: Observed, reason: str, why: str) -> Action | None:
    if o.timed_out or (o.registered is not None and o.registered.reason == reason):
        return None
    return failed(o, CONDITION_REGISTERED, reason, why)


def _registered(o: Observed, node: Node) -> WriteStatus:
    conditions = with_condition(
        o.machine.status.conditions,
        CONDITION_REGISTERED,
        "True",
        reason="Registered",
        message=f"Node {node.metadata.name} has its labels, annotations and taints",
        now=o.now,
    )
    if not initialize.missing(o.machine.spec.template, node):
        conditions = initialize.initialized(conditions, o.now)
    status: dict[str, Any] = {
        "nodeRef": {"name": node.metadata.name, "uid": node.metadata.uid},
        "conditions": to_wire(conditions),
    }
    return WriteStatus(status, drop_token=not o.memory.token_dropped)


def node_patch(o: Observed, node: Node) -> dict[str, Any]:
    """The merge patch that completes the Node; empty where it is complete.

    Taints and finalizers are lists, which a merge patch replaces whole: the resourceVersion in it makes the API server
    refuse the patch if anybody changed the Node meanwhile. Startup taints are added only beside our own taint, that is,
    before anybody could have taken them away for good reason.
    """
    template = o.machine.spec.template
    metadata: dict[str, Any] = {}
    labels: dict[str, str | None] = {
        key: value
        for key, value in template.labels.items()
        if node.metadata.labels.get(key) != value and not (key in _KUBELET_OWNS and key in node.metadata.labels)
    }
    annotations: dict[str, str | None] = {
        k: v for k, v in template.annotations.items() if node.metadata.annotations.get(k) != v
    }
    if ANNOTATION_EXCLUDED in node.metadata.annotations:
        labels[LABEL_EXCLUDE_FROM_LOAD_BALANCERS] = annotations[ANNOTATION_EXCLUDED] = None
    if labels:
        metadata["labels"] = labels
    if annotations:
        metadata["annotations"] = annotations
    if FINALIZER_NODE not in node.metadata.finalizers:
        metadata["finalizers"] = [*node.metadata.finalizers, FINALIZER_NODE]
    spec: dict[str, Any] = {}
    taints = _taints(node.spec.taints, template.taints, template.startup_taints)
    if taints != node.spec.taints:
        spec["taints"] = [msgspec.to_builtins(taint) for taint in taints] or None
    if not node.spec.provider_id and o.provider_id:
        spec["providerID"] = o.provider_id
    if not metadata and not spec:
        return {}
    return {
        "metadata": {**metadata, "resourceVersion": node.metadata.resource_version},
        **({"spec": spec} if spec else {}),
    }


def _taints(present: list[NodeTaint], wanted: list[Taint], startup: list[Taint]) -> list[NodeTaint]:
    first = any(taint.key in _OURS for taint in present)
    taints = [taint for taint in present if taint.key not in _OURS]
    there = {(taint.key, taint.effect) for taint in taints}
    for taint in [*wanted, *(startup if first else [])]:
        if (taint.key, taint.effect) not in there:
            there.add((taint.key, taint.effect))
            taints.append(NodeTaint(key=taint.key, effect=taint.effect, value=taint.value))
    return taints
