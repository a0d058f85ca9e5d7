"""Whoever no longer leads sends nothing any more: asked right before each write and each call that makes or takes.

A process that was held up (suspended, starved, a blocked loop) goes on where it stopped, and somebody else may have
been leading for minutes by then. Its queued requests must not follow.
"""

from __future__ import annotations

from collections.abc import Callable

from nodeset_provider.kube.errors import ApiError

MayAct = Callable[[], bool]
"""Whether this process leads at this very moment."""


class NotLeading(ApiError):
    """Nothing was sent, neither to the API server nor to a cloud."""

    def __init__(self) -> None:
        super().__init__(0, "NotLeading", "this process no longer leads, or has not renewed its Lease in time")


def check(may_act: MayAct) -> None:
    """Raises NotLeading."""
    if not may_act():
        raise NotLeading
