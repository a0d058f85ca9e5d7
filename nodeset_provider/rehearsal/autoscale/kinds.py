"""The parts of core/v1 and apps/v1 that the stand-in looks at, as msgspec structs. Pure data."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Generic, TypeVar

import msgspec

TO_BE_DELETED: Final = "ToBeDeletedByClusterAutoscaler"
"""Taint that keeps pods off a node which is about to go; such a node no longer counts."""

STARTUP_TAINT_PREFIX: Final = "startup-taint.cluster-autoscaler.kubernetes.io/"
"""A node with such a taint is still starting, whatever its Ready condition says."""

NOT_YET_TAINTS: Final = frozenset(
    {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/network-unavailable",
        "node.cloudprovider.kubernetes.io/uninitialized",
    }
)
"""Taints that Kubernetes takes off a moment after a node has become Ready; until then no pod comes to it."""

MIRROR_POD: Final = "kubernetes.io/config.mirror"
"""Annotation of pods that a kubelet runs from files: they go with their node."""


class _Object(msgspec.Struct, rename="camel"):
    pass


class OwnerReference(_Object):
    """Who made an object."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class Metadata(_Object):
    """Of ObjectMeta what is looked at."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []


class Taint(_Object, omit_defaults=True):
    """A node's taint; written back whole, so no field may be left out."""

    key: str
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class Toleration(_Object):
    """``operator`` is Equal where empty."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class Requirement(_Object):
    """One expression of a node selector term."""

    key: str
    operator: str
    values: list[str] = []


class Term(_Object):
    """All of its expressions have to match; one without any matches nothing."""

    match_expressions: list[Requirement] = []
    match_fields: list[Requirement] = []


class NodeSelector(_Object):
    """One of its terms has to match."""

    node_selector_terms: list[Term] = []


class NodeAffinity(_Object):
    """The required part."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class Affinity(_Object):
    """The node part."""

    node_affinity: NodeAffinity | None = None


class Resources(_Object):
    """What a container or a pod asks for."""

    requests: dict[str, str] = {}


class Container(_Object):
    """``restart_policy`` Always makes an init container a sidecar."""

    resources: Resources = msgspec.field(default_factory=Resources)
    restart_policy: str = ""


class PodSpec(_Object):
    """What decides where a pod may run."""

    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    containers: list[Container] = []
    init_containers: list[Container] = []
    overhead: dict[str, str] = {}
    resources: Resources = msgspec.field(default_factory=Resources)


class Condition(_Object):
    """Of a Pod or a Node."""

    type: str
    status: str = ""
    reason: str = ""


class PodStatus(_Object):
    """Phase and conditions."""

    phase: str = ""
    conditions: list[Condition] = []


class Pod(_Object):
    """A pod."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def finished(self) -> bool:
        """Whether it holds its resources no more."""
        return self.status.phase in {"Succeeded", "Failed"}

    @property
    def unschedulable(self) -> bool:
        """Whether the scheduler found no node for it."""
        return (
            not self.spec.node_name
            and not self.finished
            and self.metadata.deletion_timestamp is None
            and any(
                it.type == "PodScheduled" and it.status == "False" and it.reason == "Unschedulable"
                for it in self.status.conditions
            )
        )

    @property
    def goes_with_its_node(self) -> bool:
        """Whether it keeps no node: of a DaemonSet, of a file, or finished."""
        return (
            self.finished
            or MIRROR_POD in self.metadata.annotations
            or any(owner.controller and owner.kind == "DaemonSet" for owner in self.metadata.owner_references)
        )


class NodeSpec(_Object):
    """Identity and what keeps pods off."""

    provider_id: str = msgspec.field(default="", name="providerID")
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeStatus(_Object):
    """Room and conditions."""

    allocatable: dict[str, str] = {}
    conditions: list[Condition] = []


class Node(_Object):
    """A node."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)

    @property
    def going(self) -> bool:
        """Whether an autoscaler has decided that it goes."""
        return any(taint.key == TO_BE_DELETED for taint in self.spec.taints)

    @property
    def usable(self) -> bool:
        """Whether it is Ready and has lost its startup taints."""
        ready = any(it.type == "Ready" and it.status == "True" for it in self.status.conditions)
        return ready and not any(
            taint.key.startswith(STARTUP_TAINT_PREFIX) or taint.key in NOT_YET_TAINTS for taint in self.spec.taints
        )


class PodTemplate(_Object):
    """What a DaemonSet puts on each node."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class DaemonSetSpec(_Object):
    """Its template."""

    template: PodTemplate = msgspec.field(default_factory=PodTemplate)


class DaemonSet(_Object):
    """A DaemonSet."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: DaemonSetSpec = msgspec.field(default_factory=DaemonSetSpec)


T = TypeVar("T")


class ListMetadata(_Object):
    """``continue`` is where the next page begins."""

    continue_: str = msgspec.field(default="", name="continue")


class Page(_Object, Generic[T]):
    """One page of a list."""

    items: list[T]
    metadata: ListMetadata = msgspec.field(default_factory=ListMetadata)
