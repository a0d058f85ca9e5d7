"""Quantities of core/v1 resources, as far as the smallest of several has to be found. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)(m|k|[MGTPE]|[KMGTPE]i|)")
_SCALE: Final[dict[str, Decimal]] = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def amount(quantity: str) -> Decimal:
    """Its value in base units. Raises ValueError for what is no plain quantity above zero."""
    found = _FORM.fullmatch(quantity)
    if found is None or not (value := Decimal(found[1]) * _SCALE[found[2]]):
        raise ValueError(quantity)
    return value


def smaller(one: str, other: str) -> str:
    """The smaller one, as it was written."""
    return min(one, other, key=amount)
