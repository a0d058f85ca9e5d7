"""Which Node is a wish for a machine, what it wishes for, and which Machine is the answer to it. Pure.

A *placeholder* is a Node that names a NodeClass and that no kubelet has ever run as. Whoever has to tell it from a Node
that a machine registered as (launch, registration, certificates) asks here.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import Taint
from nodeset_provider.api.names import (
    ANNOTATION_EXCLUDED,
    ANNOTATION_HANDED_OVER,
    ANNOTATION_NODE_CLASS,
    ANNOTATION_PLACEHOLDER,
    ANNOTATIONS_NODE_CLASS_LEGACY,
    FINALIZER_NODE,
    LABEL_EXCLUDE_FROM_LOAD_BALANCERS,
    TAINT_UNINITIALIZED,
    TAINT_UNREGISTERED,
)
from nodeset_provider.api.node import Node

_SPELLINGS: Final = (ANNOTATION_NODE_CLASS, *ANNOTATIONS_NODE_CLASS_LEGACY)
_CLUSTERS_ANNOTATIONS: Final = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "node.alpha.kubernetes.io/",
    "volumes.kubernetes.io/",
    "csi.volume.kubernetes.io/",
    ANNOTATION_EXCLUDED,
)
"""Prefixes of what kubectl, the cluster's controllers and we write on a Node; of the next Node they do so anew."""
_CLUSTERS_TAINTS: Final = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    TAINT_UNINITIALIZED,
    TAINT_UNREGISTERED,
)
"""Prefixes of taints that say how a Node is, not what somebody wants of it: a Node without a kubelet is unreachable."""


class Wish(msgspec.Struct, frozen=True):
    """What a placeholder asks for besides its class."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    taints: list[Taint] = []


def node_class_of(node: Node) -> str:
    """Name of the NodeClass that the Node asks for, in kube-node's spellings too; empty where it asks for none."""
    return next((name for key in _SPELLINGS if (name := node.metadata.annotations.get(key, ""))), "")


def is_placeholder(node: Node) -> bool:
    """Whether somebody made the Node and waits for a machine: nothing has ever run as it."""
    return (
        bool(node_class_of(node))
        and not node.has_kubelet
        and not node.spec.provider_id
        and FINALIZER_NODE not in node.metadata.finalizers
    )


def is_placeholder_of(node: Node, machine: Machine) -> bool:
    """Whether that Machine was made for this very Node, which still waits for it.

    Nothing that is made for the machine (its launch, its certificate) has to be kept back because that Node exists.
    """
    return (
        placeholder_uid(machine) == node.metadata.uid
        and machine.spec.node_name == node.metadata.name
        and machine.status.node_ref is None
        and is_placeholder(node)
    )


def placeholder_uid(machine: Machine) -> str:
    """UID of the Node that the Machine was made for; empty where a NodeSet made it."""
    return machine.metadata.annotations.get(ANNOTATION_PLACEHOLDER, "")


def is_handed_over(machine: Machine) -> bool:
    """Whether the kubelet makes its own Node, because the placeholder was taken away for it, or by the cloud."""
    uid = placeholder_uid(machine)
    return bool(uid) and machine.metadata.annotations.get(ANNOTATION_HANDED_OVER) == uid


def wish_of(node: Node) -> Wish:
    """What a person wrote into the Node, without what the cluster and we put on it."""
    metadata = node.metadata
    ours = {LABEL_EXCLUDE_FROM_LOAD_BALANCERS} if ANNOTATION_EXCLUDED in metadata.annotations else set()
    return Wish(
        labels={key: value for key, value in metadata.labels.items() if key not in ours},
        annotations={k: v for k, v in metadata.annotations.items() if not k.startswith(_CLUSTERS_ANNOTATIONS)},
        taints=[
            Taint(key=taint.key, effect=taint.effect, value=taint.value)
            for taint in node.spec.taints
            if not taint.key.startswith(_CLUSTERS_TAINTS)
        ],
    )


def wish_hash(node: Node) -> str:
    """Sixteen hexadecimal digits over the class and the wish: equal for a Node that was deleted and made again."""
    asked = msgspec.json.encode([node_class_of(node), wish_of(node)], order="sorted")
    return hashlib.sha256(asked).hexdigest()[:16]
