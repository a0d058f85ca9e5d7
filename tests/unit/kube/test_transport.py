"""What goes over the wire, and what each answer of the server, or the lack of one, becomes. Over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.kube import transport
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from nodeset_provider.kube.objects import Lease, LeaseSpec
from nodeset_provider.kube.resources import LEASES, MACHINES, NODE_SETS, NODES, SECRETS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Connect = Callable[[Handler], Awaitable[Client]]

NODE = {"kind": "Node", "metadata": {"name": "n", "resourceVersion": "7", "managedFields": [{"manager": "x"}]}}


def status(code: int, reason: str, message: str = "no", **details: object) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response({**body, "details": details} if details else body, status=code)


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (405, "MethodNotAllowed", ApiError),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Expired),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", TooManyRequests),
        (500, "InternalError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (504, "Timeout", Unavailable),
    ],
)
async def test_every_refusal_has_its_error(connect: Connect, code: int, reason: str, error: type[ApiError]) -> None:
    async def handler(request: web.Request) -> web.Response:
        return status(code, reason, "because")

    client = await connect(handler)
    with pytest.raises(error, match="because") as caught:
        await client.get(NODES, "n")
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.reason) == (code, reason)


async def test_a_proxys_error_page_is_an_error_with_its_text(connect: Connect) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>bad gateway" + "x" * 10_000)

    client = await connect(handler)
    with pytest.raises(Unavailable, match="bad gateway") as caught:
        await client.get(NODES, "n")
    assert len(caught.value.message) < 3000


@pytest.mark.parametrize("where", ["header", "details", "nowhere"])
async def test_too_many_requests_says_when_to_come_back(connect: Connect, where: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        if where == "details":
            return status(429, "TooManyRequests", retryAfterSeconds=7)
        answer = status(429, "TooManyRequests")
        if where == "header":
            answer.headers["Retry-After"] = "7"
        return answer

    client = await connect(handler)
    with pytest.raises(TooManyRequests) as caught:
        await client.get(NODES, "n")
    assert caught.value.retry_after == (1.0 if where == "nowhere" else 7.0)


async def test_a_redirect_is_not_followed(connect: Connect) -> None:
    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPFound("https://elsewhere.example.org/")

    client = await connect(handler)
    with pytest.raises(ApiError) as caught:
        await client.get(NODES, "n")
    assert caught.value.status == 302


async def test_nobody_there_is_unavailable(write_kubeconfig: Callable[..., str]) -> None:
    client = await Client.connect(kubeconfig=write_kubeconfig("http://127.0.0.1:1"))
    with pytest.raises(Unavailable):
        await client.get(NODES, "n")
    await client.close()


async def test_no_answer_in_time_is_unavailable(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    client = await connect(handler)
    with pytest.raises(Unavailable, match=r"no answer within 0\.05 s") as caught:
        await client._transport.request("get", "nodes", "GET", "/api/v1/nodes/n", timeout=0.05)
    assert caught.value.reason == "Timeout"


async def test_an_answer_cut_short_is_unavailable(connect: Connect) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b'{"metadata":')
        request.transport.close()  # type: ignore[union-attr]
        return answer

    client = await connect(handler)
    with pytest.raises(Unavailable):
        await client.get(NODES, "n")


async def test_an_answer_of_another_shape_is_unreadable(connect: Connect) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"metadata": "surprise"})

    client = await connect(handler)
    with pytest.raises(Unreadable, match="metadata"):
        await client.get(NODES, "n")


@pytest.mark.parametrize("verb", ["create", "patch", "replace", "delete"])
async def test_a_write_whose_connection_breaks_is_sent_once(connect: Connect, verb: str) -> None:
    """Also on a kept-alive connection, where aiohttp would repeat PUT and DELETE on its own."""
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request.method)
        if request.method == "GET":
            return web.json_response(NODE)
        request.transport.abort()  # type: ignore[union-attr]
        return web.Response()

    client = await connect(handler)
    await client.get(NODES, "n")  # the connection is now kept alive
    calls = {
        "create": lambda: client.create(NODES, NODE),
        "patch": lambda: client.patch(NODES, "n", {}),
        "replace": lambda: client.replace(NODES, "n", NODE),
        "delete": lambda: client.delete(NODES, "n"),
    }
    with pytest.raises(Unavailable):
        await calls[verb]()
    assert len(seen) == 2


async def test_a_watch_waits_for_no_request_and_no_request_for_a_watch(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "REQUEST_CONNECTIONS", 2)

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response(NODE)
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}\n')
        await asyncio.Event().wait()
        return answer

    client = await connect(handler)
    watches = [client.watch(NODES, resource_version="1", timeout_seconds=60) for _ in range(8)]
    for watch in watches:
        assert (await anext(watch)).resource_version == "9"
    for _ in range(4):
        await client.get(NODES, "n")
    for watch in watches:
        await watch.aclose()


async def capture(connect: Connect, answer: object = NODE) -> tuple[Client, list[web.Request], list[bytes]]:
    requests: list[web.Request] = []
    bodies: list[bytes] = []

    async def handler(request: web.Request) -> web.Response:
        requests.append(request)
        bodies.append(await request.read())
        return web.json_response(answer)

    return await connect(handler), requests, bodies


async def test_a_created_struct_carries_apiversion_and_kind(connect: Connect) -> None:
    lease = {"metadata": {"name": "l"}}
    client, requests, bodies = await capture(connect, lease)
    await client.create(LEASES.within("kube-system"), Lease(ObjectMeta(name="l"), LeaseSpec(holder_identity="me")))
    assert requests[0].path == "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
    assert json.loads(bodies[0]) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "l"},
        "spec": {"holderIdentity": "me"},
    }


async def test_a_merge_patch_says_so_and_null_deletes(connect: Connect) -> None:
    client, requests, bodies = await capture(connect)
    await client.patch(NODES, "n", {"metadata": {"labels": {"a": None}}}, subresource="status")
    assert requests[0].headers["Content-Type"] == "application/merge-patch+json"
    assert requests[0].path == "/api/v1/nodes/n/status"
    assert json.loads(bodies[0]) == {"metadata": {"labels": {"a": None}}}


async def test_preconditions_of_a_delete_are_sent(connect: Connect) -> None:
    client, requests, bodies = await capture(connect, {"kind": "Status", "status": "Success"})
    assert await client.delete(MACHINES, "m", uid="u", resource_version="5") is None
    assert requests[0].method == "DELETE"
    assert json.loads(bodies[0])["preconditions"] == {"uid": "u", "resourceVersion": "5"}
    await client.delete(MACHINES, "m")
    assert bodies[1] == b""


async def test_a_delete_that_waits_for_finalizers_returns_the_object(connect: Connect) -> None:
    going = {**NODE, "metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    client, _, _ = await capture(connect, going)
    gone = await client.delete(NODES, "n")
    assert gone is not None
    assert gone.metadata.deleting


async def test_names_cannot_leave_their_place_in_the_path(connect: Connect) -> None:
    client, requests, _ = await capture(connect)
    await client.get(NODES, "../secrets/a?b")
    assert requests[0].raw_path == "/api/v1/nodes/..%2Fsecrets%2Fa%3Fb"
    with pytest.raises(ValueError, match="empty"):
        await client.delete(NODE_SETS, "")
    assert len(requests) == 1


async def test_secrets_are_bytes_and_never_in_a_repr(connect: Connect) -> None:
    client, _, _ = await capture(connect, {"metadata": {"name": "s"}, "data": {"token": "aHVudGVyMg=="}})
    secret = await client.get(SECRETS.within("x"), "s")
    assert secret.data == {"token": b"hunter2"}
    assert "hunter2" not in repr(secret)
    assert "token" in repr(secret)


async def test_the_server_sees_who_we_are_and_no_gzip_is_asked_for(connect: Connect) -> None:
    client, requests, _ = await capture(connect)
    await client.get(NODES, "n")
    assert requests[0].headers["User-Agent"].startswith("nodeset-provider/")
    assert requests[0].headers["Accept-Encoding"] == "identity"


async def test_a_lease_is_renewed_however_many_requests_stand_in_line(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when many workers write to an API server that has become slow."""
    monkeypatch.setattr(transport, "REQUEST_CONNECTIONS", 2)
    patches, never = 0, asyncio.Event()
    full = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        nonlocal patches
        if "/leases/" in request.path:
            return web.json_response({"metadata": {"name": "l", "resourceVersion": "8"}})
        patches += 1
        if patches == 2:
            full.set()
        await never.wait()
        return web.json_response(NODE)

    client = await connect(handler)
    workers = [asyncio.create_task(client.patch(NODES, "n", {})) for _ in range(5)]
    leases = LEASES.within("kube-system")
    async with asyncio.timeout(20):
        await full.wait()
        for _ in range(3):
            lease = await client.get(leases, "l")
            renewed = await client.replace(leases, "l", Lease(lease.metadata, LeaseSpec(holder_identity="me")))
            assert renewed.metadata.resource_version == "8"
    assert patches == 2, "the others stand in line all the time"
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
