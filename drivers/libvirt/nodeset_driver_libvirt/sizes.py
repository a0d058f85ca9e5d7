"""Sizes of memory and disks, as Kubernetes writes them. Pure."""

from __future__ import annotations

import re
from typing import Final

KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3

_UNITS: Final[dict[str, int]] = {
    **{f"{letter}i": 1024**power for power, letter in enumerate("KMGTP", start=1)},
    **{letter: 1000**power for power, letter in enumerate("kMGTP", start=1)},
    "": 1,
}
_QUANTITY: Final = re.compile(rf"(\d{{1,18}})(?:\.(\d{{1,9}}))?({'|'.join(sorted(_UNITS, key=len, reverse=True))})")


def parse_size(text: str | int) -> int:
    """Bytes of ``2Gi``, ``1.5G``, ``512Mi`` or a plain number. Raises ValueError with what it may look like."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{str(text)[:40]!r} is no size; write a number with a unit, as 2Gi or 512Mi")
    whole, fraction, unit = found.groups()
    factor = _UNITS[unit]
    return int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)


def human(size: int) -> str:
    """A size for people: the largest unit of which there is one, with at most one digit after the point."""
    for unit, factor in (("TiB", 1024 * GIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} bytes"
