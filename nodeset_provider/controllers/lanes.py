"""A queue with its workers. Each driver has lanes of its own, so that a cloud that hangs holds up nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.workqueue import WorkQueue

NOBODYS: Final = ""
"""The lane of objects whose driver is not known, because their class does not exist."""


def make_lane(
    name: str, reconcile: Callable[[str], Awaitable[float | None]], *, workers: int, clock: Clock
) -> Controller[str]:
    """``reconcile`` is called with the names of objects, each by one worker at a time."""
    return Controller(name, reconcile, workers=workers, queue=WorkQueue(name, clock=clock))


def make_lanes(
    kind: str,
    reconcile: Callable[[str, str], Awaitable[float | None]],
    drivers: Iterable[str],
    *,
    workers: int,
    clock: Clock,
) -> dict[str, Controller[str]]:
    """A lane for each driver, and :data:`NOBODYS`: ``reconcile`` is called with the lane's driver and a name."""
    return {
        driver: make_lane(
            f"{kind}/{driver}" if driver else kind, partial(reconcile, driver), workers=workers, clock=clock
        )
        for driver in (*sorted(drivers), NOBODYS)
    }
