"""Exponential back-off with jitter. Pure: it says how long to wait and waits for nothing."""

from __future__ import annotations

import random as stdlib_random
from collections.abc import Callable


class Backoff:
    """Delays ``base``, ``2·base``, … up to ``cap`` seconds, each shortened by up to half at random.

    Without the jitter every replica of every controller would come back to a restarted API server at the same moment.
    """

    def __init__(self, base: float, cap: float, *, random: Callable[[], float] = stdlib_random.random) -> None:
        self._base = base
        self._cap = cap
        self._random = random
        self._failures = 0

    @property
    def failures(self) -> int:
        """Delays handed out since the last reset."""
        return self._failures

    def next(self) -> float:
        """Seconds to wait now: between half and the whole of the current step."""
        step = min(self._cap, self._base * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return step * (1.0 - 0.5 * self._random())

    def reset(self) -> None:
        """It worked: begin anew."""
        self._failures = 0
