"""What happens on a host, step by step, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileStep:
    """A file put into its place at one go, with the directories above it."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root:root"


@dataclass(frozen=True, slots=True)
class HostnameStep:
    """The name of the host, now and after a reboot."""

    name: str


@dataclass(frozen=True, slots=True)
class UserStep:
    """A login without a password. ``sudo``: rules of sudoers without the name in front."""

    name: str
    shell: str = "/bin/bash"
    keys: tuple[str, ...] = ()
    sudo: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandStep:
    """An argument vector, run by itself."""

    argv: tuple[str, ...]


Step = FileStep | HostnameStep | UserStep | CommandStep
