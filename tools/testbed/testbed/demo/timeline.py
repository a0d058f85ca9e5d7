"""From a pending pod to a running one: when each step happened. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Step(Enum):
    """In the order in which they happen."""

    POD_CREATED = "pod created"
    INCREASE_SIZE = "IncreaseSize: NodeSet grown"
    DRIVER_CREATE = "driver.create: machine made in the cloud"
    INSTANCE_RUNNING = "instance running"
    CSR_ISSUED = "CSR issued"
    NODE_READY = "Node Ready"
    POD_RUNNING = "pod Running"


class Timeline:
    """Notes the first time of each step, in seconds since the epoch."""

    def __init__(self) -> None:
        self._moments: dict[Step, float] = {}

    def note(self, step: Step, moment: float) -> None:
        """The earliest note counts."""
        self._moments[step] = min(moment, self._moments.get(step, moment))

    @property
    def complete(self) -> bool:
        """Whether every step has happened."""
        return len(self._moments) == len(Step)

    def rows(self) -> list[tuple[str, str, str]]:
        """(step, seconds since the first one, seconds since the one before) of what has happened."""
        return _rows(self._moments)


def _rows(moments: Mapping[Step, float]) -> list[tuple[str, str, str]]:
    happened = [(step, moments[step]) for step in Step if step in moments]
    if not happened:
        return []
    start = before = happened[0][1]
    rows = []
    for step, moment in happened:
        rows.append((step.value, f"{moment - start:6.2f} s", f"+{moment - before:.2f} s"))
        before = moment
    return rows
