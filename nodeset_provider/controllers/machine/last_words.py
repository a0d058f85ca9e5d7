"""What a machine last said (its console, the log of what ran on it), made fit for a condition. Pure.

It comes from a machine that a stranger may control, over a serial line: escape sequences, half lines, and perhaps the
bootstrap token, because some image prints its own user-data.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from nodeset_provider.controllers.conditions import printable
from nodeset_provider.driverkit.contract import DIAGNOSIS_LIMIT

LIMIT = 480
"""Characters: with the sentence before them they fit a condition, and a person's patience."""
MASK = "******"
_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_PIECE = re.compile(r"[a-z0-9]{6,}")


def last_words(said: str, secrets: Collection[str] = ()) -> str:
    """The last lines of ``said`` on one line, without anything of ``secrets`` or of any bootstrap token's form."""
    lines = [line for raw in masked(said, secrets).splitlines() if (line := printable(raw))]
    if len(said) >= DIAGNOSIS_LIMIT:
        del lines[:1]  # cut somewhere in its middle
    kept: list[str] = []
    room = LIMIT
    for line in reversed(lines):
        if kept and len(line) > room:
            break
        kept.append(line[-LIMIT:])
        room -= len(line) + 3
    return " | ".join(reversed(kept))


def masked(text: str, secrets: Collection[str] = ()) -> str:
    """``text`` without secrets: in pieces too, and where a console broke one into two lines."""
    for secret in secrets:
        whole = r"\s*".join(re.escape(character) for character in secret)
        text = re.sub(whole, MASK, text)
    text = _TOKEN.sub(MASK, text)
    return _PIECE.sub(lambda found: MASK if any(found[0] in secret for secret in secrets) else found[0], text)
