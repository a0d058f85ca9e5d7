"""The simulated cloud's HTTP interface as types: what the cloud answers and what its clients send, as JSON.

=======  ============================================  ==========================================================
GET      /v1/types, /v1/types/{name}                   ``TypeList``, ``InstanceType``
POST     /v1/instances                                 ``CreateInstance`` → ``Instance``; idempotent by ``token``
GET      /v1/instances?cluster=&token=&after=&limit=   ``InstanceList``: everything but gone, a page at a time
GET      /v1/instances/{id}?cluster=                   ``Instance``; 404 once gone, and while not yet visible
DELETE   /v1/instances/{id}?cluster=                   ``Instance``: Deleting or Gone; 404 as GET
GET      /v1/instances/{id}/console                    what the machine said while it booted, as text
GET      /v1/disks?cluster=&token=                     ``DiskList``: disks that still exist
DELETE   /v1/disks/{id}                                204
GET      /v1/ledger                                    ``Ledger``: everything ever made, and what is alive
=======  ============================================  ==========================================================

Calls carry ``Authorization: Bearer <api token>``; GET /healthz needs none. An error is ``ErrorAnswer`` with one of
``STATUS_BY_CODE``. The administrator's calls stand in :mod:`nodeset_driver_simulated.admin`.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

MAX_VISIBILITY_DELAY: Final = 2.0
"""Seconds: what this cloud publishes as the longest time until a new machine is seen by get, list and delete."""
MAX_USER_DATA: Final = 16384
"""Bytes of user-data before base64, as EC2 has it."""
PROVIDER_ID_PREFIX: Final = "simulated://"
DEFAULT_PAGE: Final = 500

STATUS_BY_CODE: Final = {
    "InvalidParameter": 400,
    "Unauthorized": 401,
    "QuotaExceeded": 403,
    "InstanceNotFound": 404,
    "TypeNotFound": 404,
    "DiskNotFound": 404,
    "IdempotentParameterMismatch": 409,
    "InsufficientCapacity": 409,
    "TooManyRequests": 429,
    "InternalError": 500,
    "ServiceUnavailable": 503,
}

State = Literal["Creating", "Running", "Failed", "Deleting", "Gone"]


class WireStruct(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    """Base of everything that is sent: camelCase, defaults left out."""


class InstanceType(WireStruct, frozen=True):
    """What can be made. ``capacity`` is a core/v1 ResourceList without pods."""

    name: str
    capacity: dict[str, str]
    zones: list[str]
    region: str = "sim-1"
    architecture: str = "amd64"
    operating_system: str = "linux"
    price_per_hour: str = ""
    gpu_type: str = ""
    limit_per_zone: int | None = None
    """How many of it a zone holds; None: as many as asked for."""


class TypeList(WireStruct, frozen=True):
    """All instance types."""

    types: list[InstanceType]


class CreateInstance(WireStruct, frozen=True, forbid_unknown_fields=True):
    """One machine. ``zone`` empty: the cloud picks one that has room. ``user_data`` is base64 on the wire."""

    token: str
    cluster: str
    machine: str
    type: str
    zone: str = ""
    assigned_id: bool = msgspec.field(default=False, name="assignedID")
    user_data: bytes = b""


class Instance(WireStruct, frozen=True):
    """A machine as the cloud shows it. ``address`` is its private IPv4 address."""

    id: str
    token: str
    cluster: str
    machine: str
    type: str
    zone: str
    state: State
    created_at: float
    address: str
    message: str = ""
    disks: list[str] = []


class InstanceList(WireStruct, frozen=True):
    """One page; ``next`` goes into ``after`` of the following call, empty on the last page."""

    instances: list[Instance]
    next: str = ""


class Disk(WireStruct, frozen=True):
    """A disk that was made for a machine; it normally goes with it."""

    id: str
    token: str
    cluster: str
    instance: str


class DiskList(WireStruct, frozen=True):
    """Disks that exist."""

    disks: list[Disk]


class ErrorBody(WireStruct, frozen=True):
    """``field`` is the key of the request that is wrong, ``known`` what would have been right."""

    code: str
    message: str
    field: str = ""
    known: list[str] = []


class ErrorAnswer(WireStruct, frozen=True):
    """Body of every answer that is not 2xx."""

    error: ErrorBody


class TokenEntry(WireStruct, frozen=True):
    """What a client token was used for: never more than one machine."""

    machine: str
    cluster: str
    made: int
    alive: int
    disks: int


class MachineEntry(WireStruct, frozen=True):
    """What was made under one Machine name, over all its tokens. ``most_alive``: at any one moment until now."""

    made: int
    alive: int
    most_alive: int


class Ledger(WireStruct, frozen=True):
    """Everything that this cloud has ever made and what it bills now. Keys of ``machines`` are ``cluster/machine``."""

    made: int
    alive: int
    disks: int
    tokens: dict[str, TokenEntry]
    machines: dict[str, MachineEntry]
