"""What the stand-in does, as lines for people and as JSON lines for programs. Effects: writes to the two streams."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any

import msgspec


def utc_now() -> datetime:
    """The time of an event."""
    return datetime.now(UTC)


class EventLog:
    """``lines``: one readable line an event; ``file``: one JSON object a line, with ``time`` (RFC 3339), ``event``."""

    def __init__(
        self, lines: IO[str] | None, file: IO[str] | None = None, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._lines = lines
        self._file = file
        self._now = now
        self._last: dict[str, dict[str, Any]] = {}

    def emit(self, event: str, /, **facts: Any) -> None:
        """Writes one event; ``facts`` are strings, numbers, lists of strings or maps of strings."""
        time = self._now()
        if self._lines is not None:
            words = " ".join(f"{name}={_word(value)}" for name, value in facts.items())
            print(
                f"{time:%H:%M:%S}.{time.microsecond // 1000:03d} {event} {words}".rstrip(), file=self._lines, flush=True
            )
        if self._file is not None:
            line = {"time": time.isoformat(timespec="milliseconds"), "event": event, **facts}
            print(msgspec.json.encode(line).decode(), file=self._file, flush=True)

    def emit_changed(self, event: str, /, **facts: Any) -> None:
        """As ``emit``, but silent while it would say the same as the last time; without facts it says nothing."""
        if self._last.get(event, {}) != facts:
            self._last[event] = facts
            if facts:
                self.emit(event, **facts)


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list):
        return ",".join(str(it) for it in value) or "-"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_word(it)}" for name, it in value.items())
    text = str(value)
    return f'"{text}"' if " " in text else text
