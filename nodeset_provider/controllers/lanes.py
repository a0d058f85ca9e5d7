"""A queue with its workers. Each driver has lanes of its own, so that a cloud that hangs holds up nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.workqueue import WorkQueue


def make_lane(
    name: str, reconcile: Callable[[str], Awaitable[float | None]], *, workers: int, clock: Clock
) -> Controller[str]:
    """``reconcile`` is called with the names of objects, each by one worker at a time."""
    return Controller(name, reconcile, workers=workers, queue=WorkQueue(name, clock=clock))
