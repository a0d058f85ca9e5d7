"""The Secret that credentialsRef names: the key for qemu+ssh and the host keys that are trusted. Pure.

A libvirt of the provider's own machine needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from nodeset_provider.driverkit.errors import InvalidSpec

KEY: Final = "ssh-privatekey"
"""As in Secrets of type kubernetes.io/ssh-auth."""
KNOWN_HOSTS: Final = "known_hosts"


class Credentials(msgspec.Struct, frozen=True):
    """``private_key`` is PEM text, ``known_hosts`` lines as of `ssh-keyscan`; both empty without a Secret."""

    private_key: str = ""
    known_hosts: str = ""

    def __repr__(self) -> str:
        """What is there, and nothing of it."""
        return f"Credentials(private_key={'…' if self.private_key else ''!r}, known_hosts={bool(self.known_hosts)})"

    def require_ssh(self) -> None:
        """Raises InvalidSpec that says what a remote libvirt needs, where it is not there."""
        missing = [name for name, value in ((KEY, self.private_key), (KNOWN_HOSTS, self.known_hosts)) if not value]
        if missing:
            raise InvalidSpec(
                f"qemu+ssh needs {' and '.join(missing)} in the Secret that spec.credentialsRef names: the private key "
                "without passphrase, and the host's keys as `ssh-keyscan` prints them",
                field="uri",
            )


def parse_credentials(credentials: Mapping[str, bytes]) -> Credentials:
    """Other keys of the Secret are left alone. Raises InvalidSpec that names the key, and nothing of its value."""
    values: dict[str, str] = {}
    for name in (KEY, KNOWN_HOSTS):
        try:
            text = credentials.get(name, b"").decode().strip()
        except UnicodeDecodeError:
            raise InvalidSpec(f"key {name} of the credentials Secret is not text", field=name) from None
        values[name] = f"{text}\n" if text else ""
    key = values[KEY]
    if key and not (key.startswith("-----BEGIN ") and "PRIVATE KEY-----" in key.partition("\n")[0]):
        raise InvalidSpec(f"key {KEY} of the credentials Secret is no private key in PEM form", field=KEY)
    if "\0" in key or "\0" in values[KNOWN_HOSTS]:
        raise InvalidSpec("the credentials Secret holds a NUL character", field=KEY if "\0" in key else KNOWN_HOSTS)
    return Credentials(key, values[KNOWN_HOSTS])
