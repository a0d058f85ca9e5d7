"""What the stand-in knows of node groups: one look at them all, and what it remembers between looks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.autoscale.kinds import Node

_State: Final = pb.InstanceStatus.InstanceState

STARTUP_LIMIT: Final = timedelta(minutes=15)
"""A node that is not usable counts as on its way for this long after its creation, then as broken."""


@dataclass(frozen=True, slots=True)
class View:
    """One group at one moment. ``nodes``: its Nodes that are registered and not going."""

    id: str
    minimum: int
    maximum: int
    target: int
    instances: tuple[pb.Instance, ...] = ()
    nodes: tuple[Node, ...] = ()

    @property
    def live(self) -> list[pb.Instance]:
        """Instances that are not being deleted."""
        return [it for it in self.instances if it.status.instanceState != _State.instanceDeleting]

    @property
    def failed(self) -> list[pb.Instance]:
        """Instances whose creation failed: Creating, with an error."""
        return [
            it
            for it in self.live
            if it.status.instanceState == _State.instanceCreating and it.status.errorInfo.errorCode
        ]

    def unregistered(self, registered: frozenset[str]) -> list[pb.Instance]:
        """Instances without an error whose Node has not come (``registered``: provider ids of all Nodes)."""
        failed = {it.id for it in self.failed}
        return [it for it in self.live if it.id not in failed and it.id not in registered]

    def upcoming(self, now: datetime, *, written_off: int = 0) -> int:
        """Nodes that the group will have beside those in use now: asked for, booting, starting.

        ``written_off``: instances that are counted in the target and will never come.
        """
        here = sum(1 for node in self.nodes if node.usable or _broken(node, now))
        return max(0, self.target - here - written_off)


def _broken(node: Node, now: datetime) -> bool:
    made = node.metadata.creation_timestamp
    return not node.usable and made is not None and now - made > STARTUP_LIMIT


@dataclass(slots=True)
class Backoff:
    """Which groups are left alone after a failure, and until when (seconds of the caller's clock)."""

    initial: float
    maximum: float
    _until: dict[str, float] = field(default_factory=dict)
    _length: dict[str, float] = field(default_factory=dict)

    def fail(self, group: str, now: float) -> float:
        """Backs the group off, twice as long as the last time; returns for how many seconds.

        A failure while the group is backed off already (several machines of one scale-up) makes it no longer.
        """
        if self.blocked(group, now):
            return self._until[group] - now
        length = min(self.maximum, self._length[group] * 2) if group in self._length else self.initial
        self._length[group] = length
        self._until[group] = now + length
        return length

    def blocked(self, group: str, now: float) -> bool:
        """Whether the group is not to be grown now."""
        return now < self._until.get(group, now)

    def succeed(self, group: str) -> None:
        """Its machines came: the next failure begins with the shortest back-off again."""
        self._until.pop(group, None)
        self._length.pop(group, None)


@dataclass(slots=True)
class Since:
    """Since when something has been so, without a break."""

    _since: dict[str, float] = field(default_factory=dict)

    def update(self, names: Iterable[str], now: float) -> Mapping[str, float]:
        """Takes who is so now; returns name → seconds that it has been so."""
        self._since = {name: self._since.get(name, now) for name in names}
        return {name: now - since for name, since in self._since.items()}
