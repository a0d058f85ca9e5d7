"""Everything that a request to the API server may raise.

The tree::

    ApiError                  the server said no: ``status``, ``reason`` and ``message`` as in meta/v1 Status
    ├── NotFound              404
    ├── AlreadyExists         409 with reason AlreadyExists
    ├── Conflict              409 otherwise: the object changed since it was read, or a precondition does not hold
    ├── Forbidden             403: RBAC or an admission plug-in
    ├── Unauthorized          401
    ├── Invalid               400, 422: the request can never work as it is
    ├── Expired               410: this resourceVersion or continue token is too old, list again
    ├── TooManyRequests       429: again after ``retry_after`` seconds; the request was not executed
    ├── Unreadable            the answer is not what the kind promises; a write took effect nevertheless
    └── Unavailable           5xx, no connection, time-out: *nobody knows whether a write took effect*
    ConfigurationError        no usable kubeconfig and not in a cluster (raised only by ``Client.connect``)

Sources: apimachinery meta/v1 ``StatusReason`` and the API conventions, "Response Status Kind".
"""

from __future__ import annotations

import contextlib

import msgspec

SERVER_ERRORS = 500


class ApiError(Exception):
    """The server refused. ``status`` is the HTTP status (0 where there was no answer), ``reason`` the CamelCase one."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{message} ({status} {reason})" if status else message)
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(ApiError):
    """No such object, or no such kind."""


class AlreadyExists(ApiError):
    """An object of that name is there already."""


class Conflict(ApiError):
    """The object is no longer the one that was read: read it again and decide again."""


class Forbidden(ApiError):
    """We may not do that; the message names the user, the verb and the resource."""


class Unauthorized(ApiError):
    """The server does not know who we are."""


class Invalid(ApiError):
    """The request is wrong; the message names the field."""


class Expired(ApiError):
    """The resourceVersion or continue token has been compacted away."""


class TooManyRequests(ApiError):
    """Priority and fairness, or a disruption budget: again after ``retry_after`` seconds."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(status, reason, message)
        self.retry_after = retry_after


class Unreadable(ApiError):
    """The server's answer does not fit the type that was asked for."""


class Unavailable(ApiError):
    """No answer, or one that says that the server failed. A write may or may not have taken effect."""


class ConfigurationError(Exception):
    """There is no usable way to a cluster; the message says what was looked at."""


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: int | None = None


class Status(msgspec.Struct, frozen=True):
    """meta/v1 Status, as much of it as errors need."""

    kind: str = ""
    status: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
}
_MESSAGE_LIMIT = 2048
"""Characters of a foreign error page (a proxy's, say) that are worth keeping."""

_status_decoder = msgspec.json.Decoder(Status)


def from_answer(code: int, phrase: str, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error of an HTTP answer that is not 2xx; the body may be a Status or anything a proxy writes."""
    status = Status()
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        status = _status_decoder.decode(body)
    if status.kind != "Status":
        text = body.decode("utf-8", "replace").strip()
        status = Status(message=text[:_MESSAGE_LIMIT] or phrase, reason=phrase.replace(" ", ""))
    return _make(code, status, retry_after)


def from_status(status: Status) -> ApiError:
    """The error of a Status that came inside a 200 answer (the ERROR event of a watch)."""
    return _make(status.code or SERVER_ERRORS, status, None)


def _make(code: int, status: Status, retry_after: str | None) -> ApiError:
    message = status.message or status.reason or "the API server gave no message"
    if code == 429:  # noqa: PLR2004 - Too Many Requests, as in the table above
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
        if seconds is None and status.details is not None and status.details.retry_after_seconds:
            seconds = float(status.details.retry_after_seconds)
        return TooManyRequests(code, status.reason, message, retry_after=seconds or 1.0)
    if status.reason == "AlreadyExists":
        return AlreadyExists(code, status.reason, message)
    if code >= SERVER_ERRORS:
        return Unavailable(code, status.reason, message)
    return _BY_STATUS.get(code, ApiError)(code, status.reason, message)
