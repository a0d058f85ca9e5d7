"""Typed requests to the API server: JSON by msgspec over :mod:`.transport`.

Answers are decoded straight into projections; what a projection does not name is skipped by the decoder and never
becomes a Python object. Bodies are Structs or dicts. Nothing is cached and nothing is repeated here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Generic, Literal

import msgspec

from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock
from nodeset_provider.kube.codec import Codec, codec_for, encode
from nodeset_provider.kube.credentials import Credentials
from nodeset_provider.kube.errors import Expired, Unreadable, from_status
from nodeset_provider.kube.resources import Resource, T
from nodeset_provider.kube.transport import Transport

MERGE_PATCH = "application/merge-patch+json"
LIST_TIMEOUT = 60.0
LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one watch event; etcd itself refuses objects far smaller."""

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


def _nothing() -> None:
    """Nobody wants to know."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of the objects of a list. All pages of one list show the state at the same ``resource_version``.

    ``unreadable`` are the keys of objects that are there but do not fit the type.
    """

    items: list[T]
    resource_version: str
    unreadable: list[str] = []


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """One change. ``object`` is None for a BOOKMARK, which says only how far the watch has come.

    An object that does not fit the type is reported with ``object`` None and its key in ``unreadable``.
    """

    type: EventType
    object: T | None
    resource_version: str
    unreadable: str = ""


class Client:
    """One API server as one user. Made by :meth:`connect` in the running loop, closed by :meth:`close`."""

    def __init__(self, credentials: Credentials) -> None:
        self.server = credentials.server
        self.ca_bundle = credentials.ca_bundle
        self._transport = Transport(credentials)

    @classmethod
    async def connect(
        cls, *, kubeconfig: str | None = None, context: str | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> Client:
        """By kubeconfig (argument, $KUBECONFIG, ~/.kube/config) or else by the Pod's service account.

        Raises ConfigurationError. Sends nothing yet.
        """
        return cls(await Credentials.load(kubeconfig=kubeconfig, context=context, clock=clock))

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def get(self, resource: Resource[T], name: str) -> T:
        """One object, as it is now (a read from etcd, not from the server's cache)."""
        answer = await self._transport.request("get", resource.plural, "GET", resource.path(_named(name)))
        return codec_for(resource).object(answer)

    async def pages(
        self, resource: Resource[T], *, label_selector: str = "", field_selector: str = "", limit: int = 500
    ) -> AsyncGenerator[Page[T], None]:
        """A consistent list, ``limit`` objects at a time (0: all at once).

        Raises Expired when reading took longer than the server keeps history (5 minutes): begin again.
        """
        codec = codec_for(resource)
        query = _selectors(label_selector, field_selector)
        if limit:
            query["limit"] = str(limit)
        while True:
            answer = await self._transport.request(
                "list", resource.plural, "GET", resource.path(), query=query, timeout=LIST_TIMEOUT
            )
            listed = codec.list(answer)
            del answer  # 4 MB for 500 Nodes, which would otherwise live as long as the consumer takes
            yield Page(listed.items, listed.resource_version, listed.unreadable)
            if not listed.proceed:
                return
            query["continue"] = listed.proceed

    async def watch(
        self,
        resource: Resource[T],
        *,
        resource_version: str,
        field_selector: str = "",
        label_selector: str = "",
        timeout_seconds: int,
        opened: Callable[[], None] = _nothing,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Changes after ``resource_version``, with bookmarks; ends when the server ends it.

        ``opened`` is called when the server has accepted the watch, which may be long before there is an event.

        Raises Expired where that version is too old, Unavailable where the connection breaks (also in the middle of
        a line), and the ApiError of an ERROR event.
        """
        query = _selectors(label_selector, field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        codec = codec_for(resource)
        chunks = self._transport.stream(
            "watch", resource.plural, resource.path(), query=query, timeout_seconds=timeout_seconds, opened=opened
        )
        async with aclosing(chunks), aclosing(_lines(chunks)) as lines:
            async for line in lines:
                yield _event(codec, line)

    async def create(self, resource: Resource[T], body: object, *, subresource: str = "", name: str = "") -> T:
        """POST. ``body`` is a Struct or a dict; apiVersion and kind are filled in from the resource.

        Raises AlreadyExists, Invalid, Forbidden, Unavailable (then it may exist nevertheless), …
        """
        answer = await self._transport.request(
            "create", resource.plural, "POST", resource.path(name, subresource), body=encode(resource, body)
        )
        return codec_for(resource).object(answer)

    async def patch(self, resource: Resource[T], name: str, body: object, *, subresource: str = "") -> T:
        """JSON merge patch (RFC 7386): None deletes a key, lists are replaced as a whole.

        With ``metadata.resourceVersion`` in the body it takes effect only on that version, else Conflict.
        """
        answer = await self._transport.request(
            "patch",
            resource.plural,
            "PATCH",
            resource.path(_named(name), subresource),
            body=msgspec.json.encode(body),
            content_type=MERGE_PATCH,
        )
        return codec_for(resource).object(answer)

    async def replace(self, resource: Resource[T], name: str, body: object, *, subresource: str = "") -> T:
        """PUT. Only for objects that are ours as a whole: a field that the body does not hold is lost."""
        answer = await self._transport.request(
            "update",
            resource.plural,
            "PUT",
            resource.path(_named(name), subresource),
            body=encode(resource, body),
        )
        return codec_for(resource).object(answer)

    async def delete(self, resource: Resource[T], name: str, *, uid: str = "", resource_version: str = "") -> T | None:
        """DELETE, only that incarnation and only that version where given (else Conflict).

        Returns the object where it goes on to exist until its finalizers are done, None where the server sent a Status.
        """
        preconditions: dict[str, str] = {}
        if uid:
            preconditions["uid"] = uid
        if resource_version:
            preconditions["resourceVersion"] = resource_version
        options: Mapping[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        answer = await self._transport.request(
            "delete",
            resource.plural,
            "DELETE",
            resource.path(_named(name)),
            body=msgspec.json.encode(options) if preconditions else None,
        )
        return codec_for(resource).object_or_status(answer)


def _named(name: str) -> str:
    """Guard: an empty name would turn a request about one object into one about the whole collection."""
    if not name:
        raise ValueError("the object's name is empty")
    return name


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    query: dict[str, str] = {}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return query


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Whole lines.

    What comes after the last newline is half an event and is dropped: the watch is resumed before it.
    """
    rest: list[bytes] = []
    size = 0
    async for chunk in chunks:
        *complete, tail = chunk.split(b"\n")
        for part in complete:
            rest.append(part)
            line = b"".join(rest)
            rest.clear()
            size = 0
            if line:
                yield line
        if tail:
            rest.append(tail)
            size += len(tail)
            if size > LINE_LIMIT:
                raise Unreadable(200, "LineTooLong", f"a watch event of more than {LINE_LIMIT} bytes")


def _event(codec: Codec[T], line: bytes) -> WatchEvent[T]:
    kind, raw = codec.event(line)
    if kind == "ERROR":
        error = from_status(codec.status(raw))
        if error.reason in {"Expired", "Gone"} and not isinstance(error, Expired):
            raise Expired(error.status, error.reason, error.message)
        raise error
    if kind == "BOOKMARK":
        return WatchEvent("BOOKMARK", None, codec.metadata(raw).resource_version)
    if kind not in {"ADDED", "MODIFIED", "DELETED"}:
        raise Unreadable(200, "UnknownEvent", f"a watch event of the unknown type {kind!r}")
    change: EventType = kind  # type: ignore[assignment]
    decoded = codec.try_object(raw)
    if decoded is None:
        metadata = codec.metadata(raw)
        return WatchEvent(change, None, metadata.resource_version, codec.resource.key(metadata))
    return WatchEvent(change, decoded, decoded.metadata.resource_version)
