"""Machine: the record of *one* machine, from before it is launched until the cloud says that it is gone."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from nodeset_provider.api.meta import APIStruct, Condition, ObjectMeta, SecretReference, Taint
from nodeset_provider.api.nodeclass import Join, Provisioning


class MachineTemplate(APIStruct, frozen=True):
    """Everything that is needed to make, recognise and delete the machine, merged and frozen when the Machine is made.

    It holds a reference to the credentials, never the credentials: an edited or deleted NodeClass changes no machine
    and orphans none.
    """

    driver: str
    node_class_name: str
    config: dict[str, Any] = {}
    credentials_ref: SecretReference | None = None
    join: Join = Join()
    provisioning: Provisioning = Provisioning()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    taints: list[Taint] = []
    startup_taints: list[Taint] = []
    capacity: dict[str, str] = {}
    provider_id_format: str = ""
    launch_timeout_seconds: int = 900


class MachineSpec(APIStruct, frozen=True):
    node_name: str
    template: MachineTemplate


class NodeReference(APIStruct, frozen=True):
    name: str
    uid: str


class Address(APIStruct, frozen=True):
    """core/v1 NodeAddress."""

    type: str
    address: str


class Failure(APIStruct, frozen=True):
    """The last thing that went wrong. ``code`` is a driver error's name (InsufficientCapacity, …) or our own reason."""

    code: str
    message: str
    time: str


class MachineStatus(APIStruct, frozen=True):
    attempt: int = 1
    """Which try this is. Writing the next number closes a failed one, before a new token is used."""
    client_token: str = ""
    """Written with the provider id, for people; the truth is ``client_token(uid, attempt)``."""
    provider_id: str = msgspec.field(default="", name="providerID")
    node_ref: NodeReference | None = None
    addresses: list[Address] = []
    conditions: list[Condition] = []
    last_failure: Failure | None = None


class Machine(APIStruct, frozen=True):
    metadata: ObjectMeta
    spec: MachineSpec
    status: MachineStatus = MachineStatus()


def client_token(uid: str, attempt: int) -> str:
    """The token of one attempt: a UUID, the same in every process and after every crash.

    Because it is a function of two things that are in the API server before the driver is called, the first attempt
    needs no write of its own (design §5 rule 1). A UUID fits EC2's ClientToken (64 ASCII characters) and is a valid
    libvirt domain UUID.
    """
    return str(uuid.uuid5(uuid.UUID(uid), f"attempt-{attempt}"))
