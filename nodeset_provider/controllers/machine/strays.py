"""Machines in the cloud whose Machine is gone though we never released it: told of; just made by us, deleted again.

Somebody took the finalizer off by hand. What had been made before is that person's decision, and told; what one of our
own calls makes *after* that was nobody's, so it goes again. Nothing is written down any more: a crash forgets it.

May touch: the driver (delete), the log; events through ``announce``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.controllers.machine.actions import Announcement, Destroy
from nodeset_provider.controllers.machine.driver_calls import DriverCalls
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.driverkit.errors import Transient
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import ApiError

_log = structlog.get_logger(__name__)

REASON_ABANDONED = "Abandoned"


class Strays:
    """``announce`` makes a Warning event on the Machine and its NodeSet."""

    def __init__(
        self,
        *,
        calls: DriverCalls,
        announce: Callable[[Machine, Announcement], None],
        clock: Clock,
        random: Random,
    ) -> None:
        self._calls = calls
        self._announce = announce
        self._clock = clock
        self._random = random

    def tell(self, o: Observed) -> None:
        """The Machine vanished, and its machine may still be in the cloud."""
        self._announce(o.machine, Announcement(REASON_ABANDONED, _abandoned(o)))

    async def take_away(self, o: Observed) -> None:
        """Delete the machine that a call of ours made, or may have made, for a Machine that was gone by then.

        Ends when the cloud says that it is gone; by being cancelled, where we no longer lead.
        """
        what = _name(o)
        _log.warning("made for a Machine that is gone, deleting it", machine=o.machine.metadata.name, instance=what)
        memory = o.memory.recovered()
        told = False
        while not memory.gone:
            await self._clock.sleep(max(0.0, memory.not_before - self._clock.monotonic()))
            memory = await self._delete(o, memory)
            trouble = memory.trouble
            if trouble is not None and trouble.is_due(self._clock.monotonic()) and not told:
                told = True
                why = f"{what} was made while its Machine vanished and cannot be deleted: {trouble.message}"
                self._announce(o.machine, Announcement(trouble.code, why))
        why = f"{what} was made while its Machine vanished (its finalizer was taken off); it has been deleted again"
        self._announce(o.machine, Announcement(REASON_ABANDONED, why))

    async def _delete(self, o: Observed, memory: Memory) -> Memory:
        moment = self._clock.monotonic()
        known = [memory]
        o = replace(o, memory=memory, moment=moment, now=self._clock.now().timestamp())
        try:
            await self._calls.delete(Destroy(), o, known.append)
        except ApiError as error:  # the credentials cannot be read, or this process leads no longer
            return memory.struggling(Transient(error.message), moment, self._random)
        return known[-1]


def _name(o: Observed) -> str:
    return o.provider_id or f"the machine with the token {o.key.token}"


def _abandoned(o: Observed) -> str:
    driver = o.machine.spec.template.driver
    return (
        f"Machine {o.machine.metadata.name} was deleted without us (its finalizer was taken off by hand); "
        f"{_name(o)} may still run and cost money, look for it in the cloud of driver {driver} and delete it there"
    )


def in_background(tasks: asyncio.TaskGroup, strays: Strays, o: Observed) -> None:
    """Beside the workers, which it must not hold up or end."""

    async def safely() -> None:
        try:
            await strays.take_away(o)
        except Exception:  # noqa: BLE001 - one machine's surprise must not end all controllers
            _log.exception("a machine whose Machine is gone is left over", instance=_name(o))

    tasks.create_task(safely(), name=f"stray {o.machine.metadata.name}")
