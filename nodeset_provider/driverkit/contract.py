"""The driver contract: five methods that make, find and take away machines somewhere, and one that closes connections.

A driver knows one cloud and nothing of Kubernetes or gRPC. It keeps no state of its own: whatever it must remember
is in the cloud, on the machine (tags, metadata), and is found again after any crash.

Rules (each has a conformance test):

1. ``create`` is idempotent by ``token``: however often and from however many processes it is called with one token, at
   most one machine exists for it, and every call that succeeds answers that machine.
2. The machine carries ``cluster``, ``machine`` and ``token`` from the moment it exists, so that ``get`` by token and
   ``list`` find it even if the answer of ``create`` was lost.
3. ``get`` raises ``NotFound`` only when the cloud said so; unreachable or unsure is ``Transient``. Within
   ``consistency_delay`` seconds of a create ``NotFound`` proves nothing, and the controllers do not believe it.
4. ``delete`` is idempotent; ``GONE`` means that neither the machine nor anything made for it (disks, ports, addresses)
   exists or is billed any more; ``IN_PROGRESS`` means: ask again.
5. ``list`` yields everything that carries ``cluster``, in any state but gone, and nothing of any other cluster.
6. Only errors of :mod:`nodeset_provider.driverkit.errors` leave a driver. An error with ``attempt_failed`` vouches
   that no machine was made and none will be for this token.
7. Nothing blocks the event loop; cancelling a call leaves the driver usable, and the call's effect unknown.
8. No secret is in an error message, a tag, or a log line.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import msgspec


class InstanceState(enum.Enum):
    """Where in its life the cloud says that a machine is."""

    CREATING = "Creating"
    RUNNING = "Running"
    DELETING = "Deleting"
    FAILED = "Failed"
    """It exists but will never run; delete it."""


class Deletion(enum.Enum):
    """Answer of ``delete``."""

    GONE = "Gone"
    IN_PROGRESS = "InProgress"


class Address(msgspec.Struct, frozen=True):
    """One address of a machine; ``type`` is one of core/v1 NodeAddressType (InternalIP, ExternalIP, Hostname, …)."""

    type: str
    address: str


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as the cloud sees it."""

    provider_id: str
    token: str
    cluster: str
    machine: str
    """Name of the Machine object."""
    state: InstanceState
    addresses: tuple[Address, ...] = ()
    created_at: float = 0.0
    """Seconds since the epoch by the cloud's clock, 0 where it does not say."""
    message: str = ""
    """Why, where state is FAILED."""


class InstanceKey(msgspec.Struct, frozen=True, kw_only=True):
    """How a machine is named to ``get`` and ``delete``: by ``provider_id`` once it is known, else by ``token``."""

    cluster: str
    token: str
    provider_id: str = ""


class Offering(msgspec.Struct, frozen=True, kw_only=True):
    """What ``create`` with this config would make."""

    capacity: Mapping[str, str]
    """core/v1 ResourceList: ``cpu``, ``memory``, ``ephemeral-storage`` and extended resources; no pods."""
    labels: Mapping[str, str] = {}
    """Labels that follow from the machine: architecture, operating system, instance type, zone, region."""
    price_per_hour: str = ""
    """Decimal string, empty where not known."""
    gpu_type: str = ""
    """Value of the autoscaler's GPU label, empty without GPUs."""
    provider_id_format: str = ""
    """The provider id that ``create`` will give, with ``{token}`` in it, where the token decides it; else empty.

    It lets the kubelet register with its provider id from the first moment."""


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One machine, please. Repeated with the same token it is byte for byte the same."""

    cluster: str
    """UID of the kube-system namespace: which cluster owns the machine."""
    machine: str
    """Name of the Machine object, at most 63 characters, a DNS label."""
    token: str
    """A UUID."""
    config: Mapping[str, Any]
    user_data: bytes


class Driver(Protocol):
    """One cloud account (or host pool) with its credentials. See the rules of this module."""

    consistency_delay: float
    """Seconds after a create within which the cloud may not show the machine yet."""
    user_data_limit: int
    """Bytes of user-data that the cloud takes."""

    async def resolve(self, config: Mapping[str, Any]) -> Offering:
        """What would be made. Raises InvalidSpec with the field for a config that cannot work; makes nothing."""
        ...

    async def create(self, request: CreateRequest) -> Instance:
        """Make the machine of ``request.token``, or answer the one that exists (rules 1, 2)."""
        ...

    async def get(self, key: InstanceKey) -> Instance:
        """The machine; raises NotFound where the cloud has none (rule 3)."""
        ...

    async def delete(self, key: InstanceKey) -> Deletion:
        """Take the machine away with all that belongs to it (rule 4)."""
        ...

    def list(self, cluster: str) -> AsyncIterator[Instance]:
        """Every machine of that cluster (rule 5)."""
        ...

    async def close(self) -> None:
        """Let go of connections. The machines stay."""
        ...


class DriverFactory(Protocol):
    """What the entry point names: makes a driver from the Secret that ``credentialsRef`` names (key → bytes).

    Called once per distinct Secret content; raises Unauthorized or InvalidSpec when the credentials cannot work.
    ``required_credentials`` lists the keys that the Secret must have (empty: no Secret needed).
    """

    required_credentials: tuple[str, ...]

    def __call__(self, credentials: Mapping[str, bytes]) -> Driver:
        """A driver for these credentials. Does no I/O."""
        ...
