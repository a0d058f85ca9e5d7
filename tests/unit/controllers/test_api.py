"""The controllers leave the API server room for others."""

import asyncio

from testbed.memory_cluster import ClusterApi, ClusterClient

from nodeset_provider.controllers.api import BoundedApi
from nodeset_provider.kube.resources import NAMESPACES


async def test_requests_at_one_time_are_bounded_and_all_are_answered() -> None:
    client = ClusterClient(ClusterApi())
    running, most = 0, 0

    async def count(verb: str, name: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    client.fault = count
    api = BoundedApi(client, 3)
    answers = await asyncio.gather(*(api.get(NAMESPACES, "kube-system") for _ in range(30)))
    assert most == 3
    assert len(answers) == 30
