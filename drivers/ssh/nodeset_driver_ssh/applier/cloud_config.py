"""Reads user-data of the form ``#cloud-config`` as steps, in the order in which cloud-init would take them. Pure.

Only what the join configuration uses is taken: write_files, hostname, users, runcmd. Everything else is refused by
name, because a key that is silently left out is a machine that is not what its class says.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import posixpath
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from nodeset_driver_ssh.applier.plan import CommandStep, FileStep, HostnameStep, Step, UserStep
from nodeset_provider.driverkit.errors import InvalidSpec

_HEADER: Final = "#cloud-config"
_MOST_STEPS: Final = 9999
"""Their numbers have four digits on the host."""
_UNPACKED_LIMIT: Final = 64 << 20
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_OWNER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MODE: Final = re.compile(r"0?o?[0-7]{1,4}")
_SPEAKS_OF_THE_IMAGE: Final = frozenset({"preserve_hostname", "manage_etc_hosts", "prefer_fqdn_over_hostname"})
"""Settings of cloud-init itself, which is not what runs here."""
_FILE_KEYS: Final = frozenset({"path", "content", "encoding", "permissions", "owner", "defer"})
_USER_KEYS: Final = frozenset(
    {"name", "shell", "lock_passwd", "primary_group", "groups", "ssh_authorized_keys", "sudo"}
)
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_steps(user_data: bytes) -> tuple[Step, ...]:
    """The steps. Raises InvalidSpec that says what of the user-data cannot be applied; its values are in no message."""
    config = _document(user_data)
    for key in config:
        if key not in _READERS and key not in _SPEAKS_OF_THE_IMAGE:
            raise _wrong(f"key {key!r} cannot be applied over SSH; known are {', '.join(_READERS)}")
    entries = _list(config, "write_files")
    files = [_file(index, entry) for index, entry in enumerate(entries)]
    deferred = [isinstance(entry, dict) and entry.get("defer") is True for entry in entries]
    steps: tuple[Step, ...] = (
        *(file for file, later in zip(files, deferred, strict=True) if not later),
        *_hostname(config),
        *_users(config),
        *(file for file, later in zip(files, deferred, strict=True) if later),
        *(_command(index, entry) for index, entry in enumerate(_list(config, "runcmd"))),
    )
    if len(steps) > _MOST_STEPS:
        raise _wrong(f"has {len(steps)} files, users and commands; {_MOST_STEPS} can be applied over SSH")
    return steps


_READERS: Final = ("write_files", "hostname", "users", "runcmd")


def _document(user_data: bytes) -> Mapping[Any, Any]:
    try:
        text = user_data.decode()
    except UnicodeDecodeError:
        raise _wrong("is not UTF-8") from None
    if text.split("\n", 1)[0].rstrip() != _HEADER:
        raise _wrong(f"does not begin with {_HEADER}: scripts and multipart archives cannot be applied over SSH")
    try:
        config = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
    except Exception as error:  # noqa: BLE001 - PyYAML raises what int() or a dict does for a wrong !!tag
        mark = getattr(error, "problem_mark", None)
        raise _wrong(f"is not YAML{f' in line {mark.line + 1}' if mark else ''}") from None
    if not isinstance(config, dict):
        raise _wrong("is not a mapping")
    return config


def _file(index: int, entry: object) -> FileStep:
    where = f"write_files[{index}]"
    entry = _mapping(where, entry, _FILE_KEYS)
    path = entry.get("path")
    if not isinstance(path, str) or not _is_plain(path):
        raise _wrong(f"{where} has no plain absolute path")
    mode, owner = entry.get("permissions", "0644"), entry.get("owner", "root:root")
    if isinstance(mode, bool) or not _MODE.fullmatch(str(mode)):
        raise _wrong(f"{where}: permissions are no octal file mode")
    if not isinstance(owner, str) or not _OWNER.fullmatch(owner):
        raise _wrong(f"{where}: owner is not user:group")
    # YAML read an unquoted 0644 as octal already.
    number = mode if isinstance(mode, int) else int(mode.replace("o", ""), 8)
    return FileStep(path=path, content=_content(where, entry), mode=number, owner=owner)


def _content(where: str, entry: Mapping[str, Any]) -> bytes:
    content = entry.get("content", "")
    if not isinstance(content, str | bytes):
        raise _wrong(f"{where}: content is not a string")
    raw = _encode(where, content) if isinstance(content, str) else content
    names = str(entry.get("encoding", "text/plain")).lower().split("+")
    known = {"text/plain", "b64", "base64", "gz", "gzip"}
    if not known.issuperset(names):
        raise _wrong(f"{where}: encoding is none of b64, gz, gz+b64")
    try:
        if {"b64", "base64"}.intersection(names):
            raw = base64.b64decode(raw, validate=False)
        if {"gz", "gzip"}.intersection(names):
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
                raw = packed.read(_UNPACKED_LIMIT + 1)
    except (binascii.Error, OSError, EOFError, zlib.error):
        raise _wrong(f"{where}: content is not what encoding says") from None
    if len(raw) > _UNPACKED_LIMIT:
        raise _wrong(f"{where}: content unpacks to more than {_UNPACKED_LIMIT} bytes")
    return raw


def _hostname(config: Mapping[Any, Any]) -> Iterator[HostnameStep]:
    name = config.get("hostname", "")
    if not isinstance(name, str) or (name and not _HOSTNAME.fullmatch(name)):
        raise _wrong("hostname is no host name")
    if name:
        yield HostnameStep(name)


def _users(config: Mapping[Any, Any]) -> Iterator[UserStep]:
    for index, entry in enumerate(_list(config, "users")):
        if entry == "default":
            continue  # the user of cloud-init's own images
        where = f"users[{index}]"
        entry = _mapping(where, entry, _USER_KEYS)  # noqa: PLW2901
        name, shell = entry.get("name"), entry.get("shell", "/bin/bash")
        if not isinstance(name, str) or not _USER.fullmatch(name) or name == "root":
            raise _wrong(f"{where}: name is no login name that could be made")
        if not isinstance(shell, str) or not _is_plain(shell):
            raise _wrong(f"{where}: shell is no plain absolute path")
        if entry.get("lock_passwd", True) is not True:
            raise _wrong(f"{where}: lock_passwd must be true, logins have no password here")
        if entry.get("primary_group", name) != name or entry.get("groups", [name]) != [name]:
            raise _wrong(f"{where}: a user has a group of its own name here, and no other")
        sudo = entry.get("sudo") or ()
        yield UserStep(
            name=name,
            shell=shell,
            keys=_lines(f"{where}.ssh_authorized_keys", entry.get("ssh_authorized_keys") or ()),
            sudo=_lines(f"{where}.sudo", (sudo,) if isinstance(sudo, str) else sudo),
        )


def _command(index: int, entry: object) -> CommandStep:
    if isinstance(entry, str):
        entry = ["sh", "-c", entry]
    if not isinstance(entry, list) or not entry:
        raise _wrong(f"runcmd[{index}] is neither a command nor a list of its words")
    if not all(isinstance(word, str | int | float) and not isinstance(word, bool) for word in entry):
        raise _wrong(f"runcmd[{index}] has a word that is no string")
    words = tuple(str(word) for word in entry)
    for word in words:
        _encode(f"runcmd[{index}]", word)
    if not words[0] or any("\0" in word for word in words):
        raise _wrong(f"runcmd[{index}] has no program, or a NUL character in it")
    return CommandStep(words)


def _encode(where: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _wrong(f"{where} holds half of a surrogate pair, which is no character") from None


def _list(config: Mapping[Any, Any], key: str) -> list[Any]:
    value = config.get(key) or []
    if not isinstance(value, list):
        raise _wrong(f"{key} is not a list")
    return value


def _mapping(where: str, entry: object, known: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise _wrong(f"{where} is not a mapping")
    for key in entry:
        if key not in known:
            raise _wrong(f"{where}: key {key!r} cannot be applied over SSH; known are {', '.join(sorted(known))}")
    return entry


def _lines(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(line, str) and line.isprintable() for line in value):
        raise _wrong(f"{where} is not a list of lines")
    return tuple(value)


def _is_plain(path: str) -> bool:
    return (
        path.startswith("/")
        and not path.startswith("//")
        and path != "/"
        and path.isprintable()
        and posixpath.normpath(path) == path
    )


def _wrong(message: str) -> InvalidSpec:
    return InvalidSpec(f"user-data: {message}", field="userData")
