"""What the tests of the cluster access share: a clock that a test moves, and API servers in memory and over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from testbed.manual_clock import ManualClock
from testbed.memory_api import MemoryApi, MemoryClient

from nodeset_provider.kube.client import Client

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Connect = Callable[[Handler], Awaitable[Client]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
async def client(api: MemoryApi) -> MemoryClient:
    return MemoryClient(api)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """``await serve(handler)``: the URL of an HTTP server that is that one function."""
    runners: list[web.ServerRunner] = []

    async def start(handler: Handler) -> str:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def write_kubeconfig(tmp_path: Path) -> Callable[..., str]:
    """``write_kubeconfig(server, user)``: path of a kubeconfig for that server and that user section."""

    def write(server: str, user: dict[str, object] | None = None, cluster: dict[str, object] | None = None) -> str:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": server, **(cluster or {})}}],
            "users": [{"name": "test", "user": user or {}}],
        }
        path = tmp_path / f"kubeconfig-{len(list(tmp_path.iterdir()))}"
        path.write_text(json.dumps(config))
        return str(path)

    return write


@pytest.fixture
async def connect(
    serve: Callable[[Handler], Awaitable[str]], write_kubeconfig: Callable[..., str]
) -> AsyncIterator[Connect]:
    """``await connect(handler)``: a Client whose API server is that one function, over real HTTP."""
    clients: list[Client] = []

    async def start(handler: Handler) -> Client:
        clients.append(await Client.connect(kubeconfig=write_kubeconfig(await serve(handler))))
        return clients[-1]

    yield start
    for made in clients:
        await made.close()
