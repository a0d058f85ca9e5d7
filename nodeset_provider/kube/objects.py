"""Projections of the Kubernetes kinds that this package itself reads or writes: Secret, Lease, Event, Namespace.

Kinds that decisions are made about are in :mod:`nodeset_provider.api`. Types only.
"""

from __future__ import annotations

from nodeset_provider.api.meta import APIStruct, ObjectMeta


class Secret(APIStruct, frozen=True):
    """core/v1 Secret. ``data`` is base64 on the wire and bytes here; it is never part of the object's ``repr``."""

    metadata: ObjectMeta
    type: str = "Opaque"
    data: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, type={self.type}, keys={sorted(self.data)})"


class Namespace(APIStruct, frozen=True):
    """core/v1 Namespace: its UID is all that is needed (kube-system's is the cluster's identity)."""

    metadata: ObjectMeta


class LeaseSpec(APIStruct, frozen=True):
    """coordination.k8s.io/v1 LeaseSpec. Times are RFC 3339 with microseconds (metav1.MicroTime)."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int = 0


class Lease(APIStruct, frozen=True):
    """coordination.k8s.io/v1 Lease."""

    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()


class ObjectReference(APIStruct, frozen=True):
    """core/v1 ObjectReference: what an Event is about."""

    kind: str
    api_version: str
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class EventSource(APIStruct, frozen=True):
    """core/v1 EventSource."""

    component: str = ""


class Event(APIStruct, frozen=True):
    """core/v1 Event. ``type`` is Normal or Warning; times are RFC 3339 with seconds."""

    metadata: ObjectMeta
    involved_object: ObjectReference
    reason: str = ""
    message: str = ""
    type: str = "Normal"
    source: EventSource = EventSource()
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    count: int = 0
    reporting_component: str = ""
    reporting_instance: str = ""
