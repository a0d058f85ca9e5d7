"""What hosts say, made fit for conditions and events: printable, short, nothing shaped like a token in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_SECRETS: Final = re.compile(
    r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"  # bootstrap tokens
    r"|\bK10[0-9a-f]{64}::\S+"  # k3s node tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_NAMES: Final = 5


def printable(said: str, limit: int) -> str:
    """The last ``limit`` characters of ``said``: lines of printable characters, what looks like a secret struck out."""
    lines = _SECRETS.sub("(secret)", said).splitlines()
    clean = ("".join(char if char.isprintable() else " " for char in line).rstrip() for line in lines)
    return "\n".join(line for line in clean if line)[-limit:]


def one_line(said: str, limit: int) -> str:
    """As :func:`printable`, lines joined by blanks."""
    return " ".join(printable(said, limit * 2).split())[-limit:]


def some(names: Iterable[str]) -> str:
    """A list for a sentence that stays readable when it is long."""
    known = list(names)
    more = f" and {len(known) - _NAMES} more" if len(known) > _NAMES else ""
    return ", ".join(known[:_NAMES]) + more
