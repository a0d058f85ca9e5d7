"""Kubernetes quantities: read exactly, written in the canonical form that a kubelet publishes.

The source of the rules is apimachinery's pkg/api/resource/quantity.go: what suffixes there are, rounding *up* to whole
nanos, and the canonical form (the largest suffix that leaves a whole number; binary ones only for values that were made
as BinarySI). The parser of the ``kubernetes`` package knows no canonical form, and importing it costs 0.7 s.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

_SYNTAX: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)"
    r"(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?",
)
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()} | {0: ""}
_NANO: Final = Decimal("1e-9")
_KIBI: Final = 1024
_KILO: Final = 1000


def parse_quantity(text: str) -> Decimal:
    """The value in base units (cores, bytes, pieces). Raises ValueError for what the API server would refuse."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity; write for example 500m, 2, 100Mi or 1.5Gi")
    number = Decimal(match["number"])
    suffix = match["suffix"] or ""
    if suffix in _BINARY:
        number *= 1 << _BINARY[suffix]
    elif suffix in _DECIMAL:
        number = number.scaleb(_DECIMAL[suffix])
    elif suffix:
        number = number.scaleb(int(suffix[1:]))
    number = number.quantize(_NANO, rounding=ROUND_CEILING) if number < Decimal(1 << 63) else Decimal((1 << 63) - 1)
    return -number if match["sign"] == "-" else number


def format_binary(value: Decimal) -> str:
    """As Go's BinarySI: Ki, Mi, … while the value stays whole; below 1 Ki and for fractions as DecimalSI."""
    if abs(value) < _KIBI or value != value.to_integral_value():
        return format_decimal(value)
    whole = int(value)
    suffix = ""
    for candidate in _BINARY:
        if whole % _KIBI:
            break
        whole, suffix = whole // _KIBI, candidate
    return f"{whole}{suffix}"


def format_decimal(value: Decimal) -> str:
    """As Go's DecimalSI: n, u, m, none, k, M, …, the largest that leaves a whole number."""
    nanos = int(value.scaleb(9).to_integral_value(rounding=ROUND_CEILING))
    if not nanos:
        return "0"
    exponent = min(_DECIMAL_SUFFIX)
    while nanos % _KILO == 0 and exponent < max(_DECIMAL_SUFFIX):
        nanos, exponent = nanos // _KILO, exponent + 3
    return f"{nanos}{_DECIMAL_SUFFIX[exponent]}"
