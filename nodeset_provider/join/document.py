"""What has to be on a machine and happen there at first boot, in no particular format.

Modes make a document, renderers write it. Everything in it has been checked: paths are absolute and plain, commands and
names hold no NUL, file modes are numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFile:
    """A file, written before the commands run. ``owner`` is ``user[:group]``."""

    path: str
    content: bytes
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
    content: bytes | None = None
    drop_ins: tuple[tuple[str, bytes], ...] = ()
    enabled: bool = True
    start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of MIME multipart user-data that not cloud-init reads (nodeadm: application/node.eks.aws)."""

    content_type: str
    content: bytes


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
