"""One HTTP call to the simulated cloud, and the one place where its errors become the driver's closed set.

May touch: the network. Keeps one connection pool, opened at the first call in the loop that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from nodeset_driver_simulated.config import Credentials
from nodeset_driver_simulated.wire import ErrorAnswer, ErrorBody
from nodeset_provider.driverkit.errors import (
    DriverError,
    InsufficientCapacity,
    InvalidSpec,
    NotFound,
    QuotaExceeded,
    Throttled,
    Transient,
    Unauthorized,
)

T = TypeVar("T")
_OK = range(200, 300)
_DEFAULT_RETRY_AFTER = 1.0
_CONNECTIONS = 64


class ParameterMismatch(Exception):
    """The token has a machine that was asked for with other parameters. Never leaves the driver."""


class Transport:
    """Calls to one account. ``timeout`` seconds bound each call, connecting included."""

    def __init__(self, credentials: Credentials, *, timeout: float) -> None:
        self._base = URL(credentials.endpoint)
        self._authorization = f"Bearer {credentials.token}"
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self, type_: type[T], method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> T:
        """The decoded answer. Raises a DriverError, or ParameterMismatch; whatever is unclear is Transient."""
        try:
            async with self._open().request(
                method,
                self._base.joinpath(*path.strip("/").split("/")),
                params=query,
                data=None if body is None else msgspec.json.encode(body),
                allow_redirects=False,
            ) as response:
                content = await response.read()
        except TimeoutError:
            raise Transient(f"the simulated cloud did not answer {method} {path} in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Transient(f"{method} {path} of the simulated cloud: {_short(error)}") from None
        if response.status not in _OK:
            raise _error(response.status, response.headers.get("Retry-After", ""), content)
        try:
            return msgspec.json.decode(content or b"null", type=type_)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Transient(f"the answer to {method} {path} is not what a simulated cloud says") from None

    async def close(self) -> None:
        """Close the connections; the next call would open new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                headers={"Authorization": self._authorization, "Content-Type": "application/json"},
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _error(status: int, retry_after: str, content: bytes) -> DriverError | ParameterMismatch:
    """The error for an answer. Only a body in the cloud's own words decides anything; the rest is Transient."""
    try:
        body = msgspec.json.decode(content, type=ErrorAnswer).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Transient(f"HTTP {status} without an error of the simulated cloud in it")
    make = _ERRORS.get(body.code)
    return make(body, retry_after) if make else Transient(f"{body.code}: {body.message}")


_CONFIG_FIELD = {"type": "instanceType"}
"""Where the cloud's word for a key is not the config's."""


def _with_known(body: ErrorBody) -> str:
    return f"{body.message}; known are {', '.join(body.known)}" if body.known else body.message


def _seconds(retry_after: str) -> float:
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return _DEFAULT_RETRY_AFTER


def _short(error: BaseException) -> str:
    return str(error) or type(error).__name__


_ERRORS: Mapping[str, Callable[[ErrorBody, str], DriverError | ParameterMismatch]] = {
    "IdempotentParameterMismatch": lambda body, _: ParameterMismatch(body.message),
    "InstanceNotFound": lambda body, _: NotFound(body.message),
    "DiskNotFound": lambda body, _: NotFound(body.message),
    "InsufficientCapacity": lambda body, _: InsufficientCapacity(body.message),
    "QuotaExceeded": lambda body, _: QuotaExceeded(body.message),
    "TypeNotFound": lambda body, _: InvalidSpec(_with_known(body), field="instanceType"),
    "InvalidParameter": lambda body, _: InvalidSpec(_with_known(body), field=_CONFIG_FIELD.get(body.field, body.field)),
    "Unauthorized": lambda *_: Unauthorized("the simulated cloud refuses the token of the credentials Secret"),
    "TooManyRequests": lambda body, retry_after: Throttled(body.message, retry_after=_seconds(retry_after)),
}
"""What each word of the cloud means. A code that is not here (InternalError, …) says nothing about the effect."""
