"""A replica that has lost the API server: the autoscaler begins no loop on what it remembers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from autoscaler_world import Denied, World
from testbed.manual_clock import ManualClock

from nodeset_provider.autoscaler import FrontDoor
from nodeset_provider.autoscaler.staleness import LIMIT
from nodeset_provider.kube.client import WatchEvent
from nodeset_provider.kube.errors import Forbidden, Unavailable
from nodeset_provider.kube.indexes import MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODE_SETS, Resource


class Replica(World):
    """A provider process whose caches follow the API server by themselves, as the real ones do."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.deliver = False
        self.clock = clock
        self.node_sets = Informer(self.client, NODE_SETS, clock=clock, random=lambda: 0.5)
        self.machines = Informer(self.client, MACHINES, indexers=MACHINE_INDEXERS, clock=clock, random=lambda: 0.5)
        self.front_door = FrontDoor(self.client, self.node_sets, self.machines, clock=clock)
        self.handlers = self.front_door.handlers()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(informer.run()) for informer in (self.node_sets, self.machines)]
        await self.clock.advance(1)
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def cut_off(self) -> None:
        """From now on every request fails, and every open connection breaks."""

        async def fault(verb: str, name: str) -> None:
            raise Unavailable(0, "ClientConnectorError", "nobody there")

        self.client.fault = fault
        self.api.break_watches()

    def reconnect(self) -> None:
        self.client.fault = None


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    world = Replica(ManualClock())
    world.node_set("a", replicas=2)
    async with world.running():
        yield world


async def test_refresh_fails_once_the_caches_are_old_and_says_which_for_how_long_and_what_to_do(
    replica: Replica,
) -> None:
    await replica.call("Refresh")
    replica.cut_off()
    await replica.clock.advance(45)
    with pytest.raises(Denied) as denied:
        await replica.call("Refresh")
    assert denied.value.code == grpc.StatusCode.UNAVAILABLE
    assert "NodeSets (for 45 s) and Machines (for 45 s)" in denied.value.message
    assert "watching is interrupted" in denied.value.message


async def test_a_short_interruption_costs_the_autoscaler_no_loop(replica: Replica) -> None:
    replica.cut_off()
    await replica.clock.advance(LIMIT)
    await replica.call("Refresh")
    await replica.clock.advance(0.1)
    with pytest.raises(Denied):
        await replica.call("Refresh")


async def test_one_cache_is_enough_and_the_other_is_not_blamed() -> None:
    """Machines can be listed and not watched: a role that lacks the verb, say."""
    world = Replica(ManualClock())
    watch = world.client.watch

    def only_node_sets(resource: Resource[Any], **options: Any) -> AsyncIterator[WatchEvent[Any]]:
        if resource is MACHINES:
            raise Forbidden(403, "Forbidden", "machines is forbidden")
        return watch(resource, **options)

    world.client.watch = only_node_sets  # type: ignore[method-assign,assignment]
    async with world.running():
        await world.clock.advance(30)
        with pytest.raises(Denied, match=r"about Machines \(for 31 s\), so"):
            await world.call("Refresh")


async def test_the_loop_that_would_have_scaled_twice_does_not_begin_until_the_size_is_current(
    replica: Replica,
) -> None:
    assert await replica.target() == 2
    replica.cut_off()
    replica.change_spec(replicas=5)  # through the other replica
    await replica.clock.advance(60)
    assert await replica.target() == 2, "what is remembered: nobody may act on it"
    with pytest.raises(Denied):
        await replica.call("Refresh")
    replica.reconnect()
    await replica.clock.advance(30)
    await replica.call("Refresh")
    assert await replica.target() == 5


async def test_what_the_autoscaler_takes_for_nothing_when_it_fails_goes_on_being_answered(replica: Replica) -> None:
    replica.machine(provider_id="p://1", registered=True)
    await replica.clock.advance(1)
    states = await replica.states()
    assert sorted(states.values()) == ["instanceCreating", "instanceRunning"]
    replica.cut_off()
    await replica.clock.advance(600)
    groups = await replica.call("NodeGroups")
    assert [group.id for group in groups.nodeGroups] == ["a"]
    assert await replica.states() == states
    assert (await replica.group_of("p://1")).id == "a"


async def test_a_change_that_was_decided_on_an_old_cache_is_decided_again_on_what_is_there(replica: Replica) -> None:
    """Writes are possible again before the watch is: they need no guard of their own."""

    async def fault(verb: str, name: str) -> None:
        if verb == "watch":
            raise Unavailable(0, "ClientConnectorError", "nobody there")

    replica.client.fault = fault
    replica.api.break_watches()
    replica.change_spec(replicas=9)
    await replica.clock.advance(60)
    with pytest.raises(Denied) as denied:
        await replica.call("NodeGroupIncreaseSize", id="a", delta=3)
    assert denied.value.code == grpc.StatusCode.OUT_OF_RANGE
    assert replica.replicas() == 9
    await replica.call("NodeGroupIncreaseSize", id="a", delta=1)
    assert replica.replicas() == 10


async def test_a_change_without_the_api_server_is_refused_and_not_remembered(replica: Replica) -> None:
    replica.cut_off()
    await replica.clock.advance(60)
    with pytest.raises(Denied) as denied:
        await replica.call("NodeGroupIncreaseSize", id="a", delta=1)
    assert denied.value.code == grpc.StatusCode.UNAVAILABLE
    assert await replica.target() == replica.replicas() == 2
