"""The driver's configuration: NodeClass.spec.config and the Secret that credentialsRef names. Pure.

The Secret says *where and as whom* (``endpoint``, ``token``), because machines must be found and deleted again when no
class is there any more; the config says *what*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from nodeset_provider.driverkit.config import convert
from nodeset_provider.driverkit.errors import InvalidSpec


class Config(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """NodeClass.spec.config of driver ``simulated``."""

    instance_type: str
    zone: str = ""
    """Empty: the cloud picks one with room, and the template says no zone unless the type has only one."""
    assigned_id: bool = msgspec.field(default=False, name="assignedID")
    """Let the cloud choose the instance id, so that no provider id is known before the machine exists."""


class Credentials(msgspec.Struct, frozen=True):
    """The account: URL of the cloud and its API token. The token is in no repr."""

    endpoint: str
    token: str

    def __repr__(self) -> str:
        """The endpoint only."""
        return f"Credentials(endpoint={self.endpoint!r})"


REQUIRED_CREDENTIALS = ("endpoint", "token")
_KNOWN = tuple(field.encode_name for field in msgspec.structs.fields(Config))


def parse_config(config: Mapping[str, Any]) -> Config:
    """Strictly read. Raises InvalidSpec that names the key and what it may be."""
    for key in config:
        if key == "endpoint":
            raise InvalidSpec("endpoint belongs into the Secret that credentialsRef names, beside token", field=key)
        if key not in _KNOWN:
            raise InvalidSpec(f"unknown key {key!r}; known are {', '.join(_KNOWN)}", field=str(key))
    parsed = convert(config, Config, first="instanceType")
    if not parsed.instance_type:
        raise InvalidSpec("instanceType must not be empty; `simulated-cloud types` lists them", field="instanceType")
    return parsed


def parse_credentials(credentials: Mapping[str, bytes]) -> Credentials:
    """Strictly read. Raises InvalidSpec that names the Secret's key; the values are in no message."""
    values: dict[str, str] = {}
    for key in REQUIRED_CREDENTIALS:
        raw = credentials.get(key, b"")
        try:
            values[key] = raw.decode("ascii").strip()
        except UnicodeDecodeError:
            raise InvalidSpec(f"key {key} of the credentials Secret is not ASCII text", field=key) from None
        if not values[key]:
            raise InvalidSpec(f"key {key} is missing from the credentials Secret, or empty", field=key)
    if not _is_endpoint(values["endpoint"]):
        raise InvalidSpec(
            "key endpoint of the credentials Secret must be an http(s) URL without user or query", field="endpoint"
        )
    if not values["token"].isprintable() or " " in values["token"]:
        raise InvalidSpec("key token of the credentials Secret holds spaces or control characters", field="token")
    return Credentials(endpoint=values["endpoint"].rstrip("/"), token=values["token"])


def _is_endpoint(text: str) -> bool:
    try:
        url = urlsplit(text)
        numbered = url.port != 0
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.hostname) and numbered and not (url.username or url.query)
