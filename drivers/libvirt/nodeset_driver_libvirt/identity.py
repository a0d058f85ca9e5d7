"""What ties a machine to its token: names of the domain and its volumes, MAC address, provider id, metadata. Pure.

All of it follows from the token alone, so whoever comes back after a crash finds everything that was made for it.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Final
from xml.etree import ElementTree as ET

import msgspec

from nodeset_provider.driverkit.errors import InvalidSpec

NAMESPACE: Final = "https://nodeset.dev/libvirt/1"
METADATA_KEY: Final = "nodeset"
PROVIDER_ID_PREFIX: Final = "libvirt:///"
"""Without the host: the token is unique in the world, and a host may be reached by several names."""

VOLUME_PREFIX: Final = "nodeset-"
DISK_SUFFIX: Final = ".qcow2"
_ELEMENT: Final = "machine"
_NO_UUID: Final = uuid.UUID(int=0)
"""libvirt takes none of zeros."""

ET.register_namespace(METADATA_KEY, NAMESPACE)


class Names(msgspec.Struct, frozen=True):
    """Of everything that is made for one token."""

    token: str

    @property
    def volume_prefix(self) -> str:
        """Of every volume of the machine; of no other's, since all tokens have one length."""
        return f"{VOLUME_PREFIX}{self.token}"

    @property
    def disk(self) -> str:
        """The overlay over the image."""
        return f"{self.volume_prefix}{DISK_SUFFIX}"

    @property
    def seed(self) -> str:
        """The NoCloud medium."""
        return f"{self.volume_prefix}-seed.iso"

    @property
    def ignition(self) -> str:
        """The Ignition configuration."""
        return f"{self.volume_prefix}-ignition.json"

    @property
    def console(self) -> str:
        """What the serial console said; QEMU's log daemon may put ``.0``, ``.1`` beside it."""
        return f"{self.volume_prefix}-console.log"

    @property
    def mac(self) -> str:
        """A locally administered address; with 40 bits of the token's hash no two machines of a network share one."""
        digest = hashlib.sha256(self.token.encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (0x52, *digest[:5]))

    @property
    def provider_id(self) -> str:
        """Of the Node."""
        return f"{PROVIDER_ID_PREFIX}{self.token}"


class Belonging(msgspec.Struct, frozen=True, kw_only=True):
    """The driver's own element in a domain's metadata."""

    cluster: str
    machine: str
    token: str
    pool: str
    created_at: float
    """Seconds since the epoch."""
    started: bool = False
    """It ran once: from then on it is never started again by us."""

    def to_xml(self, *, namespace: bool = True) -> ET.Element:
        """As it is written; without ``namespace`` for a call that adds it itself (virDomainSetMetadata)."""
        return ET.Element(
            f"{{{NAMESPACE}}}{_ELEMENT}" if namespace else _ELEMENT,
            {
                "cluster": self.cluster,
                "machine": self.machine,
                "token": self.token,
                "pool": self.pool,
                "created": f"{self.created_at:.3f}",
                "started": "yes" if self.started else "no",
            },
        )


def read_belonging(domain: ET.Element) -> Belonging | None:
    """Of a domain's description; None for one that is not ours."""
    element = domain.find(f"metadata/{{{NAMESPACE}}}{_ELEMENT}")
    if element is None:
        return None
    try:
        created = float(element.get("created", "0"))
    except ValueError:
        created = 0.0
    return Belonging(
        cluster=element.get("cluster", ""),
        machine=element.get("machine", ""),
        token=element.get("token", ""),
        pool=element.get("pool", ""),
        created_at=created,
        started=element.get("started") == "yes",
    )


def names_of(token: str) -> Names:
    """Raises InvalidSpec for what is no UUID in its usual spelling: names of files are made of it."""
    try:
        parsed = uuid.UUID(token)
    except ValueError:
        parsed = _NO_UUID
    if parsed == _NO_UUID or token != str(parsed):
        raise InvalidSpec("the token is no UUID", field="token")
    return Names(token)


def names_of_provider_id(provider_id: str) -> Names:
    """Raises InvalidSpec for the provider id of another driver."""
    try:
        return names_of(provider_id.removeprefix(PROVIDER_ID_PREFIX))
    except InvalidSpec:
        raise InvalidSpec(f"{provider_id!r} is no provider id of driver libvirt", field="providerID") from None
