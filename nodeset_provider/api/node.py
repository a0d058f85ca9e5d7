"""core/v1 Node, as much of it as we read."""

from __future__ import annotations

import msgspec

from nodeset_provider.api.machine import Address
from nodeset_provider.api.meta import APIStruct, Condition, ObjectMeta, Taint, is_true


class NodeTaint(Taint, frozen=True):
    """core/v1 Taint as a Node carries it."""

    time_added: str | None = None
    """When it was added (RFC 3339): of a NoExecute taint, when a pod's tolerationSeconds began."""


class NodeSpec(APIStruct, frozen=True):
    provider_id: str = msgspec.field(default="", name="providerID")
    taints: list[NodeTaint] = []
    unschedulable: bool = False


class NodeInfo(APIStruct, frozen=True):
    """core/v1 NodeSystemInfo."""

    kubelet_version: str = ""
    """Empty until a kubelet has posted a status."""


class NodeStatus(APIStruct, frozen=True):
    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    conditions: list[Condition] = []
    addresses: list[Address] = []
    node_info: NodeInfo = NodeInfo()


class Node(APIStruct, frozen=True):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ready(self) -> bool:
        """Whether the kubelet says Ready=True."""
        return is_true(self.status.conditions, "Ready")

    @property
    def has_kubelet(self) -> bool:
        """Whether a kubelet ever posted a status: it is no mere object then, a machine runs as it."""
        return bool(self.status.node_info.kubelet_version)
