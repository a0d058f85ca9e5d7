"""The Kubernetes API as a booting kubelet uses it: plain HTTPS, four calls.

May touch: the network, and for an instant a temporary file (OpenSSL reads a client's key from nowhere else). One pool
of connections serves the bootstrap phase of all machines of one cluster, since a token is only a header; the node phase
has a connection per machine, since a client certificate is the connection's, and closes it.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

from nodeset_driver_simulated.boot.certificate import Request
from nodeset_driver_simulated.boot.errors import BootError
from nodeset_driver_simulated.boot.join import Join

T = TypeVar("T")
_CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_NODES = "/api/v1/nodes"
_OK = range(200, 300)
_NOT_FOUND, _CONFLICT = 404, 409
_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=30)
_BOOTSTRAP_CONNECTIONS = 16
_NODE_PHASES = 16
_JSON = {"Content-Type": "application/json"}
_PATCH = {"Content-Type": "application/strategic-merge-patch+json", "Connection": "close"}
_KEPT_CONTEXTS = 32


class ApiRefused(Exception):
    """The API server answered, and not with what a kubelet needs; later it may."""


class _Condition(msgspec.Struct, frozen=True):
    type: str
    message: str = ""
    reason: str = ""


class _CsrStatus(msgspec.Struct, frozen=True):
    certificate: str = ""
    conditions: list[_Condition] = []


class _Csr(msgspec.Struct, frozen=True):
    status: _CsrStatus = _CsrStatus()


class _Status(msgspec.Struct, frozen=True):
    message: str = ""


class ApiServers:
    """Calls to the API servers of all clusters that machines join."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=_BOOTSTRAP_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMEOUT,
            headers={"User-Agent": "simulated-kubelet", "Accept": "application/json"},
        )
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._node_phases = asyncio.Semaphore(_NODE_PHASES)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def post_csr(self, join: Join, request: Request) -> None:
        """Ask for the certificate; to have asked already is as good."""
        status, content = await self._bootstrap(join, "POST", _CSRS, request.body)
        if status not in _OK and status != _CONFLICT:
            raise _refused("certificate request", status, content)

    async def certificate(self, join: Join, request: Request) -> bytes | None:
        """The certificate as PEM, None while it is not there. Raises BootError where there will be none."""
        status, content = await self._bootstrap(join, "GET", f"{_CSRS}/{request.name}", None)
        if status == _NOT_FOUND:
            await self.post_csr(join, request)
            return None
        if status not in _OK:
            raise _refused("certificate request", status, content)
        found = _decode(content, _Csr).status
        for condition in found.conditions:
            if condition.type in {"Denied", "Failed"}:
                raise BootError(
                    f"kubelet: certificate request {request.name} is {condition.type}: "
                    f"{condition.reason} {condition.message}".rstrip()
                )
        return base64.b64decode(found.certificate) if found.certificate else None

    async def register(
        self,
        join: Join,
        certificate: bytes,
        key_pem: bytes,
        *,
        node: Mapping[str, Any],
        existing: Mapping[str, Any],
        ready: Mapping[str, Any],
    ) -> None:
        """As the node: create its Node, or reconcile the one of that name with ``existing``; post the first status."""
        async with self._node_phases:
            context = _context(join.ca_pem)
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate + key_pem)
                file.flush()
                context.load_cert_chain(file.name)
            status, content = await self._call(context, "POST", join.server + _NODES, node, _JSON)
            path = f"{join.server}{_NODES}/{join.node_name}/status"
            if status == _CONFLICT:
                status, content = await self._call(context, "PATCH", path, existing, _PATCH)
            if status not in _OK:
                raise _refused("registration of the node", status, content)
            status, content = await self._call(context, "PATCH", path, ready, _PATCH)
            if status not in _OK:
                raise _refused("first status of the node", status, content)

    async def _bootstrap(self, join: Join, method: str, path: str, body: object) -> tuple[int, bytes]:
        context = self._contexts.get(join.ca_pem)
        if context is None:
            if len(self._contexts) >= _KEPT_CONTEXTS:
                self._contexts.clear()
            context = self._contexts[join.ca_pem] = _context(join.ca_pem)
        headers = {"Authorization": f"Bearer {join.token}", **_JSON}
        return await self._call(context, method, join.server + path, body, headers)

    async def _call(
        self, context: ssl.SSLContext, method: str, url: str, body: object, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        data = None if body is None else msgspec.json.encode(body)
        async with self._session.request(
            method, url, data=data, headers=headers, ssl=context, allow_redirects=False
        ) as response:
            return response.status, await response.read()


def _context(ca_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        raise BootError("kubelet: the certificate authority file holds no certificates") from None
    return context


def _refused(what: str, status: int, content: bytes) -> ApiRefused:
    try:
        message = _decode(content, _Status).message
    except ApiRefused:
        message = ""
    return ApiRefused(f"kubelet: {what}: the API server answers {status}: {message}")


def _decode(content: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ApiRefused("kubelet: what answers is not an API server") from None
