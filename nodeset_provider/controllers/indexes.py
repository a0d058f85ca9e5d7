"""What the controllers alone look up in the informers' caches (Machines: :mod:`nodeset_provider.kube.indexes`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers.placeholder.recognise import is_placeholder, node_class_of
from nodeset_provider.kube.indexes import MACHINE_BY_PROVIDER_ID
from nodeset_provider.kube.informer import Informer

NODESET_BY_CLASS: Final = "node-class"
NODE_BY_PROVIDER_ID: Final = "provider-id"
NODE_BY_IP: Final = "ip"
PLACEHOLDER_BY_CLASS: Final = "placeholder"
"""Nodes that wait for a machine, by the NodeClass that they ask for."""


def _node_provider_id(node: Node) -> Iterable[str]:
    return (node.spec.provider_id,) if node.spec.provider_id else ()


def _ips(node: Node) -> Iterable[str]:
    return {address.ip for address in node.status.addresses} - {""}


NODESET_INDEXERS: Final[Mapping[str, Callable[[NodeSet], Iterable[str]]]] = {
    NODESET_BY_CLASS: lambda nodeset: (nodeset.spec.node_class_name,),
}
NODE_INDEXERS: Final[Mapping[str, Callable[[Node], Iterable[str]]]] = {
    NODE_BY_PROVIDER_ID: _node_provider_id,
    NODE_BY_IP: _ips,
    PLACEHOLDER_BY_CLASS: lambda node: (node_class_of(node),) if is_placeholder(node) else (),
}


def machines_of(node: Node, machines: Informer[Machine]) -> list[Machine]:
    """Machines that the Node may be of: the one that it is named after, and those of its provider id."""
    named = machines.get(node.metadata.name)
    found = [named] if named is not None else []
    if node.spec.provider_id:
        found += [m for m in machines.by_index(MACHINE_BY_PROVIDER_ID, node.spec.provider_id) if m is not named]
    return found
