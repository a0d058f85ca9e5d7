"""How long a booting machine waits before it asks again. Pure.

A thousand machines that boot together must not ask the API server thousands of times a second, and a single one must
not wait: the interval grows with its own attempts and with how many wait.
"""

from __future__ import annotations

import math
from random import Random

_FIRST_POLL = 0.1
_POLL_GROWTH = 1.5
_LONGEST_POLL = 5.0
_POLLS_PER_SECOND = 100.0
_FIRST_RETRY = 1.0
_LONGEST_RETRY = 30.0


def poll_after(attempt: int, waiting: int, random: Random) -> float:
    """Seconds before poll number ``attempt`` (from 0) for the certificate, while ``waiting`` machines poll."""
    own = min(_FIRST_POLL * math.pow(_POLL_GROWTH, min(attempt, 20)), _LONGEST_POLL)
    return max(own, waiting / _POLLS_PER_SECOND) * random.uniform(0.75, 1.25)


def retry_after(attempt: int, random: Random) -> float:
    """Seconds before the kubelet is started again after its ``attempt``-th failure (from 0)."""
    return min(_FIRST_RETRY * math.pow(2, min(attempt, 20)), _LONGEST_RETRY) * random.uniform(0.5, 1.5)
