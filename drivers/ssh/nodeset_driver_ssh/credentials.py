"""The Secret that ``credentialsRef`` names, in the form of type kubernetes.io/ssh-auth. Pure.

``ssh-privatekey``: OpenSSH or PEM. Optional ``passphrase`` of that key, and ``known_hosts`` as OpenSSH reads it. Other
keys are left alone: a Secret may serve other programs too. The values are in no message and no repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import asyncssh

from nodeset_provider.driverkit.errors import InvalidSpec

REQUIRED_CREDENTIALS: Final = ("ssh-privatekey",)


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to log in, and whom to believe."""

    key: asyncssh.SSHKey = field(repr=False)
    known_hosts: asyncssh.SSHKnownHosts | None = field(default=None, repr=False)


def parse_credentials(credentials: Mapping[str, bytes]) -> Credentials:
    """Strictly read. Raises InvalidSpec that names the Secret's key and the remedy."""
    raw = credentials.get("ssh-privatekey", b"")
    if not raw.strip():
        raise _wrong("ssh-privatekey", "is missing, or empty")
    passphrase = credentials.get("passphrase", b"").rstrip(b"\r\n")
    try:
        key = asyncssh.import_private_key(raw.strip() + b"\n", passphrase or None)
    except asyncssh.KeyEncryptionError:
        raise _wrong("passphrase", "does not open ssh-privatekey") from None
    except (asyncssh.KeyImportError, UnicodeDecodeError, ValueError):
        if b"ENCRYPTED" in raw or not passphrase:
            raise _wrong(
                "ssh-privatekey",
                "cannot be read: it must be a private key in OpenSSH or PEM form, with its passphrase under the key "
                "passphrase where it has one",
            ) from None
        raise _wrong("ssh-privatekey", "cannot be read with the passphrase beside it") from None
    known = credentials.get("known_hosts", b"")
    if not known.strip():
        return Credentials(key)
    try:
        return Credentials(key, asyncssh.import_known_hosts(known.decode()))
    except (ValueError, UnicodeDecodeError):
        raise _wrong("known_hosts", "cannot be read; write it as `ssh-keyscan HOST` prints it") from None


def _wrong(key: str, message: str) -> InvalidSpec:
    return InvalidSpec(f"key {key} of the credentials Secret {message}", field=key)
