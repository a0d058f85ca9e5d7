"""Reads user-data as cloud-init does: ``#cloud-config``, plain or gzipped, with write_files and runcmd. Pure.

User-data is whatever somebody sent: nothing in it may cost more than its size allows (gzip here; aliases, merge keys
and depth are PyYAML's since 6.0.4) and nothing wrong with it may end in anything but a BootError.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from nodeset_driver_simulated.boot.errors import BootError

_HEADER = "#cloud-config"
_GZIP = b"\x1f\x8b"
_UNPACKED_LIMIT = 1 << 20
_BASE64 = {"b64", "base64"}
_GZIPPED = {"gz", "gzip"}
_BOTH = {"gz+b64", "gz+base64", "gzip+b64", "gzip+base64"}


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """What the machine's first boot leaves behind: files by path, commands in order, the host name it asks for."""

    files: Mapping[str, bytes]
    commands: tuple[tuple[str, ...], ...]
    hostname: str


def read_cloud_config(user_data: bytes) -> CloudConfig:
    """The parsed user-data. Raises BootError."""
    text = _text(user_data)
    if text.split("\n", 1)[0].rstrip() != _HEADER:
        raise BootError(f"cloud-init: user-data does not begin with {_HEADER}: nothing of it is used")
    config = parse_yaml(text, "cloud-init: user-data")
    if not isinstance(config, dict):
        raise BootError("cloud-init: user-data is not a mapping")
    files: dict[str, bytes] = {}
    for entry in _list(config, "write_files"):
        path, content, append = _file(entry)
        files[path] = files.get(path, b"") + content if append else content
    hostname = config.get("hostname", "")
    if not isinstance(hostname, str):
        raise BootError("cloud-init: hostname is not a string")
    return CloudConfig(
        files=files, commands=tuple(_command(entry) for entry in _list(config, "runcmd")), hostname=hostname
    )


def parse_yaml(text: str | bytes, what: str) -> object:
    """The document. Raises BootError."""
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except Exception as error:  # noqa: BLE001 - PyYAML raises what int() or a dict does for a wrong !!tag
        # Other errors than YAML's own quote the value, which may hold a token.
        detail = " ".join(str(error).split())[:200] if isinstance(error, yaml.YAMLError) else type(error).__name__
        raise BootError(f"{what} is not YAML: {detail}") from None


def _text(user_data: bytes) -> str:
    try:
        return (_unpack(user_data) if user_data.startswith(_GZIP) else user_data).decode()
    except UnicodeDecodeError:
        raise BootError("cloud-init: user-data is not UTF-8") from None


def _unpack(packed: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            content = file.read(_UNPACKED_LIMIT + 1)
    except (OSError, EOFError, zlib.error):
        raise BootError("cloud-init: damaged gzip data") from None
    if len(content) > _UNPACKED_LIMIT:
        raise BootError(f"cloud-init: gzip data unpacks to more than {_UNPACKED_LIMIT} bytes")
    return content


def _list(config: Mapping[object, object], key: str) -> list[object]:
    value = config.get(key) or []
    if not isinstance(value, list):
        raise BootError(f"cloud-init: {key} is not a list")
    return value


def _file(entry: object) -> tuple[str, bytes, bool]:
    """``(path, content, append)`` of one entry of write_files."""
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or not entry["path"].startswith("/"):
        raise BootError("cloud-init: an entry of write_files has no absolute path")
    path = entry["path"]
    content = entry.get("content", "")
    if not isinstance(content, str | bytes):
        raise BootError(f"cloud-init: content of {path} is not a string")
    raw = content.encode() if isinstance(content, str) else content
    encoding = str(entry.get("encoding", "text/plain")).lower()
    try:
        if encoding in _BASE64 | _BOTH:
            raw = base64.b64decode(raw)
        if encoding in _GZIPPED | _BOTH:
            raw = _unpack(raw)
    except (binascii.Error, ValueError):
        raise BootError(f"cloud-init: content of {path} is not base64") from None
    return path, raw, entry.get("append") is True


def _command(entry: object) -> tuple[str, ...]:
    """The words of one entry of runcmd: a list is run as it is, a string by a shell."""
    if isinstance(entry, list):
        return tuple(str(word) for word in entry)
    try:
        return tuple(shlex.split(str(entry), comments=True))
    except ValueError:
        return (str(entry),)
