"""The class's own users, files, units and commands, checked and brought into the document's form.

A class is written by a platform team, who may do anything on their machines; the checks are for mistakes that would
only show on a machine that does not boot as it should, where nobody sees them.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Collection, Sequence
from typing import Final

from nodeset_provider.api.nodeclass import File, Provisioning, Unit, User
from nodeset_provider.join.document import Command, MachineFile, MachineUnit, MachineUser
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.paths import UNITS

_FIELD: Final = "spec.provisioning"
_PERMISSIONS: Final = re.compile(r"0?[0-7]{3,4}")
_OWNER: Final = re.compile(r"(?!\d+(:|$))[A-Za-z0-9_][A-Za-z0-9_.-]*(:(?!\d+$)[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
"""Names only: what reads this at a first boot looks it up as a name, and gives up where nobody is called 1000."""
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_UNIT: Final = re.compile(
    r"[A-Za-z0-9:_.@-]{1,240}\.(service|socket|timer|path|mount|automount|swap|target|slice|device)"
)
_PATH_MAX: Final = 4096


def class_files(provisioning: Provisioning, *, reserved: Collection[str]) -> tuple[MachineFile, ...]:
    """The class's files in its order. ``reserved`` are the paths that the join configuration writes itself."""
    files: list[MachineFile] = []
    taken = dict.fromkeys(reserved, "the join configuration")
    taken |= {
        f"{UNITS}/{unit.name}": f"units[{index}]" for index, unit in enumerate(provisioning.units) if unit.content
    }
    for index, file in enumerate(provisioning.files):
        field = f"{_FIELD}.files[{index}]"
        files.append(_file(field, file))
        if file.path in taken:
            raise InvalidJoin(f"{field}.path", f"{file.path} is written by {taken[file.path]}; choose another path")
        taken[file.path] = f"files[{index}] already"
    return tuple(files)


def class_users(provisioning: Provisioning) -> tuple[MachineUser, ...]:
    """The class's users in its order."""
    return tuple(_user(f"{_FIELD}.users[{index}]", user) for index, user in enumerate(provisioning.users))


def class_units(provisioning: Provisioning, *, reserved: Collection[str]) -> tuple[MachineUnit, ...]:
    """The class's units in its order. ``reserved`` are paths of unit files that the join configuration writes."""
    taken = dict.fromkeys(reserved, "the join configuration")
    units: list[MachineUnit] = []
    for index, unit in enumerate(provisioning.units):
        field = f"{_FIELD}.units[{index}]"
        units.append(_unit(field, unit))
        path = f"{UNITS}/{unit.name}"
        if path in taken:
            raise InvalidJoin(f"{field}.name", f"{unit.name} belongs to {taken[path]}; choose another name")
        taken[path] = f"units[{index}] already"
    return tuple(units)


def class_commands(provisioning: Provisioning) -> tuple[Command, ...]:
    """The class's commands before the kubelet, each for a shell of its own: an ``exit`` or an open quote ends there."""
    return _commands("commands", provisioning.commands)


def class_commands_after_join(provisioning: Provisioning) -> tuple[Command, ...]:
    """The class's commands after the kubelet has been started, as ``class_commands``."""
    return _commands("commandsAfterJoin", provisioning.commands_after_join)


def _commands(name: str, commands: Sequence[str]) -> tuple[Command, ...]:
    for index, command in enumerate(commands):
        _encode(f"{_FIELD}.{name}[{index}]", command)
        if "\0" in command:
            raise InvalidJoin(f"{_FIELD}.{name}[{index}]", "holds a NUL character, which no command can; remove it")
    return tuple(("sh", "-c", command) for command in commands)


def _unit(field: str, unit: Unit) -> MachineUnit:
    if not _UNIT.fullmatch(unit.name):
        raise InvalidJoin(
            f"{field}.name", f"{unit.name!r} is no name of a systemd unit; write for example tuning.service"
        )
    content = _encode(f"{field}.content", unit.content)
    return MachineUnit(name=unit.name, content=content or None, enabled=unit.enabled, start=unit.enabled)


def _file(field: str, file: File) -> MachineFile:
    path = file.path
    if not path.startswith("/") or path == "/" or path.startswith("//") or posixpath.normpath(path) != path:
        raise InvalidJoin(f"{field}.path", f"{path!r} is no plain absolute path; write it from / on, without . and ..")
    if not path.isprintable() or len(_encode(f"{field}.path", path)) > _PATH_MAX:
        raise InvalidJoin(f"{field}.path", f"holds control characters or more than {_PATH_MAX} bytes")
    if not _PERMISSIONS.fullmatch(file.permissions):
        raise InvalidJoin(f"{field}.permissions", f"{file.permissions!r} is no octal file mode; write for example 0644")
    if not _OWNER.fullmatch(file.owner):
        raise InvalidJoin(f"{field}.owner", f"{file.owner!r} is no owner; write user or user:group, by name")
    content = _content(f"{field}.content", file)
    return MachineFile(path=path, content=content, mode=int(file.permissions, 8), owner=file.owner)


def _content(field: str, file: File) -> bytes:
    if file.encoding == "Text":
        return _encode(field, file.content)
    try:
        # Line breaks and blanks are what base64(1) and YAML put in; anything else is a mistake.
        return base64.b64decode("".join(file.content.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidJoin(field, "is no base64; encode it with base64 -w0, or leave encoding out for text") from None


def _user(field: str, user: User) -> MachineUser:
    if not _USER.fullmatch(user.name):
        raise InvalidJoin(
            f"{field}.name",
            f"{user.name!r} is no login name; at most 32 of a-z, 0-9, '_' and '-', a letter or '_' first",
        )
    for index, key in enumerate(user.ssh_authorized_keys):
        if not key.strip() or not key.isprintable():
            raise InvalidJoin(
                f"{field}.sshAuthorizedKeys[{index}]",
                "must be one line as in authorized_keys: type, key, comment",
            )
    return MachineUser(name=user.name, ssh_authorized_keys=tuple(user.ssh_authorized_keys), sudo=user.sudo)


def _encode(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidJoin(field, "holds half of a surrogate pair, which is no character; remove it") from None
