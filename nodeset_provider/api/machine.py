"""Machine: the record of *one* machine, from before it is launched until the cloud says that it is gone."""

from __future__ import annotations

import uuid
from ipaddress import ip_address
from typing import Any, Literal

import msgspec

from nodeset_provider.api.meta import APIStruct, Condition, ObjectMeta, SecretReference, Taint
from nodeset_provider.api.nodeclass import Join, Provisioning


class MachineTemplate(APIStruct, frozen=True, gc=True, weakref=True):
    """Everything that is needed to make, recognise and delete the machine, merged and frozen when the Machine is made.

    It holds a reference to the credentials, never the credentials: an edited or deleted NodeClass changes no machine
    and orphans none.
    """

    driver: str
    """Name of the driver that made, or will make, the machine and takes it away."""
    node_class_name: str
    """Name of the NodeClass that it was made from; for people: the class itself is not read again."""
    config: dict[str, Any] = {}
    """The driver's settings: the class's config with the set's merged over it."""
    credentials_ref: SecretReference | None = None
    """The Secret with the credentials for the driver's cloud; must exist until the machine is gone."""
    join: Join = Join()
    """How the machine joins the cluster."""
    provisioning: Provisioning = Provisioning()
    """Users, files and commands that the machine gets besides the join configuration."""
    labels: dict[str, str] = {}
    """Labels of the Node."""
    annotations: dict[str, str] = {}
    """Annotations of the Node."""
    taints: list[Taint] = []
    """Taints that the Node keeps."""
    startup_taints: list[Taint] = []
    """Taints that the Node starts with and that something else takes away."""
    capacity: dict[str, str] = {}
    """What the driver said that the machine will have. Extended resources in it must show on the Node before the
    machine counts as initialized."""
    provider_id_format: str = ""
    """The provider id that the machine will get, with {token} in the place of the client token; absent where only the
    cloud decides."""
    launch_timeout_seconds: int = 900
    """Seconds from the launch until the Node must have registered."""
    registration: Literal["", "Adopt", "Handover"] = ""
    """What becomes of the Node that was made ahead of this machine: the kubelet registers as it (Adopt), or it is
    deleted right before the machine is made (Handover). Absent where a NodeSet made the Machine."""

    def provider_id_of(self, token: str) -> str:
        """The provider id of the machine with that client token; empty where only the cloud decides."""
        return self.provider_id_format.replace("{token}", token)


class MachineSpec(APIStruct, frozen=True):
    node_name: str
    """Name of the Node that the machine registers as."""
    template: MachineTemplate
    """What the machine is made from, frozen: later changes of class or set do not touch it."""


class NodeReference(APIStruct, frozen=True):
    name: str
    """Name of the Node."""
    uid: str
    """UID of the Node: tells it from another one of the same name."""


def canonical_ip(text: str) -> str:
    """The IP address in the one form that ``ipaddress`` gives it; empty where it is none."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


class Address(APIStruct, frozen=True):
    """core/v1 NodeAddress."""

    type: str
    """Kind of address: InternalIP, ExternalIP, InternalDNS, ExternalDNS or Hostname."""
    address: str
    """The address."""

    @property
    def ip(self) -> str:
        """The address where it is an IP address, as everybody writes it who reads it; empty where it is a name."""
        return canonical_ip(self.address)


class Failure(APIStruct, frozen=True):
    """The last thing that went wrong. ``code`` is a driver error's name (InsufficientCapacity, …) or our own reason."""

    code: str
    """The driver's error (InsufficientCapacity, QuotaExceeded, InvalidSpec, Unauthorized, Throttled, Transient) or the
    provider's own reason, such as RegistrationTimeout."""
    message: str
    """What went wrong, for people."""
    time: str
    """When (RFC 3339)."""


class MachineStatus(APIStruct, frozen=True):
    attempt: int = 1
    """Which try to launch the machine this is. A try that failed for good is closed by writing the next number; it
    never falls."""
    client_token: str = ""
    """The token that this attempt's machine carries in the cloud: a UUID worked out from the Machine's uid and the
    attempt, so that one attempt never makes two machines."""
    provider_id: str = msgspec.field(default="", name="providerID")
    """The cloud's id of the machine, the same as its Node's spec.providerID. Set once an attempt."""
    node_ref: NodeReference | None = None
    """The Node that the machine registered as; absent until then."""
    addresses: list[Address] = []
    """Addresses of the machine, as the cloud says."""
    conditions: list[Condition] = []
    """How far the machine has come: Launched (the cloud made it), Registered (its Node is there and complete),
    Initialized (Ready, startup taints gone, extended resources there), Deleted (set while it is being taken away). The
    one that is False says why."""
    last_failure: Failure | None = None
    """The last thing that went wrong; it stays after the machine has recovered."""


class Machine(APIStruct, frozen=True):
    """The record of one machine, from before it is launched until the cloud says that it is gone.

    Made by the provider for a NodeSet, or for a Node that was made with kubectl. Deleting it takes the machine away;
    its NodeSet then makes another one, unless the set is scaled down too.
    """

    metadata: ObjectMeta
    spec: MachineSpec
    """What the machine is; never changes."""
    status: MachineStatus = MachineStatus()
    """How far it has come."""

    @property
    def node_name(self) -> str:
        """Name of its Node: as it registered, and before that as it is meant to. A cloud may choose another one."""
        return self.status.node_ref.name if self.status.node_ref is not None else self.spec.node_name


def client_token(uid: str, attempt: int) -> str:
    """The token of one attempt: a UUID, the same in every process and after every crash.

    Because it is a function of two things that are in the API server before the driver is called, the first attempt
    needs no write of its own (design §5 rule 1). A UUID fits EC2's ClientToken (64 ASCII characters) and is a valid
    libvirt domain UUID.
    """
    return str(uuid.uuid5(uuid.UUID(uid), f"attempt-{attempt}"))
