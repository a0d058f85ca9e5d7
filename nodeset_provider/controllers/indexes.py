"""What the controllers alone look up in the informers' caches (Machines: :mod:`nodeset_provider.kube.indexes`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeset import NodeSet

NODESET_BY_CLASS: Final = "node-class"
NODE_BY_PROVIDER_ID: Final = "provider-id"


def _node_provider_id(node: Node) -> Iterable[str]:
    return (node.spec.provider_id,) if node.spec.provider_id else ()


NODESET_INDEXERS: Final[Mapping[str, Callable[[NodeSet], Iterable[str]]]] = {
    NODESET_BY_CLASS: lambda nodeset: (nodeset.spec.node_class_name,),
}
NODE_INDEXERS: Final[Mapping[str, Callable[[Node], Iterable[str]]]] = {NODE_BY_PROVIDER_ID: _node_provider_id}
