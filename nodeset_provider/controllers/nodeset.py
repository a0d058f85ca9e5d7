"""The NodeSet controller: makes and deletes Machines until there are as many as asked for, and says how it is going.

May touch: Machines (create, delete), NodeSets (status, ``removeFirst``), events. Never a cloud's machines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import API_VERSION, CONDITION_READY
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import nodeset_plan
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.drivers import Drivers
from nodeset_provider.controllers.indexes import NODESET_BY_CLASS
from nodeset_provider.controllers.lanes import make_lane
from nodeset_provider.controllers.machine_maker import MachineMaker
from nodeset_provider.controllers.nodeset_status import status_patch, summarise
from nodeset_provider.controllers.resolutions import Resolutions, retry_delay
from nodeset_provider.controllers.resolver import Problem
from nodeset_provider.join.request import ClusterAccess
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.errors import ApiError, NotFound
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET, MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODE_SETS

_log = structlog.get_logger(__name__)

STATUS_SECONDS = 1.0
"""Status and pruning are written at most this often: a thousand Machines that start are one set that starts."""
BATCH = 64
"""Machines made in one go, before the set is looked at again: it may have been scaled down meanwhile."""
CLASS_SECONDS = 2.0
"""Two kinds come by two watches, in any order."""
SETTLE_SECONDS = 0.05
"""Deletions come in bursts; the set's replicas do not wait for this, only replacements do."""
NOBODYS = ""
"""The lane of NodeSets whose driver is not known (their class does not exist)."""


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
    written_at: float = float("-inf")
    classless_since: float | None = None


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
        self._client = client
        self._nodesets = nodesets
        self._node_classes = node_classes
        self._machines = machines
        self._nodes = nodes
        self._resolutions = Resolutions(
            node_classes=node_classes,
            drivers=drivers,
            access=access,
            gpu_label=gpu_label,
            clock=clock,
            random=random,
            wake=self.enqueue,
        )
        self._maker = maker
        self._recorder = recorder
        self._clock = clock
        self._random = random
        self._states: dict[str, _State] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.lanes: dict[str, Controller[str]] = {
            driver: make_lane(
                f"nodeset/{driver}" if driver else "nodeset",
                partial(self._reconcile, driver),
                workers=workers,
                clock=clock,
            )
            for driver in (*sorted(drivers.names), NOBODYS)
        }

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
        for nodeset in self._nodesets.by_index(NODESET_BY_CLASS, name):
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
        machine = self._machines.get((new or old).metadata.name)  # type: ignore[union-attr]
        if machine is not None:
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
        again = await self._report(name, state)
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
            nodeset, self._machines_of(nodeset), template_hash=resolution.hash if resolution is not None else ""
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
        return (
            True  # a name may have been another Machine's, which is no progress: looked at again with what is known now
        )

    async def _report(self, name: str, state: _State) -> float | None:
        """Prune and write the status, unless that was done a moment ago; seconds until it is due then."""
        nodeset = self._nodesets.get(name)
        if nodeset is None or nodeset.metadata.uid != state.uid:
            return None
        moment = self._clock.monotonic()
        machines = self._machines_of(nodeset)
        plan = nodeset_plan.decide(nodeset, machines)
        problem = self._resolutions.problem(nodeset) or state.refused or _undeletable(state)
        after = summarise(
            nodeset,
            machines,
            has_ready_node=self._has_ready_node,
            resolution=self._resolutions.latest(nodeset),
            problem=problem,
            now=self._clock.now().timestamp(),
        )
        unsure = self._class_may_come(self._node_classes.get(nodeset.spec.node_class_name), state)
        if unsure is not None:
            return unsure
        patch = status_patch(nodeset.status, after)
        if not patch and not plan.prune and not plan.confirm:
            return None
        if moment < state.written_at + STATUS_SECONDS:
            return state.written_at + STATUS_SECONDS - moment
        state.written_at = moment
        if patch:
            self._announce(nodeset, problem)
            nodeset = await self._client.patch(NODE_SETS, name, {"status": patch}, subresource="status")
            self._nodesets.observe(nodeset)
        await self._prune(nodeset, plan)
        return None

    def _class_may_come(self, node_class: NodeClass | None, state: _State) -> float | None:
        """Seconds to wait before a class is called missing: applied together with its set, it may be seen after it."""
        if node_class is not None:
            state.classless_since = None
            return None
        moment = self._clock.monotonic()
        if state.classless_since is None:
            state.classless_since = moment
        left = state.classless_since + CLASS_SECONDS - moment
        return left if left > 0 else None

    async def _prune(self, nodeset: NodeSet, plan: nodeset_plan.Plan) -> None:
        done = set(plan.prune)
        for name in plan.confirm:
            try:
                machine = await self._client.get(MACHINES, name)
            except NotFound:
                done.add(name)
                continue
            self._machines.observe(machine)
            owners = MACHINE_INDEXERS[MACHINE_BY_NODESET](machine)
            if nodeset.metadata.name not in owners or not nodeset_plan.belongs(machine, nodeset):
                done.add(name)  # it would stand there for ever, and be asked for again and again
                why = f"spec.removeFirst: Machine {name} is not of this set and stays; name it in its own set"
                self._recorder.event(("NodeSet", API_VERSION, nodeset.metadata), "Warning", "NotOfThisSet", why)
        if not done:
            return
        left = [name for name in nodeset.spec.remove_first if name not in done]
        body = {
            "metadata": {"resourceVersion": nodeset.metadata.resource_version},
            "spec": {"removeFirst": left or None},
        }
        self._nodesets.observe(await self._client.patch(NODE_SETS, nodeset.metadata.name, body))

    def _announce(self, nodeset: NodeSet, problem: Problem | None) -> None:
        if problem is None or problem.passing:
            return
        known = find_condition(nodeset.status.conditions, CONDITION_READY)
        if known is not None and known.status == "False" and known.reason == problem.reason:
            return
        _log.warning("nodeset trouble", nodeset=nodeset.metadata.name, reason=problem.reason, message=problem.message)
        self._recorder.event(("NodeSet", API_VERSION, nodeset.metadata), "Warning", problem.reason, problem.message)

    def _forget(self, name: str) -> None:
        self._states.pop(name, None)
        self._resolutions.forget(name)

    # --- what it knows ----------------------------------------------------------------------------------------------

    def _driver_of(self, nodeset: NodeSet) -> str:
        """By its class; without one by its Machines, so that only who serves them deletes them."""
        node_class = self._node_classes.get(nodeset.spec.node_class_name)
        if node_class is not None:
            return node_class.spec.driver
        machines = self._machines.by_index(MACHINE_BY_NODESET, nodeset.metadata.name)
        return machines[0].spec.template.driver if machines else NOBODYS

    def _machines_of(self, nodeset: NodeSet) -> list[Machine]:
        machines: Iterable[Machine] = self._machines.by_index(MACHINE_BY_NODESET, nodeset.metadata.name)
        return [machine for machine in machines if nodeset_plan.belongs(machine, nodeset)]

    def _has_ready_node(self, machine: Machine) -> bool:
        node = self._nodes.get(machine.spec.node_name)
        return node is not None and node.ready


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
