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
    scale_down_gpu_utilization_threshold: float | None = None
    scale_down_unneeded_seconds: int | None = None
    scale_down_unready_seconds: int | None = None
    max_node_provision_seconds: int | None = None
    zero_or_max_node_scaling: bool | None = None
    ignore_daemon_sets_utilization: bool | None = None


class Autoscaling(APIStruct, frozen=True):
    """Its presence makes the NodeSet a node group. The bounds bind the autoscaler only, never a person."""

    max_replicas: int
    min_replicas: int = 0
    options: AutoscalingOptions | None = None
    price_per_hour: str = ""
    """Decimal string; wins over the price that the driver resolved."""


class NodeSetSpec(APIStruct, frozen=True):
    node_class_name: str
    replicas: int = 0
    config: dict[str, Any] = {}
    node_labels: dict[str, str] = {}
    node_annotations: dict[str, str] = {}
    taints: list[Taint] = []
    startup_taints: list[Taint] = []
    remove_first: list[str] = []
    """Machines that are on their way out, whatever ``replicas`` says; ``replicas`` alone decides whether others take
    their place. A shrink names its victims and lowers ``replicas`` in one patch (autoscaler issue 8494: two writes
    take the wrong node)."""
    autoscaling: Autoscaling | None = None


class NodeSetStatus(APIStruct, frozen=True):
    observed_generation: int = 0
    replicas: int = 0
    """Machines that exist and are not on their way out."""
    ready_replicas: int = 0
    """Of these, the ones whose Machine is Initialized and whose Node is Ready."""
    selector: str = ""
    template: ResolvedTemplate | None = None
    template_hash: str = ""
    conditions: list[Condition] = []


class NodeSet(APIStruct, frozen=True):
    metadata: ObjectMeta
    spec: NodeSetSpec
    status: NodeSetStatus = NodeSetStatus()
