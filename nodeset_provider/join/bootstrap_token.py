"""Bootstrap tokens: one per attempt of a Machine, computed, never stored by us and never read back.

A token is a keyed hash of the Machine's UID and attempt, so that user-data is byte for byte the same whenever an
attempt is repeated, in every process and after every crash, and no process has to read token Secrets. The key never
leaves the provider's own namespace. Pure: who writes the Secret, and when, is the controllers' business.

The forms are Kubernetes' (cluster-bootstrap: ``[a-z0-9]{6}.[a-z0-9]{16}``, Secret of type bootstrap.kubernetes.io/token
in kube-system).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from nodeset_provider.api import names

KEY_BYTES: Final = 32
KEY_SECRET_NAME: Final = "nodeset-provider-bootstrap-key"  # noqa: S105
KEY_SECRET_ENTRY: Final = "key"  # noqa: S105
TOKEN_NAMESPACE: Final = "kube-system"  # noqa: S105
TOKEN_SECRET_TYPE: Final = "bootstrap.kubernetes.io/token"  # noqa: S105
USERNAME_PREFIX: Final = "system:bootstrap:"
"""How the API server names whoever comes with a token; followed by the token's id."""

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 6
_SECRET_LENGTH: Final = 16
_GROUPS: Final = "auth-extra-groups"
_EXPIRATION: Final = "expiration"


@dataclass(frozen=True, slots=True)
class BootstrapToken:
    """``id`` may be shown; ``secret`` never is: it has no place in a repr, a log line or an error."""

    id: str
    secret: str = field(repr=False)

    @property
    def value(self) -> str:
        """What the kubelet sends as its bearer token."""
        return f"{self.id}.{self.secret}"

    @property
    def username(self) -> str:
        """spec.username of a CSR that was made with this token."""
        return f"{USERNAME_PREFIX}{self.id}"

    @property
    def secret_name(self) -> str:
        """Name of the Secret in :data:`TOKEN_NAMESPACE`."""
        return f"bootstrap-token-{self.id}"


def derive(key: bytes, machine_uid: str, attempt: int) -> BootstrapToken:
    """The token of that attempt of that Machine. Raises ValueError where ``key`` is shorter than :data:`KEY_BYTES`."""
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"the bootstrap key has {len(key)} bytes, {KEY_BYTES} are needed; delete its Secret to renew it"
        )
    attempt_name = f"{machine_uid}/{attempt}"
    return BootstrapToken(
        id=_characters(key, f"id/{attempt_name}", _ID_LENGTH),
        # A hash of its own: the id is public and must say nothing about the secret.
        secret=_characters(key, f"secret/{attempt_name}", _SECRET_LENGTH),
    )


def groups(machine: str) -> tuple[str, str]:
    """The groups of that Machine's token: the one of all joining machines, and the one that only it is in."""
    return names.BOOTSTRAP_GROUP, f"{names.BOOTSTRAP_GROUP_MACHINE_PREFIX}{machine}"


def secret_manifest(
    token: BootstrapToken, *, machine: str, expires: datetime, signs_cluster_info: bool = False
) -> dict[str, Any]:
    """The Secret that makes the token valid until ``expires`` (aware), as a body for create.

    ``signs_cluster_info``: the ConfigMap kube-public/cluster-info gets a signature by which the machine, with nothing
    but its token, knows that it is right (KEP-130, "bootstrap-signing").
    """
    signing = {"usage-bootstrap-signing": "true"} if signs_cluster_info else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": token.secret_name, "namespace": TOKEN_NAMESPACE},
        "type": TOKEN_SECRET_TYPE,
        "stringData": {
            "token-id": token.id,
            "token-secret": token.secret,
            "usage-bootstrap-authentication": "true",
            **signing,
            _GROUPS: ",".join(groups(machine)),
            _EXPIRATION: _rfc3339(expires),
            "description": f"Lets machine {machine} join the cluster once.",
        },
    }


def expiration_patch(expires: datetime) -> dict[str, Any]:
    """The merge patch that gives a Secret left from before a crash its full time again."""
    return {"stringData": {_EXPIRATION: _rfc3339(expires)}}


def belongs_to(secret_data: Mapping[str, bytes], machine: str) -> bool:
    """Whether a token Secret's data is of that Machine.

    Ids have 31 bits: among 5,000 machines that join at one time two share an id once in 170 ramps. Whoever finds the
    Secret there already sees it by the answer of the patch, and closes the attempt: the next one has another id.
    """
    return secret_data.get(_GROUPS, b"").decode("utf-8", "replace") == ",".join(groups(machine))


def _characters(key: bytes, message: str, length: int) -> str:
    number = int.from_bytes(hmac.digest(key, message.encode(), sha256), "big")
    characters = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[digit])
    return "".join(characters)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
