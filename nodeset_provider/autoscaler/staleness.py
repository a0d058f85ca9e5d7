"""When a cache is too old to begin a loop of the autoscaler on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nodeset_provider.kube.informer import Informer

Caches = Mapping[str, Informer[Any]]
"""By the name that people know them by."""

LIMIT: Final = 10.0
"""Seconds without a watch that are no reason to refuse.

Long enough for what happens in a healthy cluster: a watch that ends and is resumed, an API server that restarts beside
another one. Short because a size that is old is acted upon: the autoscaler, by default, looks every 10 s, so at most
one loop begins on such a cache. To this comes the time in which a peer that vanished without a word is noticed, which
is under a minute (``kube.transport.KEEPALIVE``).
"""


def interrupted(caches: Caches) -> dict[str, float]:
    """Which of them have been without a watch for longer than that, and for how many seconds."""
    late = {name: cache.interrupted_for for name, cache in caches.items()}
    return {name: seconds for name, seconds in late.items() if seconds > LIMIT}
