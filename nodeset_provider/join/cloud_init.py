"""Renderer CloudInit: the document as ``#cloud-config`` user-data.

Read by cloud-init's modules write_files, set_hostname, users_groups and runcmd (and write_files_deferred for files
whose owner is a user of the class, who does not exist yet when the others are written).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from nodeset_provider.join.document import Command, Document, MachineFile, MachineUnit, MachineUser
from nodeset_provider.join.yaml_text import yaml_text

HEADER: Final = b"#cloud-config\n"
"""The first line decides how cloud-init reads the rest: no content below can make it a template or a script."""

_UNITS: Final = "/etc/systemd/system"
_TEXT: Final = re.compile(rb"[\x20-\x7e\t\n]*")
"""What is written as text. Everything else (control characters, NUL, non-ASCII) goes as base64, which every version of
cloud-init and of YAML brings back byte for byte."""


def render(document: Document) -> bytes:
    """The user-data. Deterministic."""
    users = frozenset(user.name for user in document.users)
    config: dict[str, Any] = {
        "hostname": document.hostname,
        "preserve_hostname": False,
        "write_files": [_file(file, users) for file in (*_unit_files(document.units), *document.files)],
    }
    if document.users:
        config["users"] = ["default", *(_user(user) for user in document.users)]
    commands = [*document.commands_before, *_unit_commands(document.units), *document.commands_after]
    if commands:
        config["runcmd"] = [list(command) for command in commands]
    return HEADER + yaml_text(config)


def _unit_files(units: Iterable[MachineUnit]) -> Iterator[MachineFile]:
    for unit in units:
        path = f"{_UNITS}/{unit.name}"
        if unit.content is not None:
            yield MachineFile(path=path, content=unit.content, mode=0o644)
        for name, content in unit.drop_ins:
            yield MachineFile(path=f"{path}.d/{name}", content=content, mode=0o644)


def _unit_commands(units: Sequence[MachineUnit]) -> list[Command]:
    if not units:
        return []
    enabled = tuple(unit.name for unit in units if unit.enabled)
    started = tuple(unit.name for unit in units if unit.start)
    commands: list[Command] = [("systemctl", "daemon-reload")]
    if enabled:
        commands.append(("systemctl", "enable", *enabled))
    if started:
        # --no-block: a unit that waits for cloud-init to end would otherwise wait for us, and we for it
        commands.append(("systemctl", "restart", "--no-block", *started))
    return commands


def _file(file: MachineFile, users: frozenset[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": file.path, "permissions": f"{file.mode:04o}", "owner": file.owner}
    if not users.isdisjoint(file.owner.split(":")):
        entry["defer"] = True
    if _TEXT.fullmatch(file.content):
        entry["content"] = file.content.decode("ascii")
    else:
        entry["encoding"] = "b64"
        entry["content"] = base64.b64encode(file.content).decode("ascii")
    return entry


def _user(user: MachineUser) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": user.name, "shell": "/bin/bash", "lock_passwd": True}
    if user.ssh_authorized_keys:
        entry["ssh_authorized_keys"] = list(user.ssh_authorized_keys)
    if user.sudo:
        entry["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    return entry
