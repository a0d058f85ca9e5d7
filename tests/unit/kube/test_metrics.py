"""The figures that a dashboard of this package is made of are really counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from testbed.manual_clock import ManualClock

from nodeset_provider.kube.client import Client
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.errors import NotFound
from nodeset_provider.kube.resources import NODES
from nodeset_provider.kube.workqueue import WorkQueue

Connect = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[Client]]


def sample(metric: str, /, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0.0


async def test_requests_are_counted_by_verb_resource_and_code(connect: Connect) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("missing"):
            return web.json_response({"kind": "Status", "reason": "NotFound"}, status=404)
        return web.json_response({"metadata": {"name": "n"}})

    def counts() -> list[float]:
        return [
            sample("rest_client_requests_total", verb="get", resource="nodes", code="200"),
            sample("rest_client_requests_total", verb="get", resource="nodes", code="404"),
            sample("rest_client_request_duration_seconds_count", verb="get", resource="nodes"),
        ]

    client = await connect(handler)
    before = counts()
    await client.get(NODES, "n")
    with pytest.raises(NotFound):
        await client.get(NODES, "missing")
    assert [after - start for after, start in zip(counts(), before, strict=True)] == [1, 1, 2]


async def test_the_depth_of_a_queue_is_what_waits(clock: ManualClock) -> None:
    queue: WorkQueue[str] = WorkQueue("depth-test", clock=clock)
    queue.add("a")
    queue.add("b")
    queue.add("b")
    assert sample("workqueue_depth", name="depth-test") == 2
    await clock.advance(3)
    await queue.get()
    assert sample("workqueue_depth", name="depth-test") == 1
    assert sample("workqueue_queue_duration_seconds_sum", name="depth-test") == 3
    assert sample("workqueue_adds_total", name="depth-test") == 2


async def test_reconciles_are_counted_by_result(clock: ManualClock) -> None:
    outcomes: list[float | None] = [None, 5.0]

    async def reconcile(key: str) -> float | None:
        if not outcomes:
            raise RuntimeError("a bug")
        return outcomes.pop()

    controller = Controller("result-test", reconcile, queue=WorkQueue("result-test", clock=clock))
    task = asyncio.create_task(controller.run())
    for key in "abc":
        controller.enqueue(key)
    await clock.advance(0.01)
    task.cancel()
    await asyncio.wait([task])
    results = ("success", "requeue_after", "error")
    assert [sample("controller_reconcile_total", controller="result-test", result=result) for result in results] == [
        1,
        1,
        1,
    ]
