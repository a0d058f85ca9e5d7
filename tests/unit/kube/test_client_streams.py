"""Lists in pages and watches in lines, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from nodeset_provider.api.node import Node
from nodeset_provider.kube import client as client_module
from nodeset_provider.kube.client import Client, WatchEvent
from nodeset_provider.kube.errors import Expired, Unavailable, Unreadable
from nodeset_provider.kube.resources import MACHINES, NODES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Connect = Callable[[Handler], Awaitable[Client]]


def node(name: str, version: int, **spec: object) -> dict[str, Any]:
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "resourceVersion": str(version), "managedFields": [{"manager": "kubelet"}]},
        "spec": spec,
    }


async def read_pages(client: Client, **options: Any) -> list[list[str]]:
    return [[item.metadata.name for item in page.items] async for page in client.pages(NODES, **options)]


async def test_pages_are_followed_to_the_end(connect: Connect) -> None:
    queries = []

    async def handler(request: web.Request) -> web.Response:
        queries.append(dict(request.query))
        start = int(request.query.get("continue", 0))
        proceed = str(start + 2) if start + 2 < 5 else ""
        items = [node(f"n{number}", number) for number in range(start, min(start + 2, 5))]
        return web.json_response({"metadata": {"resourceVersion": "9", "continue": proceed}, "items": items})

    client = await connect(handler)
    assert await read_pages(client, limit=2, label_selector="a=b", field_selector="c=d") == [
        ["n0", "n1"],
        ["n2", "n3"],
        ["n4"],
    ]
    selectors = {"labelSelector": "a=b", "fieldSelector": "c=d", "limit": "2"}
    assert queries == [selectors, {**selectors, "continue": "2"}, {**selectors, "continue": "4"}]


async def test_an_empty_list_may_be_null(connect: Connect) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": "9"}, "items": None})

    assert await read_pages(await connect(handler)) == [[]]


async def test_one_object_that_does_not_fit_hides_no_other(connect: Connect) -> None:
    async def handler(request: web.Request) -> web.Response:
        bad = node("bad", 2, taints=[{"key": "k", "effect": "NoSuchEffect"}])
        items = [node("n1", 1), bad, node("n3", 3)]
        return web.json_response({"metadata": {"resourceVersion": "9"}, "items": items})

    client = await connect(handler)
    pages = [page async for page in client.pages(NODES)]
    assert [item.metadata.name for item in pages[0].items] == ["n1", "n3"]
    assert pages[0].unreadable == ["bad"]
    assert pages[0].resource_version == "9"


async def test_a_list_that_is_none_is_unreadable(connect: Connect) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(["no", "list"])

    with pytest.raises(Unreadable, match="list of nodes"):
        await read_pages(await connect(handler))


async def read_watch(client: Client) -> tuple[list[WatchEvent[Node]], Exception | None]:
    events: list[WatchEvent[Node]] = []
    try:
        async for event in client.watch(NODES, resource_version="5", timeout_seconds=60):
            events.append(event)  # noqa: PERF401 - what came before the error is wanted too
    except Exception as error:  # noqa: BLE001 - the error is what the test looks at
        return events, error
    return events, None


def line(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def stream(*chunks: bytes, abort: bool = False) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for chunk in chunks:
            await answer.write(chunk)
        if abort:
            request.transport.abort()  # type: ignore[union-attr]
        return answer

    return handler


async def test_a_watch_asks_for_bookmarks_and_an_end(connect: Connect) -> None:
    queries = []

    async def handler(request: web.Request) -> web.Response:
        queries.append(dict(request.query))
        return web.Response()

    assert await read_watch(await connect(handler)) == ([], None)
    assert queries == [{"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "5", "timeoutSeconds": "60"}]


async def test_events_arrive_in_order_with_their_versions(connect: Connect) -> None:
    bookmark = {"kind": "Node", "metadata": {"resourceVersion": "9"}}
    handler = stream(
        line("ADDED", node("a", 6)),
        line("MODIFIED", node("a", 7)) + line("DELETED", node("a", 8)),
        line("BOOKMARK", bookmark),
    )
    events, error = await read_watch(await connect(handler))
    assert error is None
    assert [(event.type, event.resource_version) for event in events] == [
        ("ADDED", "6"),
        ("MODIFIED", "7"),
        ("DELETED", "8"),
        ("BOOKMARK", "9"),
    ]
    assert [event.object.metadata.name for event in events if event.object] == ["a"] * 3


async def test_a_bookmark_need_not_look_like_an_object(connect: Connect) -> None:
    bookmark = {"kind": "Machine", "apiVersion": "nodeset.dev/v1alpha1", "metadata": {"resourceVersion": "9"}}
    client = await connect(stream(line("BOOKMARK", bookmark)))
    events = [event async for event in client.watch(MACHINES, resource_version="5", timeout_seconds=60)]
    assert [(event.object, event.resource_version) for event in events] == [(None, "9")]


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_an_event_may_come_in_any_pieces(connect: Connect, size: int) -> None:
    data = line("ADDED", node("ä" * 50, 6)) + b"\n" + line("ADDED", node("b", 7))
    handler = stream(*(data[start : start + size] for start in range(0, len(data), size)))
    events, error = await read_watch(await connect(handler))
    assert error is None
    assert [event.object.metadata.name for event in events if event.object] == ["ä" * 50, "b"]


async def test_an_event_larger_than_any_buffer_arrives(connect: Connect) -> None:
    large = node("a", 6)
    large["metadata"]["annotations"] = {"big": "x" * 3_000_000}
    events, error = await read_watch(await connect(stream(line("ADDED", large))))
    assert error is None
    assert events[0].object is not None
    assert len(events[0].object.metadata.annotations["big"]) == 3_000_000


async def test_a_line_without_an_end_is_given_up(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LINE_LIMIT", 1000)
    _, error = await read_watch(await connect(stream(b"x" * 600, b"x" * 600)))
    assert isinstance(error, Unreadable)


async def test_half_a_line_at_the_end_is_no_event(connect: Connect) -> None:
    whole = line("ADDED", node("a", 6))
    events, error = await read_watch(await connect(stream(whole + whole[:-20])))
    assert error is None
    assert len(events) == 1


async def test_a_connection_that_breaks_in_a_line_is_unavailable(connect: Connect) -> None:
    whole = line("ADDED", node("a", 6))
    events, error = await read_watch(await connect(stream(whole, whole[:-20], abort=True)))
    assert isinstance(error, Unavailable)
    assert len(events) <= 1


async def test_garbage_is_unreadable(connect: Connect) -> None:
    _, error = await read_watch(await connect(stream(b"<html>\n")))
    assert isinstance(error, Unreadable)


async def test_an_unknown_kind_of_event_is_unreadable(connect: Connect) -> None:
    _, error = await read_watch(await connect(stream(line("SURPRISE", node("a", 6)))))
    assert isinstance(error, Unreadable)


@pytest.mark.parametrize(("code", "reason"), [(410, "Expired"), (410, "Gone"), (500, "Expired")])
async def test_an_error_event_raises_its_error(connect: Connect, code: int, reason: str) -> None:
    event = line("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": "too old resource version"})
    events, error = await read_watch(await connect(stream(line("ADDED", node("a", 6)), event)))
    assert len(events) == 1
    assert isinstance(error, Expired)


async def test_a_changed_object_that_does_not_fit_is_named(connect: Connect) -> None:
    bad = node("bad", 6, taints=[{"key": "k", "effect": "NoSuchEffect"}])
    events, error = await read_watch(await connect(stream(line("MODIFIED", bad), line("ADDED", node("a", 7)))))
    assert error is None
    assert [(event.unreadable, event.object is None) for event in events] == [("bad", True), ("", False)]
    assert events[0].resource_version == "6"
