"""Brings a cache up to what the API server holds now, before anybody acts on it who did not keep it current himself.

A watch that died without a word is noticed only after most of a minute. A process that begins to lead on such a cache
would make a machine for a Machine that has been deleted and released since, or take machines away as surplus because
it has not seen its NodeSet grow. Own writes keep a leader's cache current from then on.

May touch: lists of the API server (read), the cache.
"""

from __future__ import annotations

import asyncio

import structlog

from nodeset_provider.kube.client import Client
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import Resource, T
from nodeset_provider.kube.store import resource_version

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.2


async def catch_up(client: Client, resource: Resource[T], cache: Informer[T], clock: Clock) -> None:
    """Return once the cache of a cluster-scoped kind shows nothing older than the API server held at the call.

    Objects that are missing or older are taken in from a list; what was deleted goes when the cache's own watch says
    so, which is waited for. Raises ApiError.
    """
    there: set[str] = set()
    version = 0
    async for page in client.pages(resource):
        version = int(page.resource_version or 0)
        there.update(page.unreadable)
        for item in page.items:
            there.add(item.metadata.name)
            cache.observe(item)
        await asyncio.sleep(0)
    told = False
    while gone := [
        item.metadata.name
        for item in cache.items()
        if item.metadata.name not in there and resource_version(item) <= version
    ]:
        if not told:
            _log.warning("the cache is behind, waiting for its watch", resource=str(resource), deleted=len(gone))
            told = True
        await clock.sleep(LOOK_SECONDS)
