"""What the controllers need to look up in the informers' caches. Whoever makes the informers passes these in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from nodeset_provider.api.machine import Machine, MachineTemplate
from nodeset_provider.api.names import LABEL_NODESET, LABEL_TEMPLATE_HASH
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeset import NodeSet

MACHINE_BY_NODESET: Final = "controllers/nodeset"
MACHINE_BY_PROVIDER_ID: Final = "controllers/provider-id"
NODESET_BY_CLASS: Final = "controllers/node-class"
NODE_BY_PROVIDER_ID: Final = "controllers/provider-id"


def _nodeset(machine: Machine) -> Iterable[str]:
    name = machine.metadata.labels.get(LABEL_NODESET)
    return (name,) if name else ()


def _machine_provider_id(machine: Machine) -> Iterable[str]:
    return (machine.status.provider_id,) if machine.status.provider_id else ()


def _node_provider_id(node: Node) -> Iterable[str]:
    return (node.spec.provider_id,) if node.spec.provider_id else ()


MACHINE_INDEXERS: Final[Mapping[str, Callable[[Machine], Iterable[str]]]] = {
    MACHINE_BY_NODESET: _nodeset,
    MACHINE_BY_PROVIDER_ID: _machine_provider_id,
}
NODESET_INDEXERS: Final[Mapping[str, Callable[[NodeSet], Iterable[str]]]] = {
    NODESET_BY_CLASS: lambda nodeset: (nodeset.spec.node_class_name,),
}
NODE_INDEXERS: Final[Mapping[str, Callable[[Node], Iterable[str]]]] = {NODE_BY_PROVIDER_ID: _node_provider_id}


def intern_templates() -> Callable[[Machine], Machine]:
    """A transform for the Machine informer: Machines with equal templates share one.

    Thousands of Machines carry the same frozen template, which is most of what a Machine weighs. The hash in the label
    finds the candidate; only equality decides, so a label that somebody edited does no harm.
    """
    known: dict[str, MachineTemplate] = {}

    def intern(machine: Machine) -> Machine:
        template = machine.spec.template
        key = f"{machine.metadata.labels.get(LABEL_NODESET, '')}/{machine.metadata.labels.get(LABEL_TEMPLATE_HASH, '')}"
        first = known.get(key)
        if first is template:
            return machine
        if first is None or first != template:
            known[key] = template
            return machine
        return msgspec.structs.replace(machine, spec=msgspec.structs.replace(machine.spec, template=first))

    return intern
