"""Transforms for informers that let equal parts of different objects be one object in memory. Pure.

The Machines of a NodeSet all carry the same frozen template, the Nodes of one kind the same capacity, labels and
conditions but for a few values. Objects are immutable, so they can share.

What was seen is kept while it is in use, or in bounded tables: forgetting costs memory, never correctness.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import msgspec

from nodeset_provider.api.machine import Machine, MachineTemplate
from nodeset_provider.api.names import LABEL_NODESET, LABEL_TEMPLATE_HASH
from nodeset_provider.api.node import Node, NodeInfo

V = TypeVar("V")

_KUBELETS = 64
"""Versions of the kubelet in one cluster."""


class Pool(Generic[V]):
    """The first of all equal values, by a key that says what equal means."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def share(self, key: Hashable, value: V) -> V:
        """The value that was first seen with that key, this one where there was none."""
        held = self._values.get(key)
        if held is not None:
            self._values.move_to_end(key)
            return held
        self._values[key] = value
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value


class MachineInterner:
    """Machines share their templates (a few KiB each: files, commands, keys), as long as there is one that has it.

    The hash in the label finds the candidate; only equality decides, so a label that somebody edited does no harm.
    """

    def __init__(self) -> None:
        self._templates: WeakValueDictionary[tuple[str, str], MachineTemplate] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._templates)

    def __call__(self, machine: Machine) -> Machine:
        """The Machine with the template of the first one that had an equal one."""
        template, labels = machine.spec.template, machine.metadata.labels
        key = labels.get(LABEL_NODESET, ""), labels.get(LABEL_TEMPLATE_HASH, "")
        shared = self._templates.get(key)
        if shared is template:
            return machine
        if shared != template:
            self._templates[key] = template
            return machine
        return msgspec.structs.replace(machine, spec=msgspec.structs.replace(machine.spec, template=shared))


class NodeInterner:
    """Nodes share capacities, allocatables, the values of labels and the words of conditions."""

    def __init__(self, *, strings: int = 4096, resource_lists: int = 1024) -> None:
        self._strings: Pool[str] = Pool(strings)
        self._resources: Pool[dict[str, str]] = Pool(resource_lists)
        self._infos: Pool[NodeInfo] = Pool(_KUBELETS)

    def __call__(self, node: Node) -> Node:
        """The same Node, made of shared parts."""
        status = node.status
        return msgspec.structs.replace(
            node,
            metadata=msgspec.structs.replace(
                node.metadata,
                labels=self._mapping(node.metadata.labels),
                annotations=self._mapping(node.metadata.annotations),
            ),
            status=msgspec.structs.replace(
                status,
                capacity=self._resources.share(tuple(status.capacity.items()), status.capacity),
                allocatable=self._resources.share(tuple(status.allocatable.items()), status.allocatable),
                node_info=self._infos.share(status.node_info.kubelet_version, status.node_info),
                conditions=[
                    msgspec.structs.replace(
                        condition,
                        type=self._string(condition.type),
                        reason=self._string(condition.reason),
                        message=self._string(condition.message),
                    )
                    for condition in status.conditions
                ],
            ),
        )

    def _string(self, text: str) -> str:
        return self._strings.share(text, text)

    def _mapping(self, mapping: dict[str, str]) -> dict[str, str]:
        return {key: self._string(value) for key, value in mapping.items()}
