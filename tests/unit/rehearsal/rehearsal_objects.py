"""Short ways to write pods, nodes and hosts."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import msgspec

from nodeset_provider.rehearsal.autoscale.fit import Host, thousandths
from nodeset_provider.rehearsal.autoscale.kinds import Node, Pod, Taint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)


def pod(
    name: str = "", *, on: str = "", pending: bool = False, owner: str = "", phase: str = "", **spec: object
) -> Pod:
    """A pod as the API server would send it; ``cpu`` and ``memory`` are requests of its one container."""
    requests = {key: spec.pop(key) for key in ("cpu", "memory") if key in spec}
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}] if pending else []
    body = {
        "metadata": {
            "name": name or f"p{next(_numbers)}",
            "namespace": "default",
            "ownerReferences": [{"kind": owner, "name": "o", "controller": True}] if owner else [],
        },
        "spec": {"nodeName": on, "containers": [{"resources": {"requests": requests}}], **spec},
        "status": {"phase": phase or ("Pending" if pending else "Running"), "conditions": conditions},
    }
    return msgspec.convert(body, Pod)


def node(name: str, *, provider_id: str = "", ready: bool = True, taints: tuple[str, ...] = (), **labels: str) -> Node:
    """A node of 2 cores, 4 GiB and 10 pods, made at NOW."""
    body = {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": NOW, "resourceVersion": "1"},
        "spec": {
            "providerID": provider_id or f"toy://{name}",
            "taints": [{"key": key, "effect": "NoSchedule"} for key in taints],
        },
        "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
    return msgspec.convert(body, Node)


def host(name: str = "h", *, taints: tuple[Taint, ...] = (), labels: dict[str, str] | None = None, **free: str) -> Host:
    """A host with that much free."""
    room = {"pods": "10", **free}
    return Host(name, labels or {}, taints, {key: thousandths(text) for key, text in room.items()})
