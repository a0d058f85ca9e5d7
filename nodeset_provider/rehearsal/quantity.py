"""Kubernetes quantities as numbers. Pure."""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import cast

from kubernetes.utils.quantity import parse_quantity


@functools.lru_cache(maxsize=4096)
def amount(text: str) -> Decimal:
    """``100m`` → 0.1, ``2Gi`` → 2147483648; raises ValueError where ``text`` is no quantity."""
    return cast("Decimal", parse_quantity(text))  # type: ignore[no-untyped-call]
