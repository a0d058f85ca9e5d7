"""What libvirt's errors mean in the driver's closed set. Pure: an error is its code, its domain and its words.

Codes: include/libvirt/virterror.h. What is not known here says nothing about the effect, so it is Transient.
"""

from __future__ import annotations

import enum
from typing import Final

from nodeset_provider.driverkit.errors import DriverError, InsufficientCapacity, InvalidSpec, Transient, Unauthorized


class Code(enum.IntEnum):
    """virErrorNumber, as far as it is told apart."""

    INTERNAL_ERROR = 1
    NO_MEMORY = 2
    NO_CONNECT = 5
    INVALID_CONN = 6
    INVALID_ARG = 8
    OPERATION_FAILED = 9
    XML_ERROR = 27
    DOM_EXIST = 28
    OPERATION_DENIED = 29
    XML_DETAIL = 35
    SYSTEM_ERROR = 38
    RPC = 39
    NO_DOMAIN = 42
    NO_NETWORK = 43
    AUTH_FAILED = 45
    NO_STORAGE_POOL = 49
    NO_STORAGE_VOL = 50
    OPERATION_INVALID = 55
    CONFIG_UNSUPPORTED = 67
    AUTH_CANCELLED = 79
    NO_DOMAIN_METADATA = 80
    ACCESS_DENIED = 88
    STORAGE_VOL_EXIST = 90
    XML_INVALID_SCHEMA = 92
    AUTH_UNAVAILABLE = 94


_REFUSED: Final = {
    Code.OPERATION_DENIED,
    Code.AUTH_FAILED,
    Code.AUTH_CANCELLED,
    Code.ACCESS_DENIED,
    Code.AUTH_UNAVAILABLE,
}
_WRONG: Final = {
    Code.XML_ERROR,
    Code.XML_DETAIL,
    Code.XML_INVALID_SCHEMA,
    Code.CONFIG_UNSUPPORTED,
}
_LIMIT: Final = 500


def connect_failure(code: int, message: str, where: str) -> DriverError:
    """Why no connection was made. ``where`` names the host for people."""
    said = shorten(message)
    if "Host key verification failed" in message or "host key" in message.lower():
        return Unauthorized(
            f"{where}: its SSH host key is not among known_hosts of the credentials Secret; compare what "
            "`ssh-keyscan` prints with what the host's owner says, and put it there"
        )
    if "Permission denied (" in message or "Too many authentication failures" in message:
        return Unauthorized(
            f"{where}: SSH refuses the key ssh-privatekey of the credentials Secret; put its public key into "
            "authorized_keys of the user in uri"
        )
    if "Load key" in message or "invalid format" in message:
        return Unauthorized(
            f"{where}: ssh cannot use the key ssh-privatekey of the credentials Secret: it is damaged, or has a "
            "passphrase, which nobody can type here"
        )
    if code in _REFUSED or "Permission denied" in message:
        return Unauthorized(f"{where}: no right to use this libvirt ({said}); the user has to be in its group libvirt")
    return Transient(f"{where}: no connection to libvirt: {said}")


def call_failure(code: int, message: str, where: str) -> DriverError:
    """What a call's failure means where nothing more is known of it."""
    said = shorten(message)
    if code in _REFUSED:
        return Unauthorized(f"{where}: libvirt refuses: {said}")
    if code in _WRONG:
        return InvalidSpec(f"{where}: libvirt cannot make this machine: {said}")
    if code == Code.NO_MEMORY or "Cannot allocate memory" in message:
        return InsufficientCapacity(f"{where}: no memory left: {said}")
    if "No space left on device" in message:
        return InsufficientCapacity(f"{where}: no space left on the pool's file system")
    return Transient(f"{where}: {said}")


def define_failure(code: int, message: str, where: str, *, extra: bool) -> DriverError:
    """Why a description was not taken. ``extra``: whether a person added to it."""
    failure = call_failure(code, message, where)
    if isinstance(failure, InvalidSpec) and extra:
        return InvalidSpec(failure.message, field="extraXML")
    return failure


def start_failure(code: int, message: str, where: str, *, bridge: str, extra: bool) -> DriverError:
    """Why a machine was not started, said while the connection lives: then it does not run, and may be removed."""
    said = shorten(message)
    failure = call_failure(code, message, where)
    if not isinstance(failure, Transient):
        return failure
    if bridge and f"'{bridge}'" in message:
        return InvalidSpec(f"{where} has no usable bridge {bridge}: {said}", field="bridge")
    if message.startswith("network '") or "is not active" in message:
        return InvalidSpec(f"{where}: {said}; start it with `virsh net-start`", field="network")
    if "firmware" in message:
        return InvalidSpec(f"{where} has no such firmware (Debian: package ovmf): {said}", field="firmware")
    if "qemu" in message.lower():
        return InvalidSpec(f"{where}: QEMU refuses this machine: {said}", field="extraXML" if extra else "")
    return failure


def shorten(message: str) -> str:
    """One line of it, the end of it where it is long: QEMU says last what it stumbled over."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return line if len(line) <= _LIMIT else f"…{line[-_LIMIT:]}"
