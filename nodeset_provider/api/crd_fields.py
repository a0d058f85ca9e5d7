"""What single fields refuse."""
from __future__ import annotations

from nodeset_provider.api.crd_schema import Constraints
from nodeset_provider.api.meta import Condition
from nodeset_provider.api.nodeset import Autoscaling, NodeSetSpec, NodeSetStatus
from nodeset_provider.api.machine import MachineStatus
from nodeset_provider.api.nodeclass import NodeClassStatus

_CONDITIONS = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
FIELDS: Constraints = {
    NodeSetSpec: {
        "replicas": {"default": 0, "minimum": 0},
        "remove_first": {"x-kubernetes-list-type": "set"},
    },
    Autoscaling: {"min_replicas": {"default": 0, "minimum": 0}, "max_replicas": {"minimum": 0}},
    NodeSetStatus: {"conditions": _CONDITIONS},
    NodeClassStatus: {"conditions": _CONDITIONS},
    MachineStatus: {"conditions": _CONDITIONS},
}
