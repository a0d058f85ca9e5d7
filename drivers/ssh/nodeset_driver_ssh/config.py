"""NodeClass.spec.config of driver ``ssh``: the pool of hosts, and how to deal with them. Pure.

Every key is checked, and a wrong one is named with its path and the remedy.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from nodeset_driver_ssh.quantity import amount
from nodeset_provider.driverkit.config import convert
from nodeset_provider.driverkit.errors import InvalidSpec

MAX_HOSTS: Final = 1000
RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
"""What is looked up on the host where it is not declared."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_PORT_MAX: Final = 65535
_SSH: Final = 22


class HostEntry(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One host of the pool."""

    address: str
    """IP address or DNS name."""
    port: int = _SSH
    user: str = "root"
    name: str = ""
    """Part of the provider id, instead of the address: the address may then change."""
    fingerprint: str = ""
    """``SHA256:…`` of its host key; not needed where the Secret's known_hosts vouch for it."""
    labels: dict[str, str] = {}
    capacity: dict[str, str] = {}
    """core/v1 ResourceList; cpu, memory and ephemeral-storage are looked up on the host where they are not here."""

    @property
    def id(self) -> str:
        """How messages, notes and provider ids call it."""
        if self.name:
            return self.name
        address = f"[{self.address}]" if ":" in self.address else self.address
        return address if self.port == _SSH else f"{address}:{self.port}"


class Timeouts(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Seconds."""

    connect: float = 10.0
    """Until the login is done."""
    call: float = 15.0
    """For one question to a host; they are short."""
    upload: float = 60.0
    """For one that brings files: the claim, the reset."""
    step: float = 900.0
    """For one command on the host: of the join configuration, or of resetCommands."""


class Config(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """NodeClass.spec.config of driver ``ssh``."""

    hosts: tuple[HostEntry, ...]
    trust_on_first_use: bool = False
    """Believe the first host key that a host shows to this process, where nothing vouches for it."""
    sudo: bool = True
    """Become root with ``sudo -n``, unless the user is root already."""
    reset_commands: tuple[str, ...] = ()
    """For a shell each, in every reset, after the kubelet is stopped."""
    timeout_seconds: Timeouts = Timeouts()


_STRUCTS: Final[Mapping[str, type[msgspec.Struct]]] = {"hosts": HostEntry, "timeoutSeconds": Timeouts}


def parse_config(config: Mapping[str, Any]) -> Config:
    """Strictly read. Raises InvalidSpec that names the key and what it may be."""
    _check_keys(config)
    parsed = convert(config, Config, first="hosts")
    if not parsed.hosts or len(parsed.hosts) > MAX_HOSTS:
        raise InvalidSpec(f"hosts: name 1 to {MAX_HOSTS} hosts", field="hosts")
    for index, host in enumerate(parsed.hosts):
        _check_host(f"hosts[{index}]", host)
    _check_distinct(parsed.hosts)
    for index, command in enumerate(parsed.reset_commands):
        if not command.strip() or "\0" in command:
            raise _wrong(f"resetCommands[{index}]", "is empty or holds a NUL character; write a shell command")
    for name, seconds in msgspec.to_builtins(parsed.timeout_seconds).items():
        if seconds < 1:
            raise _wrong(f"timeoutSeconds.{name}", f"is {seconds:g}; write at least 1 second")
    return parsed


def _check_keys(config: Mapping[str, Any]) -> None:
    """Unknown keys by their path and what was perhaps meant, which msgspec does not say."""
    _check_names("", config, Config)
    for key, struct in _STRUCTS.items():
        value = config.get(key)
        for index, item in enumerate(value) if isinstance(value, list | tuple) else [(None, value)]:
            if isinstance(item, Mapping):
                _check_names(f"{key}." if index is None else f"{key}[{index}].", item, struct)


def _check_names(path: str, value: Mapping[str, Any], struct: type[msgspec.Struct]) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(struct)]
    for key in value:
        if key in known:
            continue
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        if key in ("ssh-privatekey", "privateKey", "password", "passphrase", "known_hosts", "knownHosts"):
            hint = "keys belong into the Secret that credentialsRef names: ssh-privatekey, passphrase, known_hosts"
        raise InvalidSpec(f"unknown key {path}{key}; {hint}", field=f"{path}{key}")


def _check_host(field: str, host: HostEntry) -> None:
    if not _is_address(host.address):
        raise _wrong(f"{field}.address", f"{host.address!r} is neither an IP address nor a DNS name")
    if not 0 < host.port <= _PORT_MAX:
        raise _wrong(f"{field}.port", f"{host.port} is no port; write 1 to {_PORT_MAX}")
    if not _USER.fullmatch(host.user):
        raise _wrong(f"{field}.user", f"{host.user!r} is no login name")
    if host.name and not _NAME.fullmatch(host.name):
        raise _wrong(f"{field}.name", f"{host.name!r} may have a-z, 0-9, '-' and '.' only, at most 63 of them")
    if host.fingerprint and not _FINGERPRINT.fullmatch(host.fingerprint):
        raise _wrong(
            f"{field}.fingerprint",
            f"{host.fingerprint!r} is no fingerprint; write SHA256:… as `ssh-keygen -lf` prints it for the host's "
            "/etc/ssh/ssh_host_ed25519_key.pub",
        )
    for resource, quantity in host.capacity.items():
        try:
            amount(quantity)
        except ValueError:
            raise _wrong(
                f"{field}.capacity.{resource}", f"{quantity!r} is no quantity above 0; write for example 16 or 64Gi"
            ) from None


def _check_distinct(hosts: tuple[HostEntry, ...]) -> None:
    ids: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for index, host in enumerate(hosts):
        if (first := ids.setdefault(host.id, index)) != index:
            raise _wrong(f"hosts[{index}]", f"is called {host.id} as hosts[{first}] is; give it a name of its own")
        if (first := places.setdefault((host.address, host.port), index)) != index:
            raise _wrong(f"hosts[{index}].address", f"{host.address} port {host.port} is hosts[{first}] already")


def _is_address(text: str) -> bool:
    try:
        return "%" not in str(ipaddress.ip_address(text))  # an interface of ours is no part of a host's address
    except ValueError:
        return len(text) <= 253 and all(  # noqa: PLR2004 - RFC 1035
            re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", label) for label in text.split(".")
        )


def _wrong(field: str, message: str) -> InvalidSpec:
    return InvalidSpec(f"{field}: {message}", field=field)
