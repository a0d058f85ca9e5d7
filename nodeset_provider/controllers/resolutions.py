"""The resolutions of all NodeSets: which one is current, when it is asked for anew, and what stands in its way.

May touch: drivers, through :mod:`.resolver`. Keeps what it knows for one term.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import structlog

from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers.asked import asked_by
from nodeset_provider.controllers.drivers import Drivers
from nodeset_provider.controllers.resolver import (
    MENDED_ELSEWHERE_SECONDS,
    REFRESH_SECONDS,
    Inputs,
    Problem,
    Resolution,
    class_problem,
    resolve,
)
from nodeset_provider.join.request import ClusterAccess
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import ApiError
from nodeset_provider.kube.informer import Informer

_log = structlog.get_logger(__name__)

RETRY_BASE_SECONDS = 2.0
RETRY_CAP_SECONDS = 60.0


def retry_delay(failures: int, random: Random) -> float:
    """Seconds after that many failures in a row: 2 s doubling to 60 s, a quarter more or less."""
    return min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(failures, 16)) * random.uniform(0.75, 1.25)


@dataclass(slots=True)
class _Known:
    """Of one NodeSet."""

    uid: str
    inputs: Inputs | None = None
    resolution: Resolution | None = None
    problem: Problem | None = None
    renew_at: float = 0.0
    renewing: bool = False
    failures: int = 0


class Resolutions:
    """``wake`` has a set looked at again, by its name."""

    def __init__(
        self,
        *,
        node_classes: Informer[NodeClass],
        drivers: Drivers,
        access: ClusterAccess,
        gpu_label: str,
        clock: Clock,
        random: Random,
        wake: Callable[[str], None],
    ) -> None:
        self._node_classes = node_classes
        self._drivers = drivers
        self._access = access
        self._gpu_label = gpu_label
        self._clock = clock
        self._random = random
        self._wake = wake
        self._known: dict[str, _Known] = {}

    def forget(self, name: str) -> None:
        """The NodeSet of that name is gone."""
        self._known.pop(name, None)

    def usable(self, nodeset: NodeSet) -> Resolution | None:
        """What machines may be made by; None where nothing is known for what class and set say now, or it is wrong."""
        known = self._of(nodeset)
        return known.resolution if known.problem is None and self._is_current(nodeset, known) else None

    def latest(self, nodeset: NodeSet) -> Resolution | None:
        """What the status may promise: for what class and set say now, even where a later look met a problem."""
        known = self._of(nodeset)
        return known.resolution if self._is_current(nodeset, known) else None

    def problem(self, nodeset: NodeSet) -> Problem | None:
        """What stands in the way of making machines."""
        return self._class_problem(nodeset) or self._of(nodeset).problem

    async def ensure(self, nodeset: NodeSet, tasks: asyncio.TaskGroup | None) -> bool:
        """Ask the driver where that is due; True where there is an answer that was not there before.

        A resolution that is only old is renewed in ``tasks``: a catalogue that answers slowly must not hold up a set
        that is scaled meanwhile.
        """
        known = self._of(nodeset)
        if self._class_of(nodeset) is None or nodeset.metadata.deleting or self._class_problem(nodeset):
            return False
        current = self._is_current(nodeset, known)
        if current and self._clock.monotonic() < known.renew_at:
            return False
        if known.resolution is None or not current:
            await self._resolve(nodeset, known)
            return True
        if not known.renewing and tasks is not None:
            known.renewing = True
            tasks.create_task(self._renew(nodeset, known), name=f"renew {nodeset.metadata.name}")
        return False

    def until_due(self, nodeset: NodeSet) -> float | None:
        """Seconds; None while a renewal is under way or nothing can be resolved: what ends that wakes the set."""
        known = self._of(nodeset)
        if known.renewing or nodeset.metadata.deleting or not self._is_current(nodeset, known):
            return None
        return max(0.1, known.renew_at - self._clock.monotonic())

    def _of(self, nodeset: NodeSet) -> _Known:
        name, uid = nodeset.metadata.name, nodeset.metadata.uid
        known = self._known.get(name)
        if known is None or known.uid != uid:
            known = self._known[name] = _Known(uid)
        return known

    def _class_of(self, nodeset: NodeSet) -> NodeClass | None:
        return self._node_classes.get(nodeset.spec.node_class_name)

    def _class_problem(self, nodeset: NodeSet) -> Problem | None:
        return class_problem(nodeset.spec.node_class_name, self._class_of(nodeset))

    def _is_current(self, nodeset: NodeSet, known: _Known) -> bool:
        node_class = self._class_of(nodeset)
        if node_class is None or self._class_problem(nodeset) is not None:
            return False
        return Inputs(node_class, asked_by(nodeset)).same_as(known.inputs)

    async def _renew(self, nodeset: NodeSet, known: _Known) -> None:
        try:
            await self._resolve(nodeset, known)
        except Exception:  # noqa: BLE001 - beside the workers: one set's surprise must not end them all
            _log.exception("renewal failed", nodeset=nodeset.metadata.name)
            known.renew_at = self._clock.monotonic() + self._back_off(known)
        finally:
            known.renewing = False
        self._wake(nodeset.metadata.name)

    async def _resolve(self, nodeset: NodeSet, known: _Known) -> None:
        node_class = self._class_of(nodeset)
        if node_class is None:
            return
        inputs = Inputs(node_class, asked_by(nodeset))
        changed = not inputs.same_as(known.inputs)
        try:
            answer = await resolve(node_class, inputs.asked, self._drivers, self._access, self._gpu_label)
        except ApiError as error:
            answer = Problem("CredentialsUnreadable", f"the credentials cannot be read: {error.message}", passing=True)
        known.inputs = inputs
        if isinstance(answer, Resolution):
            known.resolution, known.problem, known.failures = answer, None, 0
            known.renew_at = self._clock.monotonic() + REFRESH_SECONDS * self._random.uniform(0.9, 1.1)
            return
        if changed:
            known.resolution, known.failures = None, 0
        # A driver that is out of reach for a while does not make a known answer wrong.
        if not (answer.passing and known.resolution is not None):
            known.problem = answer
        delay = self._back_off(known) if answer.passing else MENDED_ELSEWHERE_SECONDS
        known.renew_at = self._clock.monotonic() + delay

    def _back_off(self, known: _Known) -> float:
        known.failures += 1
        return retry_delay(known.failures - 1, self._random)
