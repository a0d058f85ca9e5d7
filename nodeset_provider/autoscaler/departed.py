"""Remembers which instances were ours, so that deleting one that is gone already counts as done. No I/O.

In memory and bounded: after a restart a node that went before it is "not ours", which is an answer that the autoscaler
outlives (it no longer sees the node in its next loop).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET
from nodeset_provider.autoscaler.groups import pending_id

REMEMBERED: Final = 20_000


class Departed:
    """Instance id → the group that it belonged to. Its :meth:`on_machine` is an informer handler."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._groups: OrderedDict[str, str] = OrderedDict()
        self._limit = limit

    def on_machine(self, old: Machine | None, new: Machine | None) -> None:
        """Note a Machine that was deleted."""
        if old is None or new is not None:
            return
        group = old.metadata.labels.get(LABEL_NODESET)
        if not group:
            return
        for instance in (pending_id(old.metadata.name), old.status.provider_id):
            if instance:
                self._groups[instance] = group
                self._groups.move_to_end(instance)
        while len(self._groups) > self._limit:
            self._groups.popitem(last=False)

    def group_of(self, instance: str) -> str | None:
        """The group of an instance that is gone; None for one that is not known."""
        return self._groups.get(instance)
