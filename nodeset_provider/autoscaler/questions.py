"""The RPCs that only ask. Every answer comes from the informers' caches, without waiting for anything.

Nothing is answered from a cache that is not filled yet: a partial list of groups or nodes would be acted upon. A cache
that has lost the API server refuses only Refresh, see there.
"""

from __future__ import annotations

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler import groups, options, pricing
from nodeset_provider.autoscaler.answers import NO_GROUP, Answers
from nodeset_provider.autoscaler.groups import require_group
from nodeset_provider.autoscaler.slots import Slots
from nodeset_provider.autoscaler.staleness import Caches, interrupted
from nodeset_provider.autoscaler.statuses import invalid, not_found, unavailable
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET, MACHINE_BY_PROVIDER_ID
from nodeset_provider.kube.informer import Informer
from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb

NOTHING = b""
"""Every empty response on the wire."""


class Questions:
    """Each method takes a request and returns the serialised response, or raises Refused."""

    def __init__(
        self,
        node_sets: Informer[NodeSet],
        machines: Informer[Machine],
        *,
        answers: Answers,
        slots: Slots,
        gpu_label: str,
    ) -> None:
        self._node_sets = node_sets
        self._machines = machines
        self._answers = answers
        self._slots = slots
        self._gpu_label = pb.GPULabelResponse(label=gpu_label).SerializeToString()

    def require_synced(self) -> None:
        """Raise Refused until both caches hold everything that there is."""
        if not (self._node_sets.synced and self._machines.synced):
            raise unavailable("the caches of NodeSets and Machines are not filled yet; ask again in a moment")

    def refresh(self, _request: pb.RefreshRequest) -> bytes:
        """A failed Refresh ends the autoscaler's loop and keeps its state; nothing to do otherwise: caches are live.

        Caches that have lost the API server are told here and nowhere else. It is the first call of each loop, so no
        loop begins on old sizes; an error to Nodes or NodeGroups would be taken for "there is nothing". Changes need
        no guard: they are written on condition of the version that they were decided on, or not at all.
        """
        self.require_synced()
        caches: Caches = {"NodeSets": self._node_sets, "Machines": self._machines}
        if late := interrupted(caches):
            names = " and ".join(f"{name} (for {seconds:.0f} s)" for name, seconds in late.items())
            raise unavailable(
                f"this replica hears nothing of the API server about {names}, so its sizes and nodes may be old; it"
                " goes on by itself when the connection is back. If it stays, look for 'watching is interrupted' in"
                " this replica's log, and at the network and the roles between it and the API server"
            )
        return NOTHING

    def cleanup(self, _request: pb.CleanupRequest) -> bytes:
        """The autoscaler is going away. Nothing here is its own."""
        return NOTHING

    def node_groups(self, _request: pb.NodeGroupsRequest) -> bytes:
        """All groups; never a partial list, because an error and an empty list are the same to the autoscaler."""
        self.require_synced()
        return self._answers.groups()

    def node_group_for_node(self, request: pb.NodeGroupForNodeRequest) -> bytes:
        """The group, by provider id; an empty one for a node that is not ours or on its way out (autoscaler #9877).

        A node without provider id is nobody's until it has one: going by its name or labels would let any Node
        pass for a machine of ours.
        """
        self.require_synced()
        node = request.node
        instance = node.providerID
        if not instance:
            if not node.name:
                raise invalid("node has neither a providerID nor a name")
            return NO_GROUP
        machines = self._machines.by_index(MACHINE_BY_PROVIDER_ID, instance)
        machine = machines[0] if machines else None
        if machine is None:
            pending = groups.parse_pending(instance)
            if pending is None:
                return NO_GROUP
            if isinstance(pending, groups.SlotId):
                return self._group_of_slot(pending)
            machine = self._machines.get(pending)
            if machine is None:
                return NO_GROUP
        node_set = self._node_sets.get(machine.metadata.labels.get(LABEL_NODESET, ""))
        if node_set is None or not groups.is_group(node_set) or groups.is_leaving(machine, node_set):
            return NO_GROUP
        return self._answers.group(node_set)

    def target_size(self, request: pb.NodeGroupTargetSizeRequest) -> bytes:
        """``spec.replicas``."""
        return self._answers.target(self._group(request.id))

    def nodes(self, request: pb.NodeGroupNodesRequest) -> bytes:
        """Every instance, also those that are only asked for, failed or going."""
        return self._answers.nodes(self._group(request.id))

    def template(self, request: pb.NodeGroupTemplateNodeInfoRequest) -> bytes:
        """The Node that would join."""
        return self._answers.template(self._group(request.id))

    def get_options(self, request: pb.NodeGroupAutoscalingOptionsRequest) -> bytes:
        """Unset without overrides, complete with them."""
        node_set = self._group(request.id)
        overrides = node_set.spec.autoscaling.options if node_set.spec.autoscaling is not None else None
        if overrides is None or not options.has_overrides(overrides):
            return options.NO_OVERRIDES
        merged = options.merged(overrides, request.defaults)
        return pb.NodeGroupAutoscalingOptionsResponse(nodeGroupAutoscalingOptions=merged).SerializeToString()

    def gpu_label(self, _request: pb.GPULabelRequest) -> bytes:
        """From the configuration, so it needs no cache. The autoscaler asks once in its life."""
        return self._gpu_label

    def gpu_types(self, _request: pb.GetAvailableGPUTypesRequest) -> bytes:
        """Asked once in its life too, so never from a cache that is not complete."""
        self.require_synced()
        return self._answers.gpu_types()

    def node_price(self, request: pb.PricingNodePriceRequest) -> bytes:
        """The group's hourly price times the hours asked for."""
        self.require_synced()
        price = pricing.require_price(self._priced_group(request.node)) * _hours(request)
        return pb.PricingNodePriceResponse(price=price).SerializeToString()

    def pod_price(self, request: pb.PricingPodPriceRequest) -> bytes:
        """The pod's requests at the cheapest unit prices; see :mod:`.pricing`."""
        self.require_synced()
        raw = request.pod_bytes or request.pod
        if not raw:
            raise invalid("the request has neither pod_bytes nor pod")
        try:
            requests = pricing.pod_requests(core_pb2.Pod.FromString(raw))
        except ValueError as error:
            raise invalid(f"the pod: {error}") from error
        price = pricing.pod_price_per_hour(requests, pricing.require_units(self._answers.unit_prices()))
        return pb.PricingPodPriceResponse(price=price * _hours(request)).SerializeToString()

    def _group(self, name: str) -> NodeSet:
        self.require_synced()
        return require_group(self._node_sets.get(name), name)[0]

    def _group_of_slot(self, slot: groups.SlotId) -> bytes:
        node_set = self._node_sets.get(slot.node_set)
        if node_set is None or not groups.is_group(node_set):
            return NO_GROUP
        machines = self._machines.by_index(MACHINE_BY_NODESET, slot.node_set)
        existing = self._slots.numbers(slot.node_set, groups.pending(node_set, machines))
        return self._answers.group(node_set) if slot.number in existing else NO_GROUP

    def _priced_group(self, node: pb.ExternalGrpcNode) -> NodeSet:
        """By provider id for a node that exists; a made-up one has the group in its label, and in its name."""
        machines = self._machines.by_index(MACHINE_BY_PROVIDER_ID, node.providerID) if node.providerID else []
        names = [machine.metadata.labels.get(LABEL_NODESET, "") for machine in machines]
        names += [node.labels.get(LABEL_NODESET, ""), pricing.group_of_template_node(node.name)]
        for name in filter(None, names):
            node_set = self._node_sets.get(name)
            if node_set is not None and groups.is_group(node_set):
                return node_set
        raise not_found(
            f"node {node.name!r} (provider id {node.providerID!r}) belongs to no node group: neither its provider id,"
            f" its label {LABEL_NODESET} nor its name leads to a NodeSet with spec.autoscaling"
        )


def _hours(request: pb.PricingNodePriceRequest | pb.PricingPodPriceRequest) -> float:
    """Of the new fields, else of the old ones (contract §1)."""
    if request.HasField("startTimestamp") and request.HasField("endTimestamp"):
        return pricing.hours(request.startTimestamp, request.endTimestamp)
    if request.HasField("startTime") and request.HasField("endTime"):
        return pricing.hours(request.startTime, request.endTime)
    raise invalid("the request has no complete period: startTimestamp and endTimestamp are missing")
