"""Answers in serialised form, per group, made when first asked for and dropped by what the informers bring. No I/O.

The autoscaler asks ~20,000 times a loop in a large cluster, almost always the same; an answer is then one look-up.
"""

from __future__ import annotations

from collections.abc import Callable

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler import gpu, groups, pricing
from nodeset_provider.autoscaler.slots import Slots
from nodeset_provider.autoscaler.templates import template_answer
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET
from nodeset_provider.kube.informer import Informer
from nodeset_provider.protocol import externalgrpc_pb2 as pb

NO_GROUP = pb.NodeGroupForNodeResponse(nodeGroup=pb.NodeGroup()).SerializeToString()
"""An empty id: the autoscaler leaves the node alone."""


class Answers:
    """What the group of that name answers. Every argument is a NodeSet that :func:`groups.is_group` accepts."""

    def __init__(
        self, node_sets: Informer[NodeSet], machines: Informer[Machine], slots: Slots, *, gpu_label: str
    ) -> None:
        self._node_sets = node_sets
        self._machines = machines
        self._slots = slots
        self._gpu_label = gpu_label
        self._group: dict[str, bytes] = {}
        self._target: dict[str, bytes] = {}
        self._nodes: dict[str, bytes] = {}
        self._template: dict[str, bytes] = {}
        self._groups: bytes | None = None
        self._unit_prices: pricing.UnitPrices | None = None
        node_sets.add_handler(self._on_node_set)
        machines.add_handler(self._on_machine)

    def groups(self) -> bytes:
        """NodeGroupsResponse: every group, in the order of their names."""
        if self._groups is None:
            members = sorted(filter(groups.is_group, self._node_sets.items()), key=lambda item: item.metadata.name)
            response = pb.NodeGroupsResponse(nodeGroups=[groups.node_group(node_set) for node_set in members])
            self._groups = response.SerializeToString()
        return self._groups

    def group(self, node_set: NodeSet) -> bytes:
        """NodeGroupForNodeResponse for a node of this group."""
        return _once(
            self._group,
            node_set.metadata.name,
            lambda: pb.NodeGroupForNodeResponse(nodeGroup=groups.node_group(node_set)).SerializeToString(),
        )

    def target(self, node_set: NodeSet) -> bytes:
        """NodeGroupTargetSizeResponse."""
        return _once(
            self._target,
            node_set.metadata.name,
            lambda: pb.NodeGroupTargetSizeResponse(targetSize=node_set.spec.replicas).SerializeToString(),
        )

    def nodes(self, node_set: NodeSet) -> bytes:
        """NodeGroupNodesResponse."""
        return _once(self._nodes, node_set.metadata.name, lambda: self._list_nodes(node_set))

    def template(self, node_set: NodeSet) -> bytes:
        """NodeGroupTemplateNodeInfoResponse; raises Refused where there is none."""
        return _once(self._template, node_set.metadata.name, lambda: template_answer(node_set).SerializeToString())

    def gpu_types(self) -> bytes:
        """GetAvailableGPUTypesResponse. Asked once in an autoscaler's life, so not kept."""
        response = pb.GetAvailableGPUTypesResponse()
        for kind in gpu.gpu_types(self._node_sets.items(), self._gpu_label):
            response.gpuTypes[kind].SetInParent()
        return response.SerializeToString()

    def unit_prices(self) -> pricing.UnitPrices | None:
        """The cheapest unit prices among the groups; None where there are none."""
        if self._unit_prices is None:
            self._unit_prices = pricing.unit_prices(filter(groups.is_group, self._node_sets.items()))
        return self._unit_prices

    def drop_nodes(self, group: str) -> None:
        """The numbering of the group's slots has changed."""
        self._nodes.pop(group, None)

    def _list_nodes(self, node_set: NodeSet) -> bytes:
        name = node_set.metadata.name
        machines = self._machines.by_index(MACHINE_BY_NODESET, name)
        slots = self._slots.numbers(name, groups.pending(node_set, machines))
        return pb.NodeGroupNodesResponse(instances=groups.instances(node_set, machines, slots)).SerializeToString()

    def _on_node_set(self, old: NodeSet | None, new: NodeSet | None) -> None:
        changed = new or old
        if changed is None:
            return
        for kept in (self._group, self._target, self._nodes, self._template):
            kept.pop(changed.metadata.name, None)
        if _as_group(old) != _as_group(new):
            self._groups = None
        if _as_offer(old) != _as_offer(new):
            self._unit_prices = None

    def _on_machine(self, old: Machine | None, new: Machine | None) -> None:
        for machine in (old, new):
            if machine is not None:
                self._nodes.pop(machine.metadata.labels.get(LABEL_NODESET, ""), None)


def _once(kept: dict[str, bytes], name: str, make: Callable[[], bytes]) -> bytes:
    answer = kept.get(name)
    if answer is None:
        answer = kept[name] = make()
    return answer


def _as_group(node_set: NodeSet | None) -> bytes | None:
    """Everything of it that is in the list of groups."""
    if node_set is None or not groups.is_group(node_set):
        return None
    return groups.node_group(node_set).SerializeToString()


def _as_offer(node_set: NodeSet | None) -> tuple[object, ...] | None:
    """Everything of it that is in the unit prices."""
    if node_set is None or not groups.is_group(node_set):
        return None
    template = node_set.status.template
    return (pricing.price_per_hour(node_set), template.capacity if template is not None else None)
