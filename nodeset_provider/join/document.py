"""What has to be on a machine and happen there at first boot, in no particular format.

Modes make a document, renderers write it. Everything in it has been checked: paths are absolute and plain, commands and
names hold no NUL, file modes are numbers. What is in files and parts never shows in a repr: a token is among it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nodeset_provider.join.paths import UNITS


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFile:
    """A file, written before the commands run. ``owner`` is ``user[:group]``."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    owner: str = "root:root"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUser:
    """A login without a password; ``sudo``: may become root without one."""

    name: str
    ssh_authorized_keys: tuple[str, ...] = ()
    sudo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUnit:
    """A systemd unit; without ``content`` the image brings it. ``drop_ins``: file name → content.

    ``enabled``: comes up at every boot. ``start``: what is done with it after ``commands_before``, in the order of the
    units: nothing, or started (restarted where it runs already) without waiting for it.
    """

    name: str
    content: bytes | None = field(default=None, repr=False)
    drop_ins: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    enabled: bool = True
    start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of MIME multipart user-data that not cloud-init reads (nodeadm: application/node.eks.aws)."""

    content_type: str
    content: bytes = field(repr=False)


Command = tuple[str, ...]
"""An argument vector, run by itself: one that fails or exits does not keep the next from running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What happens at first boot.

    In this order: files, users, units, ``commands_before``, the units that are to be started, ``commands_after``.
    """

    hostname: str
    """Empty: the machine keeps the name that its cloud gives it."""
    files: tuple[MachineFile, ...] = ()
    """A later one may depend on an earlier one."""
    users: tuple[MachineUser, ...] = ()
    units: tuple[MachineUnit, ...] = ()
    commands_before: tuple[Command, ...] = ()
    commands_after: tuple[Command, ...] = ()
    parts: tuple[Part, ...] = ()


def start_commands(units: Sequence[MachineUnit]) -> list[Command]:
    """What enables and starts the units; may be run again."""
    if not units:
        return []
    enabled = [unit.name for unit in units if unit.enabled]
    started = [unit.name for unit in units if unit.start]
    commands: list[Command] = [("systemctl", "daemon-reload")]
    if enabled:
        commands.append(("systemctl", "enable", *enabled))
    if started:
        # --no-block: a unit that waits for the first boot to end would otherwise wait for us, and we for it
        commands.append(("systemctl", "restart", "--no-block", *started))
    return commands


def unit_files(units: Iterable[MachineUnit]) -> Iterator[MachineFile]:
    """The units and their drop-ins as the files that systemd reads."""
    for unit in units:
        path = f"{UNITS}/{unit.name}"
        if unit.content is not None:
            yield MachineFile(path=path, content=unit.content, mode=0o644)
        for name, content in unit.drop_ins:
            yield MachineFile(path=f"{path}.d/{name}", content=content, mode=0o644)
