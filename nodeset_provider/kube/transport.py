"""HTTP to the API server: connections, time-outs, error mapping, metrics. Bytes in, bytes out; knows no kind.

No request is repeated here, except one that the server refused with 401 (and therefore did not execute) after the
credential was renewed, and a read on a kept-alive connection that the server had closed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import aiohttp

from nodeset_provider.kube import metrics
from nodeset_provider.kube.credentials import Credentials
from nodeset_provider.kube.errors import Unauthorized, Unavailable, from_answer

REQUEST_TIMEOUT = 30.0
"""Seconds for one request and its answer. The API server gives up on its own after 60."""
CONNECT_TIMEOUT = 10.0
REQUEST_CONNECTIONS = 64
"""Parallel requests; more wait in line. Watches have connections of their own, so that neither starves the other."""
RESERVED = frozenset({"leases"})
"""Resources (plural) whose requests wait in no line: a leader whose renewal stood behind its own work would lose it."""
RESERVED_CONNECTIONS = 2
"""A renewal, and the release at the end."""
WATCH_GRACE = 15.0
"""Seconds that a watch may outlive the time that the server was asked to end it after."""
KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 50_000))
"""A peer that vanished without a word is noticed in under a minute (HTTP/2 pings do this for client-go)."""

try:
    _VERSION = version("nodeset-provider")
except PackageNotFoundError:  # pragma: no cover - a source tree that was never installed
    _VERSION = "0"

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request; ``verb`` and ``resource`` are for the metrics, ``timeout`` is in seconds for all of it."""

    verb: str
    resource: str
    method: str
    path: str
    query: Query | None = None
    body: bytes | None = None
    content_type: str = "application/json"
    timeout: float = REQUEST_TIMEOUT


class _Pool:
    """At most ``limit`` parallel requests, on connections of their own."""

    def __init__(self, tls: ssl.SSLContext, headers: Mapping[str, str], *, limit: int) -> None:
        self._connector = _connector(tls, limit=limit)
        self._reader = aiohttp.ClientSession(connector=self._connector, headers=headers, connector_owner=False)
        self._writer = aiohttp.ClientSession(connector=self._connector, headers=headers, connector_owner=False)
        # aiohttp repeats PUT and DELETE on its own when a kept-alive connection turns out to be closed. Whether the
        # first one took effect is then unknown, and the answer to the second would hide that.
        self._writer._retry_connection = False  # noqa: SLF001 - there is no public switch; a test watches over it

    def session(self, method: str) -> aiohttp.ClientSession:
        """For a request with that HTTP method."""
        return self._reader if method == "GET" else self._writer

    async def close(self) -> None:
        """Close every connection."""
        await self._reader.close()
        await self._writer.close()
        await self._connector.close()


class Transport:
    """The connections to one API server. To be made inside the running loop and closed there."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        headers = {
            "User-Agent": f"nodeset-provider/{_VERSION}",  # its first part becomes the field manager
            "Accept": "application/json",
            # Between cluster neighbours gzip costs both sides more time than the bytes it saves.
            "Accept-Encoding": "identity",
        }
        self._requests = _Pool(credentials.tls, headers, limit=REQUEST_CONNECTIONS)
        self._reserved = _Pool(credentials.tls, headers, limit=RESERVED_CONNECTIONS)
        self._watches = _connector(credentials.tls, limit=0)
        self._watcher = aiohttp.ClientSession(connector=self._watches, headers=headers, connector_owner=False)

    async def close(self) -> None:
        """Close every connection; running requests fail."""
        await self._requests.close()
        await self._reserved.close()
        await self._watcher.close()
        await self._watches.close()

    async def request(
        self,
        verb: str,
        resource: str,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float = REQUEST_TIMEOUT,  # noqa: ASYNC109 - it is part of the request, not a scope around it
    ) -> bytes:
        """Send one request and read the whole answer.

        ``verb`` and ``resource`` are for the metrics; ``resource`` also says whether it may stand in line.

        Raises the ApiError that fits.
        """
        pool = self._reserved if resource in RESERVED else self._requests
        session = pool.session(method)
        exchange = _Exchange(verb, resource, method, path, query, body, content_type, timeout)
        for last in (False, True):
            try:
                async with self._send(session, exchange) as answer:
                    return await answer.read()
            except Unauthorized:
                if last or not await self._credentials.renew():
                    raise
        raise AssertionError  # pragma: no cover - the second turn returns or raises

    async def stream(
        self,
        verb: str,
        resource: str,
        path: str,
        *,
        query: Query,
        timeout_seconds: float,
        opened: Callable[[], None],
    ) -> AsyncGenerator[bytes, None]:
        """GET and yield chunks of the answer as they arrive. Raises the ApiError that fits, also in mid-stream.

        ``opened`` is called when the server has said 2xx; its first chunk may be a long time in coming.
        """
        exchange = _Exchange(verb, resource, "GET", path, query, timeout=timeout_seconds + WATCH_GRACE)
        for last in (False, True):
            try:
                async with self._send(self._watcher, exchange) as answer:
                    opened()
                    async for chunk in answer.content.iter_any():
                        yield chunk
                    return
            except Unauthorized:
                if last or not await self._credentials.renew():
                    raise

    @asynccontextmanager
    async def _send(
        self, session: aiohttp.ClientSession, exchange: _Exchange
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """One exchange: yields an answer that is 2xx, turns everything else into an ApiError, counts it."""
        verb, resource, method, path = exchange.verb, exchange.resource, exchange.method, exchange.path
        headers = {"Content-Type": exchange.content_type} if exchange.body is not None else {}
        authorization = await self._credentials.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        started = time.perf_counter()
        code = "0"
        try:
            async with session.request(
                method,
                self._credentials.server + path,
                params=exchange.query,
                data=exchange.body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=exchange.timeout, sock_connect=CONNECT_TIMEOUT),
                allow_redirects=False,
                proxy=self._credentials.proxy,
                server_hostname=self._credentials.tls_server_name,
            ) as answer:
                code = str(answer.status)
                if not 200 <= answer.status < 300:  # noqa: PLR2004 - the 2xx
                    raise from_answer(
                        answer.status, answer.reason or "", await answer.read(), answer.headers.get("Retry-After")
                    )
                if verb == "watch":
                    metrics.REQUEST_SECONDS.labels(verb, resource).observe(time.perf_counter() - started)
                yield answer
        except asyncio.TimeoutError as error:  # noqa: UP041 - aiohttp's time-outs are subclasses of both
            raise Unavailable(0, "Timeout", f"{method} {path}: no answer within {exchange.timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(0, type(error).__name__, f"{method} {path}: {error}") from error
        finally:
            metrics.REQUESTS.labels(verb, resource, code).inc()
            if verb != "watch":
                metrics.REQUEST_SECONDS.labels(verb, resource).observe(time.perf_counter() - started)


def _connector(tls: ssl.SSLContext, *, limit: int) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(ssl=tls, limit=limit, keepalive_timeout=60, socket_factory=_socket)


def _socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):  # other systems know other names
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
