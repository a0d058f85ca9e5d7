"""How long a booting machine waits before it asks again. Pure but for what it remembers; randomness is given.

A thousand machines that boot together must not ask the API server thousands of times a second, and a single one must
not wait. Certificates come from a queue, so what the last ones waited is a good guess for the next.
"""

from __future__ import annotations

import math
from random import Random

_FIRST_POLL = 0.1
_POLL_GROWTH = 1.5
_LONGEST_POLL = 5.0
_POLLS_PER_SECOND = 100.0
_BELIEVED_SHARE = 0.75
"""Of the usual wait: asking a little early costs one more call, asking late delays a node."""
_CROWD = 20.0
"""Machines per second of believed wait: whoever waits nearly alone asks soon, whatever it took in a crowd."""
_MEMORY = 0.2
_FIRST_RETRY = 1.0
_LONGEST_RETRY = 30.0


class CertificatePace:
    """Shared by all machines that wait for a certificate."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._waiting = 0
        self._usual = 0.0

    def begin(self) -> None:
        """One more waits."""
        self._waiting += 1

    def end(self, waited: float | None) -> None:
        """One less; ``waited`` seconds where it has its certificate."""
        self._waiting -= 1
        if waited is not None:
            self._usual += _MEMORY * (waited - self._usual)

    def seconds(self, attempt: int) -> float:
        """Before poll number ``attempt`` (from 0)."""
        if attempt == 0:
            own = max(_FIRST_POLL, min(_BELIEVED_SHARE * self._usual, self._waiting / _CROWD))
        else:
            own = min(_FIRST_POLL * math.pow(_POLL_GROWTH, min(attempt, 20)), _LONGEST_POLL)
            own = max(own, self._waiting / _POLLS_PER_SECOND)
        return own * self._random.uniform(0.75, 1.25)


def retry_after(attempt: int, random: Random) -> float:
    """Seconds before the kubelet is started again after its ``attempt``-th failure (from 0)."""
    return min(_FIRST_RETRY * math.pow(2, min(attempt, 20)), _LONGEST_RETRY) * random.uniform(0.5, 1.5)
