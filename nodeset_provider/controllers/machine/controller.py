"""Runs the phases of each Machine in order, one Machine at a time, until there is nothing to do for the moment.

One queue and its workers per driver: a cloud that hangs holds up its own machines and nobody else's. A Machine is never
worked on twice at one time (the queue sees to it), so no driver call is ever made twice at one time for one Machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import is_true
from nodeset_provider.api.names import CONDITION_INITIALIZED, LABEL_NODESET
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import metrics
from nodeset_provider.controllers.births import Births
from nodeset_provider.controllers.indexes import NODE_BY_PROVIDER_ID, machines_of
from nodeset_provider.controllers.lanes import make_lane
from nodeset_provider.controllers.machine import addresses, initialize, launch, node_end, register, terminate, watch
from nodeset_provider.controllers.machine.actions import Action, Launch, Release, Wait
from nodeset_provider.controllers.machine.effects import Effects
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import Observed, is_unsettled
from nodeset_provider.controllers.machine.strays import Strays, in_background
from nodeset_provider.controllers.placeholder.recognise import is_placeholder
from nodeset_provider.join.token_use import chooses_node_name
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET
from nodeset_provider.kube.informer import Informer

_log = structlog.get_logger(__name__)

STEPS = 16
"""Actions in a row for one Machine; the longest honest path has seven."""


def decide(o: Observed) -> Action:
    """The next action for a Machine. Pure."""
    if o.machine.metadata.deleting:
        return terminate.decide(o)
    if (unwanted := node_end.is_unwanted(o)) is not None:
        return unwanted
    phases = (phase(o) for phase in (launch.decide, register.decide, watch.decide, initialize.decide))
    action = next((action for action in phases if action is not None), Wait())
    return _beside(action, addresses.decide(o)) if isinstance(action, Wait) else action


def _beside(waiting: Wait, other: Action | None) -> Action:
    """A phase that waits holds up nothing else that is to be done."""
    if not isinstance(other, Wait):
        return other or waiting
    return min(waiting, other, key=lambda wait: float("inf") if wait.seconds is None else wait.seconds)


class MachineController:
    """See the module. ``drivers`` are the names served here; all other Machines are left alone."""

    def __init__(
        self,
        *,
        machines: Informer[Machine],
        nodes: Informer[Node],
        nodesets: Informer[NodeSet],
        effects: Effects,
        strays: Strays,
        births: Births,
        cluster: str,
        drivers: Iterable[str],
        workers: int,
        clock: Clock,
    ) -> None:
        self._machines = machines
        self._nodes = nodes
        self._nodesets = nodesets
        self._effects = effects
        self._strays = strays
        self._births = births
        self._cluster = cluster
        self._clock = clock
        self._memory: dict[str, Memory] = {}
        self._released: set[str] = set()
        """UIDs of Machines whose finalizer we took away, or are about to, until they are gone."""
        self._tasks: asyncio.TaskGroup | None = None
        self.lanes: dict[str, Controller[str]] = {
            driver: make_lane(f"machine/{driver}", self.reconcile, workers=workers, clock=clock) for driver in drivers
        }

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for lane in self.lanes.values():
                tasks.create_task(lane.run(), name=lane.name)

    def enqueue(self, machine: Machine) -> None:
        """Have it looked at now."""
        lane = self.lanes.get(machine.spec.template.driver)
        if lane is not None:
            lane.enqueue(machine.metadata.name)

    def on_machine(self, old: Machine | None, new: Machine | None) -> None:
        """A Machine came, changed or went."""
        if new is not None:
            self.enqueue(new)
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._on_end(old)

    def on_node(self, old: Node | None, new: Node | None) -> None:
        """A Node came, changed in a way that a decision may depend on, or went. Heartbeats are not worth a look."""
        if old is not None and new is not None and _same_to_us(old, new):
            return
        node = new or old
        if node is None:
            return
        for machine in machines_of(node, self._machines):
            self.enqueue(machine)

    def on_nodeset(self, old: NodeSet | None, new: NodeSet | None) -> None:
        """Whether failed machines are tried again by us or by the autoscaler hangs on their NodeSet."""
        if old is None or new is None or (old.spec.autoscaling is None) != (new.spec.autoscaling is None):
            for machine in self._machines.by_index(MACHINE_BY_NODESET, (new or old).metadata.name):  # type: ignore[union-attr]
                self.enqueue(machine)

    def _on_end(self, machine: Machine) -> None:
        uid = machine.metadata.uid
        if uid in self._released:
            metrics.MACHINES_TERMINATED.labels(machine.metadata.labels.get(LABEL_NODESET, "")).inc()
        elif machine.spec.template.driver in self.lanes:
            o = self._look_at(machine)
            if not (o.memory.gone or terminate.nothing_was_made(o)):
                self._strays.tell(o)
        self._released.discard(uid)
        self._memory.pop(uid, None)
        self._births.forget(uid)

    async def reconcile(self, name: str) -> float | None:
        """Do what can be done for that Machine; seconds until it should be looked at again, None: until it changes."""
        for _ in range(STEPS):
            o = self._observe(name)
            if o is None:
                return None
            action = decide(o)
            if isinstance(action, Wait):
                self._forget_if_settled(o, action)
                return action.seconds
            if isinstance(action, Release):
                self._released.add(o.machine.metadata.uid)
            await self._effects.apply(action, o, self._remember(o.machine.metadata.uid))
            if isinstance(action, Release):
                return None
            if self._has_vanished(o):
                self._after_the_end(action, o)
        _log.warning("no end of actions for this machine, pausing", machine=name)
        return 1.0

    def _observe(self, name: str) -> Observed | None:
        machine = self._machines.get(name)
        # While it is open who made the Machine, nothing is known about it; whoever settles that enqueues it.
        if machine is None or machine.spec.template.driver not in self.lanes or self._births.is_announced(name):
            return None
        return self._look_at(machine)

    def _look_at(self, machine: Machine) -> Observed:
        moment = self._clock.monotonic()
        memory = self._recall(machine, moment)
        node, namesake = self._node_of(machine)
        if node is not None and memory.node_seen_at is None and not is_placeholder(node):
            memory = self._memory[machine.metadata.uid] = replace(memory, node_seen_at=moment)
        return Observed(
            machine=machine,
            node=node,
            namesake=namesake,
            memory=memory,
            cluster=self._cluster,
            now=self._clock.now().timestamp(),
            moment=moment,
            retries=self._is_retried_by_us(machine),
        )

    def _node_of(self, machine: Machine) -> tuple[Node | None, Node | None]:
        """Its Node, and one that carries its provider id under a name that it should not have."""
        ours = chooses_node_name(machine.spec.template.join)
        node = self._nodes.get(machine.node_name) if ours or machine.status.node_ref is not None else None
        if node is not None or not machine.status.provider_id:
            return node, None
        other = next(iter(self._nodes.by_index(NODE_BY_PROVIDER_ID, machine.status.provider_id)), None)
        return (None, other) if ours else (other, None)

    def _recall(self, machine: Machine, moment: float) -> Memory:
        uid, attempt = machine.metadata.uid, machine.status.attempt
        memory = self._memory.get(uid)
        if memory is None or memory.attempt != attempt:
            newborn = memory is None and attempt == 1 and self._births.is_ours(uid)
            doubtful = is_unsettled(machine) and not newborn
            doubt = moment if doubtful else None
            memory = self._memory[uid] = Memory(
                attempt=attempt, known_since=moment, last_create=doubt, doubted_at=doubt
            )
        if machine.metadata.deleting and not memory.terminating:
            memory = self._memory[uid] = replace(memory.recovered(), terminating=True)
        return memory

    def _has_vanished(self, o: Observed) -> bool:
        known = self._machines.get(o.machine.metadata.name)
        return known is None or known.metadata.uid != o.machine.metadata.uid

    def _after_the_end(self, action: Action, o: Observed) -> None:
        """The Machine went while something was done for it: nobody else knows of what that made."""
        memory = self._memory.pop(o.machine.metadata.uid, None)
        if memory is None or not isinstance(action, Launch) or self._tasks is None:
            return
        left = replace(o, memory=memory)
        if not terminate.nothing_was_made(left):
            in_background(self._tasks, self._strays, left)

    def _remember(self, uid: str) -> Callable[[Memory], None]:
        def remember(memory: Memory) -> None:
            self._memory[uid] = memory

        return remember

    def _forget_if_settled(self, o: Observed, action: Wait) -> None:
        """A machine that runs needs no memory: thousands of them must not cost any."""
        if action.seconds is None and is_true(o.machine.status.conditions, CONDITION_INITIALIZED):
            self._memory.pop(o.machine.metadata.uid, None)

    def _is_retried_by_us(self, machine: Machine) -> bool:
        owner = machine.metadata.labels.get(LABEL_NODESET)
        if not owner:
            return True
        nodeset = self._nodesets.get(owner)
        return nodeset is not None and nodeset.spec.autoscaling is None and not nodeset.metadata.deleting


def _same_to_us(old: Node, new: Node) -> bool:
    return (
        old.metadata.uid == new.metadata.uid
        and old.metadata.deleting == new.metadata.deleting
        and old.spec == new.spec
        and old.ready == new.ready
        and old.has_kubelet == new.has_kubelet
        and is_placeholder(old) == is_placeholder(new)
        and old.status.allocatable == new.status.allocatable
        and old.status.addresses == new.status.addresses
    )
