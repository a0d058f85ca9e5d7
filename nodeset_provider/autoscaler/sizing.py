"""Decides what one request of the autoscaler does to a NodeSet: a change of its spec, nothing, or a refusal. Pure.

Each decision is made on one version of the NodeSet and is written with that version as a precondition
(:mod:`.resize`), so two decisions never add up by accident.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import grpc

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler.groups import require_group, staying
from nodeset_provider.autoscaler.statuses import Refused, invalid

_INT32_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Resize:
    """What the spec becomes. ``remove_first`` None leaves the list alone."""

    replicas: int
    remove_first: tuple[str, ...] | None = None

    def patch(self, node_set: NodeSet) -> dict[str, Any]:
        """The merge patch, valid only for this version of the NodeSet."""
        spec: dict[str, Any] = {"replicas": self.replicas}
        if self.remove_first is not None:
            spec["removeFirst"] = list(self.remove_first)
        return {"metadata": {"resourceVersion": node_set.metadata.resource_version}, "spec": spec}

    def is_in(self, node_set: NodeSet) -> bool:
        """Whether the NodeSet's spec is what this change makes of it."""
        same = node_set.spec.replicas == self.replicas
        return same and (self.remove_first is None or tuple(node_set.spec.remove_first) == self.remove_first)


def increase(node_set: NodeSet, delta: int) -> Resize:
    """IncreaseSize: exactly ``delta`` more or a refusal, never less than was asked (contract §3)."""
    group, bounds = require_group(node_set, node_set.metadata.name)
    if delta <= 0:
        raise invalid(f"delta is {delta}: an increase takes 1 or more")
    wanted = group.spec.replicas + delta
    if wanted > min(bounds.max_replicas, _INT32_MAX):
        raise Refused(
            grpc.StatusCode.OUT_OF_RANGE,
            f"NodeSet {group.metadata.name!r} has {group.spec.replicas} replicas; {delta} more would be {wanted},"
            f" beyond its spec.autoscaling.maxReplicas of {bounds.max_replicas}",
        )
    return Resize(wanted)


def decrease(node_set: NodeSet, machines: Collection[Machine], delta: int) -> Resize | None:
    """DecreaseTargetSize: takes back what was asked for and is not there yet; deletes nothing.

    Clamped at the Machines that stay, and OK even where that leaves nothing to take back: an error would end the
    autoscaler's loop, and 1.36 sends it about one loop before it deletes the same stuck machine (contract §3).
    ``machines`` has to be what the API server holds *now*: a Machine that a cache has not seen would be deleted.
    """
    group, _ = require_group(node_set, node_set.metadata.name)
    if delta >= 0:
        raise invalid(f"delta is {delta}: a decrease takes -1 or less")
    wanted = max(group.spec.replicas + delta, staying(group, machines))
    return Resize(wanted) if wanted < group.spec.replicas else None


def restore(node_set: NodeSet, machines: Collection[Machine], lowered: int) -> Resize | None:
    """After slots were given back: take those again for which Machines had been made meanwhile; none is deleted.

    Where somebody else has set another size since, that stands.
    """
    wanted = staying(node_set, machines)
    return Resize(wanted) if node_set.spec.replicas == lowered < wanted else None


def remove(node_set: NodeSet, victims: Collection[str], slots: int) -> Resize | None:
    """DeleteNodes: the size and the victims in one change; the minimum is not looked at (contract §3).

    ``victims`` are names of Machines that stay as far as the API server knows now; one that is on ``removeFirst`` is
    paid for already. ``slots`` are given back in addition.
    """
    group, _ = require_group(node_set, node_set.metadata.name)
    new = [name for name in dict.fromkeys(victims) if name not in group.spec.remove_first]
    if not new and not slots:
        return None
    replicas = max(0, group.spec.replicas - len(new) - slots)
    return Resize(replicas, (*group.spec.remove_first, *new) if new else None)
