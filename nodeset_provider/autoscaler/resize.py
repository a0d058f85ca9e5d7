"""Writes one decision about a NodeSet's size: a patch with a resourceVersion precondition, persisted before it returns.

Conflicts are decided again on the fresh object. When the API server's answer is lost, nobody knows whether the write
took effect; ``metadata.generation`` (which counts changes of the spec and nothing else) tells in almost every case, and
where it does not the caller is told so instead of a guess: the size never changes twice for one request.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
import structlog

from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler.groups import require_group
from nodeset_provider.autoscaler.sizing import Resize
from nodeset_provider.autoscaler.statuses import Refused, unavailable
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.errors import Conflict, NotFound, Unavailable
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import NODE_SETS

log = structlog.get_logger(__name__)

ATTEMPTS: Final = 10
LOST_ANSWERS: Final = 2
"""So often is the same write sent again when the API server does not answer; then the caller hears of it."""

Decide = Callable[[NodeSet], Awaitable[Resize | None]]
"""Given a version of the NodeSet: the change, None where none is needed any more; raises Refused."""


class _Effect(enum.Enum):
    """What became of a write whose answer was lost, judged by a later version of the object."""

    HAPPENED = enum.auto()
    CANNOT_HAPPEN = enum.auto()
    """Or has happened and deciding again will find that there is nothing left to do."""
    OPEN = enum.auto()


class Resizer:
    """One change at a time for each group; groups do not wait for each other."""

    def __init__(self, client: Client, node_sets: Informer[NodeSet]) -> None:
        self._client = client
        self._node_sets = node_sets
        self._locks: dict[str, asyncio.Lock] = {}
        self._unsettled: set[str] = set()
        """Groups whose last change ended without a certain answer: the cache may not know of it, and a repetition that
        looks just like it must not take it for its own."""

    async def resize(
        self, group: str, decide: Decide, *, repeatable: bool = False, fresh: bool = False
    ) -> Resize | None:
        """Apply what ``decide`` says and return it, None where nothing had to change.

        ``repeatable``: deciding again after the change took effect says None, so that doubt needs no answer.
        ``fresh``: decide on what the API server holds and not on the cache. A change made on an old version is refused
        by its precondition; a decision to change *nothing* is not, so one that rests on the size needs this.
        Raises Refused (from ``decide``, or when the effect is unknown) and ApiError.
        """
        require_group(self._node_sets.get(group), group)  # so that a name from outside never makes a lock
        async with self._locks.setdefault(group, asyncio.Lock()):
            node_set, _ = require_group(self._node_sets.get(group), group)
            if fresh or group in self._unsettled:
                node_set = await self._fresh(node_set)
            self._unsettled.add(group)
            change = await self._resize(node_set, decide, repeatable=repeatable)
            self._unsettled.discard(group)
            return change

    async def _resize(self, node_set: NodeSet, decide: Decide, *, repeatable: bool) -> Resize | None:
        group = node_set.metadata.name
        doubt: Resize | None = None
        """Sent for exactly this version of the NodeSet; the answer was lost and it may still arrive."""
        lost = 0
        for _ in range(ATTEMPTS):
            change = doubt or await decide(node_set)
            if change is None:
                return None
            before = node_set
            try:
                answer = await self._client.patch(NODE_SETS, group, change.patch(before))
            except Conflict:
                node_set = await self._fresh(before)
            except Unavailable:
                lost += 1
                if lost > LOST_ANSWERS:
                    raise
                doubt = change
                node_set = await self._fresh(before)
            else:
                self._observe(before, answer)
                return change
            if doubt is None:
                continue
            effect = _judge(before, doubt, node_set, repeatable=repeatable)
            if effect is _Effect.HAPPENED:
                self._observe(before, node_set)
                return doubt
            if effect is _Effect.CANNOT_HAPPEN:
                doubt = None
        raise Refused(grpc.StatusCode.ABORTED, f"NodeSet {group!r} kept changing while its size was written; ask again")

    async def _fresh(self, before: NodeSet) -> NodeSet:
        """The NodeSet as it is now; a successor of the same name counts as gone."""
        fresh = await self._client.get(NODE_SETS, before.metadata.name)
        if fresh.metadata.uid != before.metadata.uid:
            raise NotFound(404, "NotFound", f"NodeSet {before.metadata.name!r} was deleted and made again")
        self._node_sets.observe(fresh)
        return fresh

    def _observe(self, before: NodeSet, after: NodeSet) -> None:
        """The next decision, and the next TargetSize, sees the change before the watch brings it."""
        self._node_sets.observe(after)
        log.info(
            "group resized",
            node_set=after.metadata.name,
            before=before.spec.replicas,
            after=after.spec.replicas,
            remove_first=after.spec.remove_first,
        )


def _judge(before: NodeSet, change: Resize, fresh: NodeSet, *, repeatable: bool) -> _Effect:
    """Whether ``change``, sent for the version ``before``, is in ``fresh``; raises Refused where nothing tells."""
    if fresh.metadata.resource_version == before.metadata.resource_version:
        return _Effect.OPEN  # it may still arrive; the same change for the same version can be sent again
    # From here on the precondition no longer holds: what has not happened cannot happen any more.
    spec_changes = fresh.metadata.generation - before.metadata.generation
    if spec_changes == 1 and change.is_in(fresh):
        return _Effect.HAPPENED
    if spec_changes <= 1 or repeatable:
        return _Effect.CANNOT_HAPPEN
    raise unavailable(
        f"the API server's answer was lost and NodeSet {before.metadata.name!r} has changed since: whether the new size"
        " took effect is unknown; read the target size"
    )
