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
class Document:
    """Files in this order (a later one may depend on an earlier one), then users, then commands in this order."""

    hostname: str
    files: tuple[MachineFile, ...] = ()
    users: tuple[MachineUser, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    """Argument vectors, each run by itself: one that fails or exits does not keep the next from running."""
