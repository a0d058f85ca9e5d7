"""An API server in memory, for tests of what talks to one: versions, lists, watches, and the faults that matter.

It validates nothing and defaults nothing; what depends on that is tested against the real control plane.
"""
# ruff: noqa: ARG002 - the signatures are Client's, also where memory needs less

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from nodeset_provider.kube.client import Client, Page, WatchEvent
from nodeset_provider.kube.codec import codec_for, encode
from nodeset_provider.kube.errors import AlreadyExists, Conflict, Expired, NotFound, Unavailable
from nodeset_provider.kube.resources import Resource, T

Body = dict[str, Any]
Fault = Callable[[str, str], Awaitable[None]]


class MemoryApi:
    """The state that all clients of one server share.

    Attributes:
        objects: JSON by (path of the collection, name).
        version: of the last write.
        log: (verb, name) of every request, in order.
    """

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[tuple[str, str], Body] = {}
        self.log: list[tuple[str, str]] = []
        self._history: list[tuple[int, str, str, Body]] = []
        self._compacted = 0
        self._changed = asyncio.Event()
        self._generation = 0
        self._restored = False

    def write(self, base: str, name: str, body: Body) -> Body:
        """Store the object with the next version, as somebody else's write; returns it as it was stored."""
        old = self.objects.get((base, name))
        self.version += 1
        uid = old["metadata"]["uid"] if old else f"uid-{self.version}"
        metadata = {**body.get("metadata", {}), "name": name, "uid": uid, "resourceVersion": str(self.version)}
        stored = {**body, "metadata": metadata}
        self.objects[base, name] = stored
        self._record(base, "MODIFIED" if old else "ADDED", stored)
        return copy.deepcopy(stored)

    def remove(self, base: str, name: str) -> None:
        """Delete the object, as somebody else's doing."""
        body = self.objects.pop((base, name))
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self._record(base, "DELETED", body)

    def compact(self) -> None:
        """Forget the history: a watch that is resumed from before gets 410."""
        self._compacted = self.version
        self._history.clear()

    def break_watches(self) -> None:
        """Cut every watch in the middle."""
        self._generation += 1
        self._tell()

    def restore(self, version: int, objects: dict[tuple[str, str], Body]) -> None:
        """As etcd restored from a backup: what was written since then never happened."""
        self.version = version
        self.objects = copy.deepcopy(objects)
        self._history.clear()
        self._restored = True
        self.break_watches()

    def _record(self, base: str, kind: str, body: Body) -> None:
        self._history.append((self.version, kind, base, copy.deepcopy(body)))
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def changes(self, base: str, since: int) -> AsyncGenerator[tuple[int, str, Body | None], None]:
        """(version, event type, object) after ``since``, with a bookmark whenever all is told."""
        generation = self._generation
        if self._restored:
            self._restored = False
            raise Expired(410, "Expired", "The provided resource version is no longer there")
        while True:
            if generation != self._generation:
                raise Unavailable(0, "ClientPayloadError", "the connection broke")
            if since > self.version:
                raise Unavailable(504, "Timeout", "Too large resource version")
            if since < self._compacted:
                raise Expired(410, "Expired", "too old resource version")
            changed = self._changed
            for version, kind, where, body in list(self._history):
                if version > since and where == base:
                    since = version
                    yield version, kind, body
            since = max(since, self.version)
            yield since, "BOOKMARK", None
            await changed.wait()


class MemoryClient(Client):
    """One user of a MemoryApi.

    Attributes:
        fault: runs before every request with (verb, name); may raise or wait.
        lose_answer: the next write takes effect, but its answer is lost.
    """

    def __init__(self, api: MemoryApi) -> None:
        self.api = api
        self.server = "https://memory.invalid"
        self.ca_bundle = b""
        self.fault: Fault | None = None
        self.lose_answer = False

    async def close(self) -> None:
        """Nothing to close."""

    async def get(self, resource: Resource[T], name: str) -> T:
        """As Client."""
        await self._begin("get", name)
        return _decode(resource, self._find(resource, name))

    async def create(self, resource: Resource[T], body: object, *, subresource: str = "", name: str = "") -> T:
        """As Client, without subresources."""
        made = json.loads(encode(resource, body))
        name = made["metadata"]["name"]
        await self._begin("create", name)
        if (resource.path(), name) in self.api.objects:
            raise AlreadyExists(409, "AlreadyExists", f"{name} already exists")
        return self._write(resource, name, made)

    async def replace(self, resource: Resource[T], name: str, body: object, *, subresource: str = "") -> T:
        """As Client, without subresources."""
        await self._begin("replace", name)
        new = json.loads(encode(resource, body))
        _check(self._find(resource, name), new["metadata"].get("resourceVersion"))
        return self._write(resource, name, new)

    async def patch(self, resource: Resource[T], name: str, body: object, *, subresource: str = "") -> T:
        """As Client; a subresource is patched like the object itself."""
        await self._begin("patch", name)
        change = json.loads(msgspec.json.encode(body))
        old = self._find(resource, name)
        _check(old, change.get("metadata", {}).pop("resourceVersion", None))
        return self._write(resource, name, _merge(old, change))

    async def delete(self, resource: Resource[T], name: str, *, uid: str = "", resource_version: str = "") -> T | None:
        """As Client; finalizers hold nothing up."""
        await self._begin("delete", name)
        old = self._find(resource, name)
        _check(old, resource_version)
        if uid and uid != old["metadata"]["uid"]:
            raise Conflict(409, "Conflict", "the UID in the precondition is another one")
        self.api.remove(resource.path(), name)
        self._lose_answer()
        return None

    async def pages(
        self, resource: Resource[T], *, label_selector: str = "", field_selector: str = "", limit: int = 500
    ) -> AsyncGenerator[Page[T], None]:
        """As Client, without selectors."""
        await self._begin("list", str(limit))
        items = [
            _decode(resource, body) for (base, _), body in sorted(self.api.objects.items()) if base == resource.path()
        ]
        version = str(self.api.version)
        size = limit or max(len(items), 1)
        for start in range(0, max(len(items), 1), size):
            if start:
                await self._begin("list", "continue")
                await asyncio.sleep(0)
            yield Page(items[start : start + size], version)

    async def watch(
        self,
        resource: Resource[T],
        *,
        resource_version: str,
        field_selector: str = "",
        label_selector: str = "",
        timeout_seconds: int,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """As Client, without selectors and without an end."""
        await self._begin("watch", resource_version)
        opened()
        async for version, kind, body in self.api.changes(resource.path(), int(resource_version)):
            item = None if body is None else _decode(resource, body)
            yield WatchEvent(kind, item, str(version))  # type: ignore[arg-type]

    async def _begin(self, verb: str, name: str) -> None:
        self.api.log.append((verb, name))
        if self.fault is not None:
            await self.fault(verb, name)

    def _find(self, resource: Resource[T], name: str) -> Body:
        body = self.api.objects.get((resource.path(), name))
        if body is None:
            raise NotFound(404, "NotFound", f"{resource} {name} not found")
        return body

    def _write(self, resource: Resource[T], name: str, body: Body) -> T:
        written = self.api.write(resource.path(), name, body)
        self._lose_answer()
        return _decode(resource, written)

    def _lose_answer(self) -> None:
        if self.lose_answer:
            self.lose_answer = False
            raise Unavailable(0, "Timeout", "the answer was lost")


def _decode(resource: Resource[T], body: Body) -> T:
    return codec_for(resource).object(json.dumps(body).encode())


def _check(old: Body, version: str | None) -> None:
    if version and version != old["metadata"]["resourceVersion"]:
        raise Conflict(409, "Conflict", "the object has been modified")


def _merge(old: Body, change: Body) -> Body:
    """RFC 7386."""
    merged = copy.deepcopy(old)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            held = merged.get(key)
            merged[key] = _merge(held if isinstance(held, dict) else {}, value)
        else:
            merged[key] = value
    return merged
