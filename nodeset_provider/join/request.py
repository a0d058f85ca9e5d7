"""What is asked for: everything that the user-data of one machine depends on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.join.bootstrap_token import BootstrapToken
from nodeset_provider.join.errors import InvalidJoin

_NODE_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """How machines reach the cluster; the same for all of them."""

    endpoint: str
    """https URL of the API server as machines reach it; a class may name another one."""
    ca_bundle: bytes
    """PEM certificates that vouch for it."""
    dns: tuple[str, ...] = ()
    """Addresses of the cluster's DNS, empty: kubelet gives pods the machine's own resolver."""
    domain: str = "cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """One attempt of one machine. Equal requests render to equal bytes."""

    cluster: ClusterAccess
    template: MachineTemplate
    node_name: str
    token: BootstrapToken
    provider_id: str = ""
    """Empty where it is not known before the machine exists: then a controller sets it."""

    @property
    def endpoint(self) -> str:
        """The URL that this machine uses. Raises InvalidJoin where it is none."""
        endpoint, field = self.cluster.endpoint, "the provider's join.endpoint"
        if self.template.join.endpoint:
            endpoint, field = self.template.join.endpoint, "spec.join.endpoint"
        try:
            parts = urlsplit(endpoint)
            usable = parts.scheme == "https" and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if (
            not usable
            or parts.username
            or parts.password
            or parts.query
            or parts.fragment
            or not endpoint.isprintable()
        ):
            # Not shown: where somebody wrote a login into it, a condition is no place for that.
            raise InvalidJoin(field, "is no URL of an API server; write https://host[:port]")
        return endpoint

    def check(self) -> None:
        """Raises InvalidJoin where the node name is none."""
        if not _NODE_NAME.fullmatch(self.node_name):
            raise InvalidJoin("nodeName", f"{self.node_name!r} is no DNS label of at most 63 characters")
