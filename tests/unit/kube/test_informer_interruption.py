"""For how long the informer has had no watch: what counts, what does not, and where it is told."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from testbed.manual_clock import ManualClock, settle
from testbed.memory_api import MemoryApi, MemoryClient

from nodeset_provider.api.node import Node
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.errors import ApiError, Forbidden, Unavailable
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import NODES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def informer(client: MemoryClient, clock: ManualClock) -> Informer[Node]:
    return Informer(client, NODES, clock=clock, random=lambda: 0.5)


@pytest.fixture
async def running(informer: Informer[Node]) -> AsyncIterator[asyncio.Task[None]]:
    """The informer's task, which lasts until the end of the test."""
    task = asyncio.create_task(informer.run())
    await settle()
    yield task
    task.cancel()
    await asyncio.wait([task])


def down() -> ApiError:
    return Unavailable(0, "ClientConnectorError", "nobody there")


def forbidden() -> ApiError:
    return Forbidden(403, "Forbidden", "nodes is forbidden")


def refuse(client: MemoryClient, error: Callable[[], ApiError], *verbs: str) -> None:
    """Every such request gets an error of its own, as an error holds on to what it went through."""

    async def fault(verb: str, name: str) -> None:
        if verb in verbs:
            raise error()

    client.fault = fault


@pytest.mark.usefixtures("running")
async def test_an_open_watch_is_no_interruption_however_quiet_it_is(
    informer: Informer[Node], clock: ManualClock
) -> None:
    await clock.advance(3600)
    assert informer.interrupted_for == 0.0


@pytest.mark.usefixtures("running")
async def test_it_is_counted_from_the_moment_when_the_watch_broke_until_one_is_open_again(
    informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    await clock.advance(60)
    refuse(client, down, "list", "watch")
    api.break_watches()
    for passed in (7, 33, 600):
        before = informer.interrupted_for
        await clock.advance(passed)
        assert informer.interrupted_for == pytest.approx(before + passed)
    client.fault = None
    await clock.advance(30)  # the longest pause between two tries
    assert informer.interrupted_for == 0.0
    api.break_watches()
    refuse(client, down, "watch")
    await clock.advance(3)
    assert informer.interrupted_for == pytest.approx(3), "the first interruption is over"


@pytest.mark.usefixtures("running")
async def test_a_list_is_no_watch(
    informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    """Where the right to watch is missing, the one list gets older and older."""
    refuse(client, forbidden, "watch")
    api.compact()
    api.break_watches()
    await clock.advance(120)
    assert informer.synced
    assert informer.interrupted_for == pytest.approx(120)


async def test_a_first_list_that_fails_counts_from_the_start(
    informer: Informer[Node], client: MemoryClient, clock: ManualClock
) -> None:
    refuse(client, down, "list")
    assert informer.interrupted_for == 0.0
    task = asyncio.create_task(informer.run())
    await clock.advance(40)
    assert informer.interrupted_for == pytest.approx(40)
    task.cancel()
    await asyncio.wait([task])


async def test_a_watch_that_ends_politely_and_is_resumed_does_not_count(
    informer: Informer[Node], client: MemoryClient, clock: ManualClock
) -> None:
    watches = 0

    async def five_minutes(*_: object, opened: Callable[[], None], **__: object) -> AsyncIterator[object]:
        nonlocal watches
        watches += 1
        opened()
        await clock.sleep(300)
        for nothing in ():
            yield nothing

    client.watch = five_minutes  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(informer.run())
    longest = 0.0
    for _ in range(400):
        await clock.advance(10)
        longest = max(longest, informer.interrupted_for)
    assert watches > 10
    assert longest == 0.0
    task.cancel()
    await asyncio.wait([task])


async def test_a_watch_that_is_accepted_and_cut_without_a_word_does_not_end_an_interruption(
    informer: Informer[Node], client: MemoryClient, clock: ManualClock
) -> None:
    """A gateway in front of a dead API server."""

    async def cut(*_: object, opened: Callable[[], None], **__: object) -> AsyncIterator[object]:
        opened()
        for nothing in ():
            yield nothing
        raise Unavailable(0, "ClientPayloadError", "the connection broke")

    client.watch = cut  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(informer.run())
    await clock.advance(100)
    assert informer.interrupted_for == pytest.approx(100)
    task.cancel()
    await asyncio.wait([task])


async def test_the_metric_follows_and_a_stopped_informer_neither_counts_nor_stays_in_memory(
    client: MemoryClient, api: MemoryApi, clock: ManualClock
) -> None:
    def sample() -> float | None:
        return REGISTRY.get_sample_value("informer_interrupted_seconds", {"resource": "nodes"})

    informer: Informer[Node] = Informer(client, NODES, clock=clock, random=lambda: 0.5)
    task = asyncio.create_task(informer.run())
    await clock.advance(1)
    assert sample() == 0
    refuse(client, down, "watch")
    api.break_watches()
    await clock.advance(25)
    assert sample() == pytest.approx(25)
    task.cancel()
    await asyncio.wait([task])
    assert sample() == informer.interrupted_for == 0
    gone = weakref.ref(informer)
    del informer, task
    gc.collect()
    assert gone() is None


async def test_a_watch_is_open_when_the_server_accepts_it_and_not_first_when_it_speaks(
    connect: Callable[[Handler], Awaitable[Client]],
) -> None:
    """Over real HTTP: the first event of a quiet kind is a bookmark after a minute."""
    asked, may_accept, opened, may_speak = (asyncio.Event() for _ in range(4))

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.set()
        await may_accept.wait()
        answer = web.StreamResponse()
        await answer.prepare(request)
        await may_speak.wait()
        await answer.write(b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}\n')
        return answer

    client = await connect(handler)
    watch = client.watch(NODES, resource_version="5", timeout_seconds=60, opened=opened.set)
    first = asyncio.ensure_future(anext(watch))
    async with asyncio.timeout(30):
        await asked.wait()
        assert not opened.is_set()
        may_accept.set()
        await opened.wait()
        assert not first.done()
        may_speak.set()
        assert (await first).resource_version == "9"
    await watch.aclose()


async def test_a_watch_that_is_refused_was_never_open(connect: Callable[[Handler], Awaitable[Client]]) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    client = await connect(handler)
    opened: list[None] = []
    with pytest.raises(Unavailable):
        await anext(client.watch(NODES, resource_version="5", timeout_seconds=60, opened=lambda: opened.append(None)))
    assert opened == []
