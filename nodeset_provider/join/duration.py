"""Durations as Go writes and reads them: ``300ms``, ``1m30s``, ``1.5h`` (time.ParseDuration, without a sign)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+")


def seconds(text: str) -> Decimal:
    """How many seconds that is. Raises ValueError for what Go would not read."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write for example 30s or 1m30s")
    return sum((Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(text)), Decimal(0))
