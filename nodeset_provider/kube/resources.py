"""Where each kind lives in the API and which type its objects decode to.

Paths only; nothing here talks to a server.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar
from urllib.parse import quote

from nodeset_provider.api import names
from nodeset_provider.api.csr import CertificateSigningRequest
from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.kube.objects import Event, Lease, Namespace, Secret


class KubernetesObject(Protocol):
    """What every projection has."""

    @property
    def metadata(self) -> ObjectMeta:
        """The object's name, version, labels and so on."""


T = TypeVar("T", bound=KubernetesObject)


@dataclass(frozen=True, slots=True)
class Resource(Generic[T]):
    """One kind in one place: cluster-wide, or within one namespace."""

    group: str
    version: str
    plural: str
    kind: str
    type: type[T]
    namespace: str = ""

    def within(self, namespace: str) -> Resource[T]:
        """The same kind inside one namespace."""
        return dataclasses.replace(self, namespace=namespace)

    @property
    def api_version(self) -> str:
        """``v1`` or ``group/version``, as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "", subresource: str = "") -> str:
        """Path of the collection, of one object or of its subresource, below the server's URL; names are quoted."""
        parts = [f"/apis/{self.group}" if self.group else "/api", self.version]
        if self.namespace:
            parts += ["namespaces", quote(self.namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def key(self, metadata: ObjectMeta) -> str:
        """The object's name, with its namespace in front where several namespaces are looked at together."""
        return metadata.name if self.namespace or not metadata.namespace else f"{metadata.namespace}/{metadata.name}"

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NODE_CLASSES: Final = Resource(names.GROUP, names.VERSION, "nodeclasses", "NodeClass", NodeClass)
NODE_SETS: Final = Resource(names.GROUP, names.VERSION, "nodesets", "NodeSet", NodeSet)
MACHINES: Final = Resource(names.GROUP, names.VERSION, "machines", "Machine", Machine)
NODES: Final = Resource("", "v1", "nodes", "Node", Node)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", Namespace)
SECRETS: Final = Resource("", "v1", "secrets", "Secret", Secret)
EVENTS: Final = Resource("", "v1", "events", "Event", Event)
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease", Lease)
CERTIFICATE_SIGNING_REQUESTS: Final = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", CertificateSigningRequest
)
