"""Which gRPC status a refusal has. The autoscaler never sees INTERNAL, UNKNOWN or a traceback.

INVALID_ARGUMENT     can never work: unreadable, an empty id, a delta of the wrong sign, a node of another group
NOT_FOUND            no such group; no node of the request is or was ours
OUT_OF_RANGE         beyond maxReplicas (never truncated)
FAILED_PRECONDITION  the NodeSet has no price; the API server's validation refuses the change
UNIMPLEMENTED        the group has no template yet (:mod:`.templates` says why not FAILED_PRECONDITION)
ABORTED              too many others change the NodeSet at the same time
PERMISSION_DENIED    the API server refuses the provider itself
UNAVAILABLE          caches not filled yet or too old, API server out of reach, or the effect of a write unknown
DEADLINE_EXCEEDED    the caller's time is over
"""

from __future__ import annotations

import grpc

from nodeset_provider.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unauthorized


class Refused(Exception):
    """The request is answered with ``code`` and ``message`` instead of a response."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> Refused:
    """The request itself is wrong."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> Refused:
    """What the request names is not there."""
    return Refused(grpc.StatusCode.NOT_FOUND, message)


def unavailable(message: str) -> Refused:
    """It may work later."""
    return Refused(grpc.StatusCode.UNAVAILABLE, message)


_BY_ERROR: dict[type[ApiError], tuple[grpc.StatusCode, str]] = {
    NotFound: (grpc.StatusCode.NOT_FOUND, "the NodeSet is gone"),
    Conflict: (grpc.StatusCode.ABORTED, "the NodeSet kept changing"),
    Invalid: (grpc.StatusCode.FAILED_PRECONDITION, "the API server's validation refuses the change"),
    Forbidden: (grpc.StatusCode.PERMISSION_DENIED, "the provider's own role in Kubernetes lacks a right"),
    Unauthorized: (grpc.StatusCode.PERMISSION_DENIED, "the API server does not accept the provider's own credentials"),
}


def of_api_error(error: ApiError) -> Refused:
    """What the autoscaler is told when the API server said no, or nothing."""
    code, why = _BY_ERROR.get(
        type(error), (grpc.StatusCode.UNAVAILABLE, "the API server did not answer as it should; ask again")
    )
    return Refused(code, f"{why}: {error.message}")
