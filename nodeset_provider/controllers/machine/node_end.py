"""The end of a Node that a machine of ours registered as: our finalizer, and whose it is to take it away. Pure.

``kubectl delete node`` sets a deletion time and no more, because the Node carries our finalizer: the Machine goes
first, its machine with it, then the finalizer. What we delete ourselves loses the finalizer *before*, so that a Node
with the finalizer and a deletion time is always somebody else's wish.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import FINALIZER_MACHINE, FINALIZER_NODE
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.machine.actions import DeleteMachine, DeleteNode, ReleaseNode
from nodeset_provider.controllers.machine.observed import Observed, claims


def is_unwanted(o: Observed) -> DeleteMachine | None:
    """Somebody asked for the end of the Node that the machine registered as: the machine is to go."""
    node, reference = o.node, o.machine.status.node_ref
    if node is None or not node.metadata.deleting or not o.owns_node:
        return None
    if FINALIZER_MACHINE not in o.machine.metadata.finalizers:
        return None  # somebody took it off: without it the deletion would leave the machine to nobody
    joined = reference is not None and reference.uid == node.metadata.uid
    if not joined and FINALIZER_NODE not in node.metadata.finalizers:
        return None  # it never joined, and is going by itself
    return DeleteMachine(node.metadata.name)


def take_away(o: Observed) -> ReleaseNode | DeleteNode | None:
    """What is to be done next about the machine's Node, once its machine is gone; None where nothing is."""
    node = o.node
    if node is None or not o.owns_node:
        return None
    if FINALIZER_NODE in node.metadata.finalizers:
        return ReleaseNode(node)
    return None if node.metadata.deleting else DeleteNode(node.metadata.name, node.metadata.uid)


def release_patch(node: Node) -> dict[str, Any]:
    """The merge patch that takes our finalizer away. It replaces the list whole: the resourceVersion guards others'."""
    left = [finalizer for finalizer in node.metadata.finalizers if finalizer != FINALIZER_NODE]
    return {"metadata": {"resourceVersion": node.metadata.resource_version, "finalizers": left or None}}


def is_held_for_nobody(node: Node, machines: Iterable[Machine]) -> bool:
    """Whether it waits for our finalizer and none of ``machines`` is its own: nobody would ever take that away."""
    if not node.metadata.deleting or FINALIZER_NODE not in node.metadata.finalizers:
        return False
    return not any(claims(machine, node) for machine in machines)
