"""The hosts of a pool as tokens see them: in an order of the token's own, with witnesses, and in provider ids. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nodeset_driver_ssh.config import Config, HostEntry
from nodeset_provider.driverkit.errors import InvalidSpec

PROVIDER_ID_PREFIX: Final = "ssh://"
_WITNESSES: Final = 5
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_HOST_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_MACHINE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Host:
    """One host, and how to deal with it."""

    entry: HostEntry
    config: Config

    @property
    def id(self) -> str:
        """As :attr:`HostEntry.id`."""
        return self.entry.id

    @property
    def field(self) -> str:
        """Its path in the config."""
        return f"hosts[{self.config.hosts.index(self.entry)}]"

    @property
    def becomes_root(self) -> bool:
        """Whether sudo is needed."""
        return self.config.sudo and self.entry.user != "root"


def hosts_of(config: Config) -> tuple[Host, ...]:
    """In the order of the config."""
    return tuple(Host(entry, config) for entry in config.hosts)


def in_order_of(token: str, hosts: Iterable[Host]) -> list[Host]:
    """Rendezvous hashing: each token begins elsewhere, so that machines made at once rarely meet."""
    return sorted(hosts, key=lambda host: hashlib.sha256(f"{token}\n{host.id}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Quorum:
    """The witnesses of a token: any ``write`` of them and any ``read`` of them have one in common."""

    witnesses: tuple[Host, ...]

    @property
    def write(self) -> int:
        """More than half."""
        return len(self.witnesses) // 2 + 1

    @property
    def read(self) -> int:
        """Enough to meet every ``write``."""
        return len(self.witnesses) - self.write + 1


def quorum_of(token: str, hosts: Iterable[Host]) -> Quorum:
    """The first hosts in the token's order, at most five: the same for everybody who knows the config."""
    return Quorum(tuple(in_order_of(token, hosts)[:_WITNESSES]))


def provider_id(host_id: str, token: str) -> str:
    """``ssh://<host>/<token>``."""
    return f"{PROVIDER_ID_PREFIX}{host_id}/{token}"


def is_host_id(text: str) -> bool:
    """Whether it has the form of a name, or of an address with or without a port."""
    return _HOST_ID.fullmatch(text) is not None


def parse_provider_id(text: str) -> tuple[str, str]:
    """``(host id, token)``. Raises InvalidSpec for another cloud's."""
    host, _, token = text.removeprefix(PROVIDER_ID_PREFIX).rpartition("/")
    if not text.startswith(PROVIDER_ID_PREFIX) or not is_host_id(host) or not _TOKEN.fullmatch(token):
        raise InvalidSpec(f"{text!r} is not a provider id of the driver ssh", field="providerID")
    return host, token


def is_word(text: str) -> bool:
    """Whether it has the form of a token or a cluster."""
    return _TOKEN.fullmatch(text) is not None


def is_machine_name(text: str) -> bool:
    """Whether it has the form of a Machine's name."""
    return _MACHINE.fullmatch(text) is not None


def check_words(*, token: str, cluster: str, machine: str = "m") -> None:
    """What goes onto the host's command line and into its file names. Raises InvalidSpec."""
    if not is_word(token) or not is_word(cluster) or not is_machine_name(machine):
        raise InvalidSpec(f"token {token!r}, cluster {cluster!r} or machine {machine!r} is not a plain word")
