"""What an administrator of the simulated cloud can turn while it runs, as types; shared by the cloud and ``admin``.

========  ==================  ======================================================================================
POST      /admin/faults       ``Fault`` → ``FaultId``; consumed by the next ``count`` operations that it matches
GET       /admin/faults       ``FaultList``: what is still to come
DELETE    /admin/faults       forget them all
PUT       /admin/capacity     ``Capacity``
PUT       /admin/quota        ``Quota``
PUT       /admin/latency      ``Latency``
PUT       /admin/pause        ``Pause``
GET       /admin/knobs        ``Knobs``: all of it as it stands
========  ==================  ======================================================================================

All of it is part of the cloud's state and survives its restart.
"""

from __future__ import annotations

from typing import Literal

from nodeset_driver_simulated.wire import WireStruct

Operation = Literal["create", "get", "list", "delete", "types", "disks", "*"]
FaultKind = Literal["error", "throttle", "hang", "drop", "bootFails", "bootNever", "diskStays"]
When = Literal["before", "after"]


class Fault(WireStruct, frozen=True, forbid_unknown_fields=True):
    """Goes wrong for the next ``count`` matching operations.

    ``error``: answers ``code`` (a key of ``wire.STATUS_BY_CODE``); ``throttle``: 429 with ``retry_after`` seconds;
    ``hang``: no answer for ``seconds``; ``drop``: the connection is cut without one. ``when`` says whether before or
    after the operation took effect. ``bootFails`` (the instance becomes Failed), ``bootNever`` (it runs and its
    user-data is never read) belong to ``create``, ``diskStays`` (the disk survives its machine) to ``delete``.
    ``machine`` and ``type`` narrow it down by shell patterns on the Machine's name and the instance type.
    """

    kind: FaultKind
    operation: Operation = "create"
    when: When = "before"
    count: int = 1
    code: str = "InternalError"
    message: str = ""
    retry_after: float = 1.0
    seconds: float = 3600.0
    machine: str = "*"
    type: str = "*"


class FaultId(WireStruct, frozen=True):
    """Number of a fault in the book."""

    id: int


class FaultList(WireStruct, frozen=True):
    """``faults`` with what is left of their counts, by id."""

    faults: dict[str, Fault]


class Capacity(WireStruct, frozen=True, forbid_unknown_fields=True):
    """How many of ``type`` the ``zone`` holds (existing ones included); ``limit`` None: as the type says."""

    type: str
    zone: str
    limit: int | None = None


class Quota(WireStruct, frozen=True, forbid_unknown_fields=True):
    """Of the account, over everything that is not gone; None: none."""

    instances: int | None = None
    cpus: float | None = None


class Latency(WireStruct, frozen=True, forbid_unknown_fields=True):
    """Seconds, each varied by ± ``jitter`` (a share, 0 … 1), the same for the same seed and token.

    ``create`` and ``read``: until the answer, the effect comes first; ``boot``: from created to running, when the
    user-data is read; ``delete``: from asked to gone.
    """

    create: float = 0.0
    read: float = 0.0
    boot: float = 0.0
    delete: float = 0.0
    jitter: float = 0.0


class Pause(WireStruct, frozen=True, forbid_unknown_fields=True):
    """``api``: calls wait (the administrator's do not); ``boots``: running machines wait before their user-data."""

    api: bool = False
    boots: bool = False


class Knobs(WireStruct, frozen=True):
    """All of it. ``limits`` by ``type/zone`` overrule ``InstanceType.limit_per_zone``."""

    quota: Quota = Quota()
    latency: Latency = Latency()
    pause: Pause = Pause()
    limits: dict[str, int] = {}
