"""The end of a serial console as plain text. Pure."""

from __future__ import annotations

import re
from typing import Final

_UP: Final = re.compile(r"\x1bM|\x1b\[A")
"""One line up: systemd writes a job it waits for over the same line every half second."""
_UP_MARK: Final = "\x0b"
_ESCAPES: Final = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    r"|[PX^_].*?\x1b\\"
    r"|[ -/]*[0-~]"
    r")",
    re.DOTALL,
)


def plain_end(console: bytes, limit: int) -> str:
    """The last whole lines that fit into ``limit`` characters; nothing that is not printable, no empty lines."""
    marked = _UP.sub(_UP_MARK, console.decode("utf-8", "replace").replace(_UP_MARK, ""))
    lines: list[str] = []
    for line in _ESCAPES.sub("", marked).replace("\r\n", "\n").split("\n"):
        if line.startswith(_UP_MARK) and lines:
            lines.pop()
        # What a carriage return began anew was written over, as a progress bar is.
        last = next((piece for piece in reversed(line.split("\r")) if piece.strip()), "")
        clean = "".join(letter for letter in last.expandtabs(1) if letter.isprintable()).rstrip()
        if clean:
            lines.append(clean)
    kept: list[str] = []
    left = limit
    for line in reversed(lines):
        if len(line) + 1 > left:
            if not kept:
                kept.append(line[-limit:] if limit > 0 else "")
            break
        kept.append(line)
        left -= len(line) + 1
    return "\n".join(reversed(kept))
