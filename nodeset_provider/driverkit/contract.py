"""The driver contract: methods that make, find, question and take away machines somewhere.

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
9. ``diagnose`` changes nothing and raises nothing but errors of the set; what it answers is at most
   :data:`DIAGNOSIS_LIMIT` characters, the last ones, and empty where the cloud cannot tell.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

DIAGNOSIS_LIMIT: Final = 2048
"""Characters: they end up in a condition, which a person reads."""

UserDataFormat = Literal["CloudInit", "Ignition"]
"""Which first-boot program reads the user-data: the values of ``spec.join.format`` of a NodeClass."""

Registration = Literal["Adopt", "Handover"]
"""What becomes of a Node that a person made ahead of its machine: the values of ``spec.registration``."""


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
    config: Mapping[str, Any] = {}
    """What ``create`` was given, as long as the machine is known: it says *where* to look (region, host, pool), and is
    never a reason to answer something else."""


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
    registration: Registration = "Adopt"
    """Whether a machine may boot as a Node that exists already (Adopt), or needs the name to be free (Handover): where
    the cloud chooses it, or a cloud-controller-manager initialises new Nodes. A NodeClass may overrule it."""


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
    user_data_format: UserDataFormat = "CloudInit"
    """One of the driver's ``user_data_formats``."""


class Driver(Protocol):
    """One cloud account (or host pool) with its credentials. See the rules of this module."""

    consistency_delay: float
    """Seconds after a create within which the cloud may not show the machine yet."""
    user_data_limit: int
    """Bytes of user-data that the cloud takes, as they leave us."""
    user_data_formats: tuple[UserDataFormat, ...]
    """What its machines can read."""
    user_data_gzip: bool
    """Whether the user-data may be compressed with gzip: it is, where it would be over the limit otherwise."""

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

    def list(self, cluster: str, configs: Sequence[Mapping[str, Any]] = ()) -> AsyncIterator[Instance]:
        """Every machine of that cluster (rule 5), each once.

        ``configs`` are all configs in use: a driver whose credentials do not say where its machines are looks wherever
        these point.
        """
        ...

    async def diagnose(self, key: InstanceKey) -> str:
        """What the machine itself last said: the end of its console, of the log of what was run on it (rule 9)."""
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
