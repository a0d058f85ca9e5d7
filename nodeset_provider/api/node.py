"""core/v1 Node, as much of it as we read."""

from __future__ import annotations

import msgspec

from nodeset_provider.api.machine import Address
from nodeset_provider.api.meta import APIStruct, Condition, ObjectMeta, Taint, is_true


class NodeSpec(APIStruct, frozen=True):
    provider_id: str = msgspec.field(default="", name="providerID")
    taints: list[Taint] = []
    unschedulable: bool = False


class NodeStatus(APIStruct, frozen=True):
    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    conditions: list[Condition] = []
    addresses: list[Address] = []


class Node(APIStruct, frozen=True):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ready(self) -> bool:
        """Whether the kubelet says Ready=True."""
        return is_true(self.status.conditions, "Ready")
