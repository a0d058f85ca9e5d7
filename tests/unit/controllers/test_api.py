"""The controllers leave the API server room for others, and say nothing once they no longer lead."""

import asyncio

import pytest
from testbed.faulty_cloud import FaultyCloud, FaultyDriver
from testbed.manual_clock import ManualClock, settle
from testbed.memory_cluster import ClusterApi, ClusterClient

from nodeset_provider.controllers.account import Account, CallLimits
from nodeset_provider.controllers.api import BoundedApi
from nodeset_provider.controllers.leading import NotLeading
from nodeset_provider.driverkit.contract import CreateRequest, InstanceKey
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


async def test_writes_that_waited_for_their_turn_are_not_sent_once_the_lease_is_lost() -> None:
    client = ClusterClient(ClusterApi())
    leads, go_on = True, asyncio.Event()

    async def hang(verb: str, name: str) -> None:
        await go_on.wait()

    client.fault = hang
    api = BoundedApi(client, 1, lambda: leads)
    first = asyncio.create_task(api.get(NAMESPACES, "kube-system"))
    await settle()
    waiting = [
        asyncio.create_task(write)
        for write in (
            api.create(NAMESPACES, {"metadata": {"name": "a"}}),
            api.patch(NAMESPACES, "kube-system", {}),
            api.replace(NAMESPACES, "kube-system", {"metadata": {"name": "kube-system"}}),
            api.delete(NAMESPACES, "kube-system"),
        )
    ]
    leads = False
    go_on.set()
    assert await first
    assert [type(answer) for answer in await asyncio.gather(*waiting, return_exceptions=True)] == [NotLeading] * 4
    assert client.api.log == [("get", "kube-system")]


async def test_driver_calls_that_waited_for_their_turn_are_not_made_once_the_lease_is_lost() -> None:
    cloud = FaultyCloud(clock=ManualClock().monotonic)
    gate = asyncio.Semaphore(1)
    account = Account("faulty", FaultyDriver(cloud), gate, CallLimits())
    request = CreateRequest(cluster="c", machine="m", token="t", config={}, user_data=b"")
    leads = True
    async with gate:
        calls = [
            asyncio.create_task(account.create(request, lambda: leads)),
            asyncio.create_task(account.delete(InstanceKey(cluster="c", token="t"), lambda: leads)),
        ]
        await settle()
        leads = False
    for call in calls:
        with pytest.raises(NotLeading):
            await call
    assert not cloud.calls
