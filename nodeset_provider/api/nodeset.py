"""NodeSet: *how many* machines of a class. The unit that people scale and that the Cluster Autoscaler calls a group."""

from __future__ import annotations

from typing import Any

from nodeset_provider.api.meta import APIStruct, Condition, ObjectMeta, Taint
from nodeset_provider.api.nodeclass import ResolvedTemplate


class AutoscalingOptions(APIStruct, frozen=True):
    """Overrides of the autoscaler's own flags for this group (config.NodeGroupAutoscalingOptions).

    None means that the autoscaler's default is kept. Thresholds are fractions 0 … 1, times are seconds.
    """

    scale_down_utilization_threshold: float | None = None
    """A node whose requested share of cpu and memory is below this (0 to 1) may be taken away."""
    scale_down_gpu_utilization_threshold: float | None = None
    """The same for nodes with GPUs: the requested share of the GPUs (0 to 1)."""
    scale_down_unneeded_seconds: int | None = None
    """Seconds that a node must have been unneeded before it is taken away."""
    scale_down_unready_seconds: int | None = None
    """Seconds that a node must have been unready before it is taken away."""
    max_node_provision_seconds: int | None = None
    """Seconds that the autoscaler waits for a machine to register before it gives it up. Best a little more than the
    class's launchTimeoutSeconds."""
    zero_or_max_node_scaling: bool | None = None
    """Whether the set is only ever scaled to maxReplicas or to zero (for machines that work as one)."""
    ignore_daemon_sets_utilization: bool | None = None
    """Whether pods of DaemonSets are left out when utilization is worked out."""


class Autoscaling(APIStruct, frozen=True):
    """Its presence makes the NodeSet a node group. The bounds bind the autoscaler only, never a person."""

    max_replicas: int
    """The autoscaler never asks for more machines than this. People may."""
    min_replicas: int = 0
    """The autoscaler never takes machines away below this number. People may."""
    options: AutoscalingOptions | None = None
    """Settings of the autoscaler for this set alone; what is left out keeps the autoscaler's own flags."""
    price_per_hour: str = ""
    """Price of one machine for one hour as a decimal number in quotes ("0.096"); wins over the one that the driver
    found. The autoscaler's price expander compares it with other sets'."""


class NodeSetSpec(APIStruct, frozen=True):
    node_class_name: str
    """The NodeClass that says what kind of machine. Cannot be changed while the set has machines or asks for some:
    make a second NodeSet for the other class and scale this one down, or scale to 0 first."""
    replicas: int = 0
    """How many machines are wanted. People set it with kubectl scale, the autoscaler over its own protocol."""
    config: dict[str, Any] = {}
    """Settings of the driver for this set, merged over the class's config (a JSON merge patch: null takes a key
    away)."""
    node_labels: dict[str, str] = {}
    """Labels of the Nodes; they win over the class's."""
    node_annotations: dict[str, str] = {}
    """Annotations of the Nodes."""
    taints: list[Taint] = []
    """Taints that the Nodes keep."""
    startup_taints: list[Taint] = []
    """Taints that the Nodes start with and that something else (a CNI or device plug-in) takes away. The machine
    counts as initialized once they are gone. Prefix the key with startup-taint.cluster-autoscaler.kubernetes.io/ so
    that the autoscaler ignores it too."""
    remove_first: list[str] = []
    """Names of Machines that are taken away whatever replicas says; replicas alone decides whether others take their
    place. To shrink by a certain machine, name it here and lower replicas in one patch (two writes may take the wrong
    one). Names of Machines that are gone are removed from the list by the provider."""
    autoscaling: Autoscaling | None = None
    """Makes the set a node group of the Cluster Autoscaler and bounds it. Left out: the autoscaler does not see it."""


class NodeSetStatus(APIStruct, frozen=True):
    observed_generation: int = 0
    """The metadata.generation of the spec that this status was worked out from."""
    replicas: int = 0
    """Machines that exist and are not on their way out."""
    ready_replicas: int = 0
    """Of these, the ones whose Machine is Initialized and whose Node is Ready."""
    selector: str = ""
    """Label selector of the set's Machines and Nodes, for the scale subresource."""
    template: ResolvedTemplate | None = None
    """The Node that the next machine of this set will be; what the autoscaler counts on while the set is empty."""
    template_hash: str = ""
    """Hash of what Machines of this set are made from now. A Machine whose label nodeset.dev/template-hash differs was
    made from an older one."""
    conditions: list[Condition] = []
    """Ready: all machines that are wanted are there and ready. Where it is False, the message names the machine or the
    field that is in the way."""


class NodeSet(APIStruct, frozen=True):
    """How many machines of a class: the unit that people scale, and a node group of the Cluster Autoscaler."""

    metadata: ObjectMeta
    spec: NodeSetSpec
    """The machines that are wanted."""
    status: NodeSetStatus = NodeSetStatus()
    """The machines that there are."""
