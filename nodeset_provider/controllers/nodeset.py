"""The NodeSet controller: makes and deletes Machines until there are as many as asked for.

May touch: Machines (create, delete), NodeSets through :mod:`.nodeset_report`. Never a cloud's machines.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import indexes, nodeset_plan
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.drivers import Drivers
from nodeset_provider.controllers.lanes import NOBODYS, make_lanes
from nodeset_provider.controllers.machine_maker import MachineMaker
from nodeset_provider.controllers.nodeset_report import STATUS_SECONDS, NodeSetReports, machines_of
from nodeset_provider.controllers.resolutions import Resolutions, retry_delay
from nodeset_provider.controllers.resolver import Problem
from nodeset_provider.join.request import ClusterAccess
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import ApiError
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET, MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer

BATCH = 64
"""Machines made in one go, before the set is looked at again: it may have been scaled down meanwhile."""
SETTLE_SECONDS = 0.05
"""Deletions come in bursts; the set's replicas do not wait for this, only replacements do."""


@dataclass(slots=True)
class _State:
    """Of one NodeSet, in this process and this term."""

    uid: str
    pending: list[str] = field(default_factory=list)
    """Names of Machines of which it is not known whether the API server made them."""
    refused: Problem | None = None
    refusals: int = 0
    undeletable: tuple[Machine, ApiError] | None = None
    """The first of its Machines that the API server did not delete at the last try."""


class NodeSetController:
    """See the module. Sets whose class names a driver that is not served here are left alone."""

    def __init__(
        self,
        *,
        client: Api,
        nodesets: Informer[NodeSet],
        node_classes: Informer[NodeClass],
        machines: Informer[Machine],
        nodes: Informer[Node],
        drivers: Drivers,
        access: ClusterAccess,
        gpu_label: str,
        maker: MachineMaker,
        recorder: Recorder,
        clock: Clock,
        random: Random,
        workers: int,
    ) -> None:
        self._nodesets = nodesets
        self._node_classes = node_classes
        self._machines = machines
        self._resolutions = Resolutions(
            node_classes=node_classes,
            drivers=drivers,
            access=access,
            gpu_label=gpu_label,
            clock=clock,
            random=random,
            wake=self.enqueue,
        )
        self._reports = NodeSetReports(
            client=client,
            nodesets=nodesets,
            node_classes=node_classes,
            machines=machines,
            nodes=nodes,
            resolutions=self._resolutions,
            recorder=recorder,
            clock=clock,
        )
        self._maker = maker
        self._random = random
        self._states: dict[str, _State] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.lanes = make_lanes("nodeset", self._reconcile, drivers.names, workers=workers, clock=clock)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for lane in self.lanes.values():
                tasks.create_task(lane.run(), name=lane.name)

    # --- what wakes it ----------------------------------------------------------------------------------------------

    def enqueue(self, name: str, seconds: float = 0.0) -> None:
        """Have that set looked at, now or in a moment."""
        nodeset = self._nodesets.get(name)
        lane = self.lanes.get(self._driver_of(nodeset) if nodeset is not None else NOBODYS)
        if lane is not None:
            lane.queue.add_after(name, seconds)

    def on_nodeset(self, old: NodeSet | None, new: NodeSet | None) -> None:
        """At once where the spec changed; our own status writes are no news."""
        if new is None:
            if old is not None:
                self._forget(old.metadata.name)
            return
        if old is None or old.metadata.generation != new.metadata.generation or old.metadata.uid != new.metadata.uid:
            self.enqueue(new.metadata.name)

    def on_node_class(self, old: NodeClass | None, new: NodeClass | None) -> None:
        """Every set of a class that came, changed, was judged, or went."""
        if old is not None and new is not None and _same_class(old, new):
            return
        name = (new or old).metadata.name  # type: ignore[union-attr]
        for nodeset in self._nodesets.by_index(indexes.NODESET_BY_CLASS, name):
            self.enqueue(nodeset.metadata.name)

    def on_machine(self, old: Machine | None, new: Machine | None) -> None:
        """Soon where Machines come or go; a change of their status matters only to the set's own status."""
        machine = new or old
        if machine is None:
            return
        for name in MACHINE_INDEXERS[MACHINE_BY_NODESET](machine):
            moved = old is None or new is None or old.metadata.deleting != new.metadata.deleting
            self.enqueue(name, SETTLE_SECONDS if moved and new is not None else STATUS_SECONDS)

    def on_node(self, old: Node | None, new: Node | None) -> None:
        """A Node that became Ready, or ceased to be."""
        was, now = old is not None and old.ready, new is not None and new.ready
        if was == now:
            return
        for machine in indexes.machines_of(new or old, self._machines):  # type: ignore[arg-type]
            for name in MACHINE_INDEXERS[MACHINE_BY_NODESET](machine):
                self.enqueue(name, STATUS_SECONDS)

    # --- what it does -----------------------------------------------------------------------------------------------

    async def _reconcile(self, lane: str, name: str) -> float | None:
        nodeset = self._nodesets.get(name)
        if nodeset is None:
            self._forget(name)
            return None
        driver = self._driver_of(nodeset)
        if driver != lane:
            if driver in self.lanes:
                self.enqueue(name)
            return None
        state = self._states.get(name)
        if state is None or state.uid != nodeset.metadata.uid:
            state = self._states[name] = _State(nodeset.metadata.uid)
        self._maker.settle_pending(state.pending)
        more = await self._converge(nodeset, state)
        if await self._resolutions.ensure(nodeset, self._tasks):
            return 0.0  # with what is known now, and with whatever happened meanwhile
        again = await self._reports.write(nodeset, state.refused or _undeletable(state))
        if state.undeletable is not None:
            raise state.undeletable[1]  # now that people are told: tried again, ever more slowly
        if state.refused is not None:
            return retry_delay(state.refusals - 1, self._random)
        if more:
            return 0.0
        due = self._resolutions.until_due(nodeset)
        return min((delay for delay in (again, due) if delay is not None), default=None)

    async def _converge(self, nodeset: NodeSet, state: _State) -> bool:
        """Delete and make Machines; whether there is more to be made."""
        resolution = self._resolutions.usable(nodeset)
        plan = nodeset_plan.decide(
            nodeset,
            machines_of(nodeset, self._machines),
            template_hash=resolution.hash if resolution is not None else "",
        )
        state.undeletable = None
        for start in range(0, len(plan.delete), BATCH):
            refused = await self._maker.delete(plan.delete[start : start + BATCH])
            state.undeletable = state.undeletable or refused
        state.refused = None
        if resolution is None or not plan.create:
            return False
        refusal = await self._maker.make(nodeset, resolution, min(plan.create, BATCH), state.pending)
        if refusal is not None:
            state.refused = Problem("MachineRefused", f"the API server did not take a Machine: {refusal.message}")
            state.refusals += 1
            return False
        state.refusals = 0
        # A name may have been another Machine's, which is no progress: looked at again with what is known now.
        return True

    def _forget(self, name: str) -> None:
        self._states.pop(name, None)
        self._resolutions.forget(name)
        self._reports.forget(name)

    # --- what it knows ----------------------------------------------------------------------------------------------

    def _driver_of(self, nodeset: NodeSet) -> str:
        """By its class; without one by its Machines, so that only who serves them deletes them."""
        node_class = self._node_classes.get(nodeset.spec.node_class_name)
        if node_class is not None:
            return node_class.spec.driver
        machines = self._machines.by_index(MACHINE_BY_NODESET, nodeset.metadata.name)
        # Every process comes to the same answer, whatever the order in which it heard of them.
        return min((m.metadata.name, m.spec.template.driver) for m in machines)[1] if machines else NOBODYS


def _undeletable(state: _State) -> Problem | None:
    if state.undeletable is None:
        return None
    machine, error = state.undeletable
    return Problem(
        "MachineNotDeleted", f"the API server does not delete Machine {machine.metadata.name}: {error.message}"
    )


def _same_class(old: NodeClass, new: NodeClass) -> bool:
    return (
        old.metadata.uid == new.metadata.uid
        and old.metadata.generation == new.metadata.generation
        and old.metadata.deleting == new.metadata.deleting
        and old.status == new.status
    )
