"""Who plays ``a[1]``: binds the machines of a trace to instances that a provider really lists.

A provider may rename an instance (a pending id becomes the cloud's id) and has instances of its own from before the
trace. So a part goes to the first new instance that has none yet, stays with it while it is listed or after the trace
deleted it, and passes on only when it vanished otherwise. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nodeset_provider.protocol import externalgrpc_pb2 as pb

_DELETING: Final = pb.InstanceStatus.InstanceState.instanceDeleting


class Cast:
    """The parts of one group during one trace."""

    def __init__(self, extras: Iterable[str]) -> None:
        self._extras = frozenset(extras)
        self._listed: dict[str, pb.Instance] = {}
        self._parts: dict[int, str] = {}
        self._deleted: set[str] = set()

    def see(self, instances: Iterable[pb.Instance]) -> None:
        """Takes note of a NodeGroupNodes answer."""
        self._listed = {instance.id: instance for instance in instances}

    def deleted(self, ids: Iterable[str]) -> None:
        """The trace had these deleted: they keep their parts, so that it can speak of them again."""
        self._deleted.update(ids)

    def who(self, number: int) -> str | None:
        """Instance id in the part, bound now if need be; None while there is nobody to play it."""
        bound = self._parts.get(number)
        if bound is not None and (bound in self._listed or bound in self._deleted):
            return bound
        taken = set(self._parts.values())
        for id_, instance in self._listed.items():
            free = id_ not in self._extras and id_ not in taken and id_ not in self._deleted
            if free and instance.status.instanceState != _DELETING:
                self._parts[number] = id_
                return id_
        return None

    def instance(self, id_: str) -> pb.Instance | None:
        """The instance as last listed."""
        return self._listed.get(id_)

    def made(self) -> list[str]:
        """Ids that came during the trace and are not being deleted."""
        return [
            id_
            for id_, instance in self._listed.items()
            if id_ not in self._extras and instance.status.instanceState != _DELETING
        ]
