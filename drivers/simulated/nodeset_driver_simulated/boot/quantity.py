"""Kubernetes quantities as a kubelet reads and writes them (apimachinery's pkg/api/resource/quantity.go).

Exact: values are Decimals in base units (cores, bytes, pieces).
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,3}))?", re.ASCII)
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_NANO = Decimal("1e-9")


def parse_quantity(text: object) -> Decimal:
    """The value of ``100Mi``, ``0.5``, ``250m``, ``1e3``; an int or float is what YAML made of one without a suffix.

    Raises ValueError. Fractions below a nano are rounded up, as Kubernetes does.
    """
    match = _FORM.fullmatch(str(text)) if isinstance(text, str | int | float) and not isinstance(text, bool) else None
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    number, binary, decimal, exponent = match.groups()
    value = Decimal(number)
    if binary:
        value *= 1024 ** (_BINARY.index(binary) + 1)
    else:
        value = value.scaleb(_DECIMAL[decimal] if decimal else int(exponent or 0))
    return value if value == value.to_integral_value() else value.quantize(_NANO, rounding=ROUND_CEILING)


def bytes_text(value: Decimal) -> str:
    """A number of bytes with the largest binary suffix that leaves it whole (``4194304`` → ``4Mi``)."""
    number, suffix = int(value), ""
    for name in _BINARY:
        if number == 0 or number % 1024:
            break
        number, suffix = number // 1024, name
    return f"{number}{suffix}"


def count_text(value: Decimal) -> str:
    """Cores or pieces: whole, or in milli (``1930m``)."""
    if value == value.to_integral_value():
        return str(int(value))
    return f"{int((value * 1000).to_integral_value(ROUND_CEILING))}m"
