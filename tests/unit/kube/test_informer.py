"""When the informer asks, and when it does not: pauses, rights, time-outs, handlers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web
from testbed.manual_clock import ManualClock, settle
from testbed.memory_api import MemoryApi, MemoryClient

from nodeset_provider.api.node import Node
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.codec import codec_for
from nodeset_provider.kube.errors import ApiError, Expired, Forbidden, TooManyRequests, Unavailable
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import NODES, SECRETS

BASE = NODES.path()
Start = Callable[[Informer[Any]], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def informer(client: MemoryClient, clock: ManualClock) -> Informer[Node]:
    return Informer(client, NODES, clock=clock, random=lambda: 0.5)


@pytest.fixture
async def start() -> AsyncIterator[Callable[[Informer[Any]], Awaitable[None]]]:
    """``await start(informer)``: let it run until the end of the test."""
    tasks: list[asyncio.Task[None]] = []

    async def run(informer: Informer[Any]) -> None:
        tasks.append(asyncio.create_task(informer.run()))
        await settle()

    yield run
    for task in tasks:
        assert not task.done(), "it ended by itself"
        task.cancel()
        await asyncio.wait([task])


def fail(error: ApiError, *verbs: str) -> Callable[[str, str], Awaitable[None]]:
    async def fault(verb: str, name: str) -> None:
        if verb in verbs:
            raise error

    return fault


def node(api: MemoryApi, name: str, **labels: str) -> Node:
    return codec_for(NODES).object(json.dumps(api.write(BASE, name, {"metadata": {"labels": labels}})).encode())


async def test_synced_means_that_the_whole_list_is_here(
    start: Start, informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    for number in range(1200):
        node(api, f"n{number}")
    gate = asyncio.Event()

    async def fault(verb: str, name: str) -> None:
        if name == "continue":
            await gate.wait()

    client.fault = fault
    await start(informer)
    await settle()
    assert len(informer) == 500
    assert not informer.synced
    waiting = asyncio.create_task(informer.wait_synced())
    gate.set()
    await waiting
    assert informer.synced
    assert len(informer) == 1200
    assert [name for verb, name in api.log if verb == "list"] == ["500", "continue", "continue"]


async def test_a_watch_that_may_not_be_is_retried_ever_more_slowly(
    start: Start, informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    client.fault = fail(Forbidden(403, "Forbidden", "nodes is forbidden"), "watch")
    await start(informer)
    await clock.advance(600)
    assert informer.synced
    assert 20 <= len([verb for verb, _ in api.log if verb == "watch"]) <= 35
    assert max(clock.slept) == pytest.approx(22.5)  # the cap of 30 s, less the jitter


async def test_a_watch_that_ends_at_once_is_retried_ever_more_slowly(
    start: Start, informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    watched = 0

    async def no_events(*_: object, **__: object) -> AsyncIterator[object]:
        nonlocal watched
        watched += 1
        for nothing in ():
            yield nothing

    client.watch = no_events  # type: ignore[method-assign,assignment]
    await start(informer)
    await clock.advance(600)
    assert 20 <= watched <= 35


async def test_a_watch_that_brought_news_is_resumed_soon_however_often_it_is_cut(
    start: Start, informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    """An API server cuts a watch whose reader falls behind; the reader must not fall further behind for it."""
    await start(informer)
    for number in range(10):
        node(api, f"n{number}")
        await settle()
        api.break_watches()
        await clock.advance(0.5)
    assert clock.slept == [pytest.approx(0.15)] * 10
    assert len(informer) == 10


async def test_a_watch_that_lasted_is_resumed_at_once_from_where_it_was(
    start: Start, informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    await start(informer)
    await clock.advance(1)
    version = node(api, "n").metadata.resource_version
    await clock.advance(60)
    api.break_watches()
    await clock.advance(1)
    assert api.log[-1] == ("watch", version)
    assert clock.slept == [pytest.approx(0.15)]
    assert [verb for verb, _ in api.log].count("list") == 1


async def test_jitter_keeps_replicas_from_coming_back_together(
    start: Start, api: MemoryApi, clock: ManualClock
) -> None:
    for chance in (0.0, 0.5, 1.0):
        refused = MemoryClient(api)
        refused.fault = fail(Unavailable(503, "", "down"), "list")
        await start(Informer(refused, NODES, clock=clock, random=itertools.repeat(chance).__next__))
    assert sorted(clock.slept) == [pytest.approx(0.1), pytest.approx(0.15), pytest.approx(0.2)]


async def test_the_server_decides_how_long_to_wait_when_it_says_so(
    start: Start, informer: Informer[Node], client: MemoryClient, clock: ManualClock
) -> None:
    client.fault = fail(TooManyRequests(429, "TooManyRequests", "later", retry_after=17), "list")
    await start(informer)
    await settle()
    assert clock.slept == [17]


async def test_410_lists_again_and_tells_what_was_deleted_meanwhile(
    start: Start, informer: Informer[Node], api: MemoryApi, clock: ManualClock
) -> None:
    await start(informer)
    node(api, "stays")
    node(api, "goes")
    await clock.advance(1)
    told: list[tuple[str | None, str | None]] = []
    informer.add_handler(lambda old, new: told.append((old and old.metadata.name, new and new.metadata.name)))
    told.clear()
    api.remove(BASE, "goes")
    api.compact()
    api.break_watches()
    await clock.advance(5)
    assert told == [("goes", None)]
    assert [item.metadata.name for item in informer.items()] == ["stays"]


async def test_a_list_that_takes_longer_than_history_is_kept_is_taken_in_one_piece(
    start: Start, informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    for number in range(600):
        node(api, f"n{number}")

    async def fault(verb: str, name: str) -> None:
        if name == "continue":
            raise Expired(410, "Expired", "the continue token is too old")

    client.fault = fault
    await start(informer)
    await clock.advance(5)
    assert len(informer) == 600
    assert [name for verb, name in api.log if verb == "list"] == ["500", "continue", "0"]


async def test_a_broken_watch_keeps_the_cache_and_synced(
    start: Start, informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    await start(informer)
    node(api, "n")
    await clock.advance(1)
    client.fault = fail(Unavailable(0, "ClientConnectorError", "nobody there"), "list", "watch")
    api.break_watches()
    await clock.advance(300)
    assert informer.synced
    assert informer.get("n") is not None


async def test_an_own_write_is_seen_before_the_watch_brings_it_and_told_once(
    start: Start, informer: Informer[Node], api: MemoryApi, client: MemoryClient, clock: ManualClock
) -> None:
    await start(informer)
    node(api, "n")
    await clock.advance(1)
    told: list[Node | None] = []
    informer.add_handler(lambda old, new: told.append(new))
    answer = await client.patch(NODES, "n", {"metadata": {"labels": {"a": "b"}}})
    informer.observe(answer)
    assert informer.get("n") is answer
    await clock.advance(1)
    assert informer.get("n") is answer
    assert len(told) == 2  # what was here at registration, and the one change


async def test_a_handler_is_told_what_is_here_already(
    start: Start, informer: Informer[Node], api: MemoryApi, clock: ManualClock
) -> None:
    await start(informer)
    node(api, "a")
    node(api, "b")
    await clock.advance(1)
    told: list[tuple[Node | None, Node | None]] = []
    informer.add_handler(lambda old, new: told.append((old, new)))
    assert told == [(None, informer.get("a")), (None, informer.get("b"))]


async def test_a_handler_that_fails_hinders_no_other(
    start: Start, informer: Informer[Node], api: MemoryApi, clock: ManualClock
) -> None:
    await start(informer)
    told: list[str] = []

    def bad(old: Node | None, new: Node | None) -> None:
        raise RuntimeError("a bug")

    informer.add_handler(bad)
    informer.add_handler(lambda old, new: told.append(new.metadata.name if new else ""))
    node(api, "n")
    await clock.advance(1)
    node(api, "m")
    await clock.advance(1)
    assert told == ["n", "m"]


async def test_the_transform_shapes_what_is_kept_wherever_it_comes_from(
    start: Start, client: MemoryClient, api: MemoryApi, clock: ManualClock
) -> None:

    def bare(item: Node) -> Node:
        return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, labels={}))

    informer = Informer(client, NODES, transform=bare, clock=clock)
    listed = node(api, "listed", a="b")
    await start(informer)
    node(api, "watched", a="b")
    await clock.advance(1)
    informer.observe(await client.patch(NODES, "listed", {"metadata": {"labels": {"c": "d"}}}))
    assert listed.metadata.labels == {"a": "b"}
    assert [item.metadata.labels for item in informer.items()] == [{}, {}]


async def test_names_are_told_apart_by_namespace_where_several_are_watched(
    start: Start, client: MemoryClient, api: MemoryApi, clock: ManualClock
) -> None:
    api.write(SECRETS.path(), "s", {"metadata": {"namespace": "a"}})
    informer = Informer(client, SECRETS, clock=clock)
    await start(informer)
    assert informer.get("a/s") is not None
    assert informer.get("s") is None


async def test_an_object_that_stops_fitting_is_kept_as_it_was_and_leaves_when_deleted(
    start: Start,
    connect: Callable[[Handler], Awaitable[Client]],
) -> None:
    def item(version: int, effect: str) -> dict[str, object]:
        metadata = {"name": "n", "uid": "u", "resourceVersion": str(version)}
        return {"metadata": metadata, "spec": {"taints": [{"key": "k", "effect": effect}]}}

    more: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "5"}, "items": [item(5, "NoSchedule")]})
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(json.dumps(await more.get()).encode() + b"\n")

    informer = Informer(await connect(handler), NODES)
    told: asyncio.Queue[Node | None] = asyncio.Queue()
    informer.add_handler(lambda old, new: told.put_nowait(new))
    await start(informer)
    assert await told.get() is not None
    more.put_nowait({"type": "MODIFIED", "object": item(6, "Nonsense")})
    more.put_nowait({"type": "MODIFIED", "object": item(7, "NoExecute")})
    changed = await told.get()
    assert changed is not None
    assert changed.metadata.resource_version == "7"
    more.put_nowait({"type": "DELETED", "object": item(8, "Nonsense")})
    assert await told.get() is None
    assert len(informer) == 0
