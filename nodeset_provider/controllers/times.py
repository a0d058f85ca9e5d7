"""Times as the API server stores them (meta/v1 Time) ↔ seconds since the epoch. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def to_rfc3339(seconds: float) -> str:
    """UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_rfc3339(stamp: str | None, *, default: float) -> float:
    """Seconds since the epoch; ``default`` where there is none or it cannot be read (somebody edited the status)."""
    if not stamp:
        return default
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return default
