"""Which caches keep a replica from being ready. Pure.

A replica that has lost the API server is not ready: the Service then leads the autoscaler to another one. The same
limit makes the front door refuse Refresh, for an autoscaler that is connected already.
"""

from __future__ import annotations

from nodeset_provider.autoscaler.staleness import Caches, interrupted


def unready(caches: Caches) -> list[str]:
    """What is wrong with them, one line for each that is not filled yet or has been without a watch for too long."""
    empty = [name for name, cache in caches.items() if not cache.synced]
    late = interrupted({name: cache for name, cache in caches.items() if cache.synced})
    return empty + [f"{name} (no watch for {seconds:.0f} s)" for name, seconds in late.items()]
