"""Whether a replica is ready, from its caches on: the Service leads the autoscaler only to those that are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from testbed.manual_clock import ManualClock
from testbed.memory_api import MemoryApi, MemoryClient

from nodeset_provider.autoscaler.staleness import LIMIT, Caches
from nodeset_provider.kube.errors import Unavailable
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODE_SETS
from nodeset_provider.server.readiness import unready


class Replica:
    """Two running caches of one API server."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.api = MemoryApi()
        self.client = MemoryClient(self.api)
        self.cut_off = True
        self.client.fault = self._fault
        self.caches: Caches = {
            "nodesets": Informer(self.client, NODE_SETS, clock=self.clock, random=lambda: 0.5),
            "machines": Informer(self.client, MACHINES, clock=self.clock, random=lambda: 0.5),
        }

    async def _fault(self, verb: str, name: str) -> None:
        if self.cut_off:
            raise Unavailable(0, "ClientConnectorError", "nobody there")


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    made = Replica()
    tasks = [asyncio.create_task(cache.run()) for cache in made.caches.values()]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_ready_while_the_caches_are_filled_and_current(replica: Replica) -> None:
    await replica.clock.advance(60)
    assert unready(replica.caches) == ["nodesets", "machines"], "never filled: said once, without its age"
    replica.cut_off = False
    await replica.clock.advance(60)
    assert unready(replica.caches) == []
    replica.cut_off = True
    replica.api.break_watches()
    await replica.clock.advance(LIMIT)
    assert unready(replica.caches) == []
    await replica.clock.advance(20)
    assert unready(replica.caches) == ["nodesets (no watch for 30 s)", "machines (no watch for 30 s)"]
    replica.cut_off = False
    await replica.clock.advance(30)
    assert unready(replica.caches) == []
