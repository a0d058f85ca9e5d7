from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeset_provider.api.quantity import format_binary, format_decimal, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("500m", "0.5"),
        ("1.5Gi", str(1536 * 1024 * 1024)),
        ("1.", "1"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", "1e18"),
        ("12E-3", "0.012"),
        ("-5M", "-5000000"),
        ("+2k", "2000"),
        ("0.1n", "1e-9"),
        ("100Ei", str((1 << 63) - 1)),
    ],
)
def test_reads_what_apimachinery_reads(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "five", "1 Gi", "1K", "1ki", "1GiB", "1e", "--1", "1..2", ".", "\u0661", "1\n", "NaN", "0x10"]
)
def test_refuses_what_apimachinery_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"no quantity; write for example"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("8589934592", "8Gi"),
        ("8485076992", "8092Mi"),
        ("1023", "1023"),
        ("1025", "1025"),
        ("0", "0"),
        ("2048.5", "2048500m"),
    ],
)
def test_binary_form_is_the_largest_suffix_that_stays_whole(value: str, text: str) -> None:
    assert format_binary(Decimal(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("4", "4"),
        ("3.92", "3920m"),
        ("1000", "1k"),
        ("0", "0"),
        ("0.0000005", "500n"),
        ("110", "110"),
        ("1500000", "1500k"),
    ],
)
def test_decimal_form_is_the_largest_suffix_that_stays_whole(value: str, text: str) -> None:
    assert format_decimal(Decimal(value)) == text


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_every_number_of_bytes_survives_both_forms(number: int) -> None:
    assert parse_quantity(format_binary(Decimal(number))) == number
    assert parse_quantity(format_decimal(Decimal(number))) == number
