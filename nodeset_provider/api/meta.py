"""The parts of Kubernetes' metadata that we read, as msgspec projections.

A projection decodes only the fields named here; everything else in the object (managedFields above all) is skipped
by the decoder and never held in memory. Never send a projection back with PUT: what was skipped would be lost.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ConditionStatus = Literal["True", "False", "Unknown"]


class APIStruct(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True, gc=False):
    """Base of all kinds: camelCase on the wire, defaults left out, immutable so that caches can hand them out."""


class OwnerReference(APIStruct, frozen=True):
    """meta/v1 OwnerReference."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(APIStruct, frozen=True):
    """meta/v1 ObjectMeta, without managedFields. Times are RFC 3339 strings as the API server wrote them."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[OwnerReference] = []

    @property
    def deleting(self) -> bool:
        """True from the moment somebody asked for the deletion."""
        return self.deletion_timestamp is not None


class Condition(APIStruct, frozen=True):
    """meta/v1 Condition (``reason`` CamelCase, ``message`` for people, times RFC 3339 with seconds)."""

    type: str
    """Which statement this is, in CamelCase."""
    status: ConditionStatus
    """Whether the statement holds: True, False or Unknown."""
    reason: str = ""
    """Why, as one CamelCase word for programs. The name of a driver's error (InsufficientCapacity, QuotaExceeded,
    InvalidSpec, Unauthorized, Throttled, Transient) where a driver said so."""
    message: str = ""
    """Why, for people: names the field or thing that is in the way, and the remedy."""
    last_transition_time: str | None = None
    """When status last changed from one value to another (RFC 3339)."""
    observed_generation: int = 0
    """The metadata.generation that this statement was made about; older than the object's own: it is out of date."""


class Taint(APIStruct, frozen=True):
    """core/v1 Taint."""

    key: str
    """Key of the taint, written as a label key: name or prefix.example.com/name."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    """What happens to pods that do not tolerate it: NoSchedule and PreferNoSchedule keep new ones away (strictly, or
    where possible); NoExecute evicts running ones too."""
    value: str = ""
    """Value of the taint, written as a label value; may be left out."""


class SecretReference(APIStruct, frozen=True):
    """core/v1 SecretReference: which Secret, never what is in it."""

    name: str
    """Name of the Secret."""
    namespace: str
    """Namespace of the Secret: the provider's own. It must be allowed to get this one Secret there, by a Role with
    resourceNames; deploy/examples shows how."""


def find_condition(conditions: list[Condition], kind: str) -> Condition | None:
    """The condition of that type, or None where it was never set."""
    for condition in conditions:  # not a generator: this is asked many times for each of thousands of Machines
        if condition.type == kind:
            return condition
    return None


def is_true(conditions: list[Condition], kind: str) -> bool:
    """Whether the condition of that type is there with status True."""
    condition = find_condition(conditions, kind)
    return condition is not None and condition.status == "True"
