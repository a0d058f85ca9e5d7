"""What the tests of the cluster access share: a clock that a test moves, an API server in memory, one over HTTP."""

from __future__ import annotations

import asyncio
import copy
import heapq
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from nodeset_provider.kube.client import Client, Page, WatchEvent
from nodeset_provider.kube.codec import codec_for, encode
from nodeset_provider.kube.errors import AlreadyExists, Conflict, Expired, NotFound, Unavailable
from nodeset_provider.kube.resources import Resource

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """``skew`` shifts the wall clock alone, as on a machine whose time is wrong."""

    def __init__(self, *, skew: float = 0.0) -> None:
        self.time = 1000.0
        self.skew = skew
        self.slept: list[float] = []
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time + self.skew)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        done = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: done.done() or done.set_result(None))
        try:
            await done
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self.time + seconds, next(self._order), timer))
        return timer

    @property
    def timers(self) -> int:
        """Calls that are still to come."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    async def advance(self, seconds: float) -> None:
        """Let time pass; everything that is due happens at its moment, in order, and its consequences too."""
        end = self.time + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self.time = max(self.time, when)
            if timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()
                await settle()
        self.time = end
        await settle()

    def jump(self, seconds: float) -> None:
        """Let time pass and run what is due, without an event loop."""
        end = self.time + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self.time = max(self.time, when)
            if timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()
        self.time = end


async def settle() -> None:
    """Let everything run that can run without I/O or time."""
    for _ in range(30):
        await asyncio.sleep(0)


class MemoryApi:
    """An API server as far as optimistic concurrency, lists and watches go; every client of it shares its state."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.history: list[tuple[int, str, str, dict[str, Any]]] = []
        self.compacted = 0
        self.changed = asyncio.Event()
        self.generation = 0
        self.log: list[tuple[str, str]] = []

    def write(self, base: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        old = self.objects.get((base, name))
        self.version += 1
        metadata = body.setdefault("metadata", {})
        metadata["name"] = name
        metadata["resourceVersion"] = str(self.version)
        metadata["uid"] = old["metadata"]["uid"] if old else f"uid-{self.version}"
        self.objects[base, name] = body
        self._record(base, "MODIFIED" if old else "ADDED", body)
        return copy.deepcopy(body)

    def remove(self, base: str, name: str) -> None:
        body = self.objects.pop((base, name))
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self._record(base, "DELETED", body)

    def _record(self, base: str, kind: str, body: dict[str, Any]) -> None:
        self.history.append((self.version, kind, base, copy.deepcopy(body)))
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def compact(self) -> None:
        """Forget the history: who resumes a watch from before gets 410."""
        self.compacted = self.version
        self.history.clear()

    def break_watches(self) -> None:
        self.generation += 1
        self._tell()


class MemoryClient:
    """One user of a MemoryApi. ``fault(verb, name)`` runs before every request and may raise or wait."""

    def __init__(self, api: MemoryApi) -> None:
        self.api = api
        self.fault: Callable[[str, str], Awaitable[None]] | None = None
        self.lose_answer = False
        """The next write takes effect, but its answer is lost."""

    async def _begin(self, verb: str, name: str) -> None:
        self.api.log.append((verb, name))
        if self.fault is not None:
            await self.fault(verb, name)

    def _answer(self, resource: Resource[Any], body: dict[str, Any]) -> Any:
        if self.lose_answer:
            self.lose_answer = False
            raise Unavailable(0, "Timeout", "the answer was lost")
        return codec_for(resource).object(json.dumps(body).encode())

    def _find(self, resource: Resource[Any], name: str) -> dict[str, Any]:
        body = self.api.objects.get((resource.path(), name))
        if body is None:
            raise NotFound(404, "NotFound", f"{resource} {name} not found")
        return body

    def _check(self, old: dict[str, Any], version: str | None) -> None:
        if version and version != old["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")

    async def get(self, resource: Resource[Any], name: str) -> Any:
        await self._begin("get", name)
        return self._answer(resource, self._find(resource, name))

    async def create(self, resource: Resource[Any], body: object) -> Any:
        made = json.loads(encode(resource, body))
        name = made["metadata"]["name"]
        await self._begin("create", name)
        if (resource.path(), name) in self.api.objects:
            raise AlreadyExists(409, "AlreadyExists", f"{name} already exists")
        return self._answer(resource, self.api.write(resource.path(), name, made))

    async def replace(self, resource: Resource[Any], name: str, body: object) -> Any:
        await self._begin("replace", name)
        new = json.loads(encode(resource, body))
        self._check(self._find(resource, name), new["metadata"].get("resourceVersion"))
        return self._answer(resource, self.api.write(resource.path(), name, new))

    async def patch(self, resource: Resource[Any], name: str, body: object) -> Any:
        await self._begin("patch", name)
        patch = json.loads(msgspec.json.encode(body))
        old = self._find(resource, name)
        self._check(old, patch.get("metadata", {}).pop("resourceVersion", None))
        return self._answer(resource, self.api.write(resource.path(), name, _merge(old, patch)))

    async def pages(
        self, resource: Resource[Any], *, label_selector: str = "", field_selector: str = "", limit: int = 500
    ) -> AsyncIterator[Page[Any]]:
        await self._begin("list", str(limit))
        bodies = [body for (base, _), body in sorted(self.api.objects.items()) if base == resource.path()]
        items = [codec_for(resource).object(json.dumps(body).encode()) for body in bodies]
        version = str(self.api.version)
        size = limit or max(len(items), 1)
        for start in range(0, max(len(items), 1), size):
            if start:
                await self._begin("list", "continue")
                await asyncio.sleep(0)
            yield Page(items[start : start + size], version)

    async def watch(
        self,
        resource: Resource[Any],
        *,
        resource_version: str,
        field_selector: str = "",
        label_selector: str = "",
        timeout_seconds: int,
    ) -> AsyncIterator[WatchEvent[Any]]:
        await self._begin("watch", resource_version)
        generation = self.api.generation
        seen = int(resource_version)
        while True:
            if generation != self.api.generation:
                raise Unavailable(0, "ClientPayloadError", "the connection broke")
            if seen < self.api.compacted:
                raise Expired(410, "Expired", "too old resource version")
            changed = self.api.changed
            for version, kind, base, body in list(self.api.history):
                if version > seen and base == resource.path():
                    seen = version
                    yield WatchEvent(kind, codec_for(resource).object(json.dumps(body).encode()), str(version))
            seen = max(seen, self.api.version)
            yield WatchEvent("BOOKMARK", None, str(seen))
            await changed.wait()


def _merge(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_clock() -> type[ManualClock]:
    return ManualClock


@pytest.fixture
def make_memory_api() -> type[MemoryApi]:
    return MemoryApi


@pytest.fixture
def make_memory_client() -> type[MemoryClient]:
    return MemoryClient


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Callable[[Handler], Awaitable[Client]]]:
    """``await connect(handler)``: a Client whose API server is that one function, over real HTTP."""
    clients: list[Client] = []
    runners: list[web.ServerRunner] = []

    async def start(handler: Handler, **user: Any) -> Client:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}/"}}],
            "users": [{"name": "test", "user": user}],
        }
        path = tmp_path / f"kubeconfig-{len(clients)}"
        path.write_text(json.dumps(config))
        client = await Client.connect(kubeconfig=str(path))
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()
    for runner in runners:
        await runner.cleanup()
