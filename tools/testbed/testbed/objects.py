"""Objects as tests want them: whatever is not named is sensible. Values only."""

from __future__ import annotations

from typing import Any

from nodeset_provider.api.machine import (
    Address,
    Failure,
    Machine,
    MachineSpec,
    MachineStatus,
    MachineTemplate,
    NodeReference,
)
from nodeset_provider.api.meta import Condition, ConditionStatus, ObjectMeta, Taint
from nodeset_provider.api.names import FINALIZER_MACHINE, LABEL_NODESET, LABEL_TEMPLATE_HASH, TAINT_UNREGISTERED
from nodeset_provider.api.node import Node, NodeInfo, NodeSpec, NodeStatus, NodeTaint
from nodeset_provider.api.nodeset import NodeSet, NodeSetSpec

UID = "6f0e7c1e-8a58-4d5e-9d5e-0d3f6e2a7b11"
TIME = "2026-01-01T00:00:00Z"
NOW = 1767225600.0
"""``TIME`` in seconds."""
UNREGISTERED = Taint(key=TAINT_UNREGISTERED, effect="NoExecute")


def condition(
    kind: str,
    status: ConditionStatus = "True",
    reason: str = "Because",
    message: str = "words",
    *,
    since: str = TIME,
) -> Condition:
    """A condition."""
    return Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since)


def machine(
    name: str = "web-a1b2c",
    *,
    uid: str = UID,
    nodeset: str = "web",
    conditions: list[Condition] | None = None,
    provider_id: str = "",
    addresses: tuple[str, ...] = ("10.0.0.1",),
    node_uid: str = "",
    attempt: int = 1,
    deleting: bool = False,
    finalizers: tuple[str, ...] = (FINALIZER_MACHINE,),
    failure: Failure | None = None,
    template: MachineTemplate | None = None,
    template_hash: str = "hash",
    created: str = TIME,
    annotations: dict[str, str] | None = None,
) -> Machine:
    """A Machine of NodeSet ``nodeset``; of none where that is empty."""
    return Machine(
        metadata=ObjectMeta(
            name=name,
            uid=uid,
            resource_version="7",
            creation_timestamp=created,
            deletion_timestamp=TIME if deleting else None,
            labels={**({LABEL_NODESET: nodeset} if nodeset else {}), LABEL_TEMPLATE_HASH: template_hash},
            annotations=annotations or {},
            finalizers=list(finalizers),
        ),
        spec=MachineSpec(
            node_name=name, template=template or MachineTemplate(driver="faulty", node_class_name="small")
        ),
        status=MachineStatus(
            attempt=attempt,
            provider_id=provider_id,
            node_ref=NodeReference(name=name, uid=node_uid) if node_uid else None,
            addresses=[Address(type="InternalIP", address=address) for address in addresses if provider_id],
            conditions=conditions or [],
            last_failure=failure,
        ),
    )


def node(
    name: str = "web-a1b2c",
    *,
    uid: str = "node-uid",
    provider_id: str = "",
    ready: bool = True,
    taints: list[Taint] | None = None,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    allocatable: dict[str, str] | None = None,
    addresses: tuple[str, ...] = (),
    finalizers: tuple[str, ...] = (),
    deleting: bool = False,
    kubelet: str = "v1.36.1",
) -> Node:
    """A Node that a kubelet of that version runs as; empty: none ever did."""
    return Node(
        metadata=ObjectMeta(
            name=name,
            uid=uid,
            resource_version="9",
            labels=labels or {},
            annotations=annotations or {},
            finalizers=list(finalizers),
            deletion_timestamp=TIME if deleting else None,
        ),
        spec=NodeSpec(provider_id=provider_id, taints=[_on_node(taint) for taint in taints or []]),
        status=NodeStatus(
            conditions=[condition("Ready", "True" if ready else "False")] if kubelet else [],
            node_info=NodeInfo(kubelet_version=kubelet),
            allocatable=allocatable or {},
            addresses=[Address(type="InternalIP", address=address) for address in addresses],
        ),
    )


def _on_node(taint: Taint) -> NodeTaint:
    if isinstance(taint, NodeTaint):
        return taint
    return NodeTaint(key=taint.key, effect=taint.effect, value=taint.value)


def nodeset(name: str = "web", *, deleting: bool = False, **spec: Any) -> NodeSet:
    """A NodeSet."""
    return NodeSet(
        metadata=ObjectMeta(
            name=name, uid="nodeset-uid", resource_version="3", deletion_timestamp=TIME if deleting else None
        ),
        spec=NodeSetSpec(node_class_name="small", **spec),
    )
