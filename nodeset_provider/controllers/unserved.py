"""Says so where no process serves the driver of a NodeClass: otherwise it and its NodeSets would never say anything.

Several providers may run in one cluster, each with its own drivers, and nobody knows all of them; but whoever serves a
driver judges its classes within seconds. A class that nobody has judged for :data:`PATIENCE_SECONDS` is nobody's, and
so is one whose provider went (:mod:`.presence`). Any leader writes that down, only over what it has seen
(resourceVersion), and whoever serves the driver writes over it: it is then not taken for gone again.

May touch: NodeClasses and NodeSets of drivers that are not served here (their status), events.
"""

from __future__ import annotations

from typing import Any

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import API_VERSION, CONDITION_VALID, REASON_DRIVER_NOT_SERVED
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.conditions import to_wire, with_verdict
from nodeset_provider.controllers.drivers import Drivers
from nodeset_provider.controllers.indexes import NODESET_BY_CLASS
from nodeset_provider.controllers.lanes import make_lane
from nodeset_provider.controllers.nodeset_report import machines_of, nodes_ready
from nodeset_provider.controllers.nodeset_status import status_patch, summarise
from nodeset_provider.controllers.presence import Presence
from nodeset_provider.controllers.resolver import Problem
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import NODE_CLASSES, NODE_SETS

_log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 120.0
"""Longer than a change of leader and a driver that does not answer take together."""


def is_unjudged(node_class: NodeClass) -> bool:
    """Whether nobody has said anything of the class as it is now. Pure."""
    valid = find_condition(node_class.status.conditions, CONDITION_VALID)
    return valid is None or valid.observed_generation < node_class.metadata.generation


def is_said_unserved(node_class: NodeClass) -> bool:
    """Whether the class says that its driver is served by nobody. Pure."""
    valid = find_condition(node_class.status.conditions, CONDITION_VALID)
    return valid is not None and valid.reason == REASON_DRIVER_NOT_SERVED and not is_unjudged(node_class)


def problem(node_class: NodeClass) -> Problem:
    """What a class of that driver, and its sets, have to say. Pure."""
    why = (
        f"spec.driver: no provider that serves {node_class.spec.driver!r} runs in this cluster; start one (with the "
        "driver's package, and its name in the setting `drivers` where that is set), or make a class of another driver"
    )
    return Problem(REASON_DRIVER_NOT_SERVED, why)


def unserved_patch(node_class: NodeClass, now: float) -> dict[str, Any]:
    """The merge patch of the class. Unknown and not False: there is nobody to say that the class is wrong. Pure."""
    said = problem(node_class)
    conditions = with_verdict(node_class, "Unknown", reason=said.reason, message=said.message, now=now)
    return {
        "metadata": {"resourceVersion": node_class.metadata.resource_version},
        "status": {"conditions": to_wire(conditions)},
    }


class UnservedClasses:
    """See the module."""

    def __init__(
        self,
        *,
        client: Api,
        node_classes: Informer[NodeClass],
        nodesets: Informer[NodeSet],
        machines: Informer[Machine],
        nodes: Informer[Node],
        drivers: Drivers,
        presence: Presence,
        recorder: Recorder,
        clock: Clock,
        workers: int,
    ) -> None:
        self._client = client
        self._node_classes = node_classes
        self._nodesets = nodesets
        self._machines = machines
        self._nodes = nodes
        self._drivers = drivers
        self._presence = presence
        self._recorder = recorder
        self._clock = clock
        self._unjudged: dict[str, tuple[str, int, float]] = {}
        """Name → (UID, generation, moment at which it was first seen unjudged)."""
        self._alive: set[str] = set()
        """Drivers whose provider spoke up after it had been taken for gone: it has no Lease that we can see."""
        self.lane: Controller[str] = make_lane("unserved", self.reconcile, workers=workers, clock=clock)

    def on_node_class(self, old: NodeClass | None, new: NodeClass | None) -> None:
        """A class came, changed or went."""
        if new is None:
            if old is not None:
                self._unjudged.pop(old.metadata.name, None)
        elif not self._drivers.serves(new.spec.driver):
            if old is not None and is_said_unserved(old) and not (is_unjudged(new) or is_said_unserved(new)):
                self._alive.add(new.spec.driver)
            self.lane.enqueue(new.metadata.name)

    def on_presence(self) -> None:
        """A provider went, or came back."""
        self._alive.difference_update(self._presence.here)
        for node_class in self._node_classes.items():
            if not self._drivers.serves(node_class.spec.driver):
                self.lane.enqueue(node_class.metadata.name)

    def on_nodeset(self, old: NodeSet | None, new: NodeSet | None) -> None:
        """A set of such a class came, or was edited."""
        if new is None or (old is not None and old.metadata.generation == new.metadata.generation):
            return
        node_class = self._node_classes.get(new.spec.node_class_name)
        if node_class is not None and not self._drivers.serves(node_class.spec.driver):
            self.lane.enqueue(node_class.metadata.name)

    async def reconcile(self, name: str) -> float | None:
        """Say what is to be said of that class and its sets; seconds until it may have to be said."""
        node_class = self._node_classes.get(name)
        if node_class is None or node_class.metadata.deleting or self._drivers.serves(node_class.spec.driver):
            self._unjudged.pop(name, None)
            return None
        if is_unjudged(node_class):
            left = self._since(node_class) + PATIENCE_SECONDS - self._clock.monotonic()
            if left > 0:
                return left
            if node_class.spec.driver in self._presence.here:
                return PATIENCE_SECONDS  # it will say something yet
            node_class = await self._tell(node_class)
        elif not is_said_unserved(node_class) and self._has_gone(node_class.spec.driver):
            node_class = await self._tell(node_class)
        self._unjudged.pop(name, None)
        if is_said_unserved(node_class):
            for nodeset in self._nodesets.by_index(NODESET_BY_CLASS, name):
                await self._tell_set(nodeset, problem(node_class))
        return None

    def _has_gone(self, driver: str) -> bool:
        return driver in self._presence.gone and driver not in self._alive

    def _since(self, node_class: NodeClass) -> float:
        name, uid, generation = node_class.metadata.name, node_class.metadata.uid, node_class.metadata.generation
        known = self._unjudged.get(name)
        if known is None or known[:2] != (uid, generation):
            known = self._unjudged[name] = (uid, generation, self._clock.monotonic())
        return known[2]

    async def _tell(self, node_class: NodeClass) -> NodeClass:
        """Raises ApiError, Conflict where somebody wrote meanwhile: perhaps whoever serves it."""
        name, said = node_class.metadata.name, problem(node_class)
        patch = unserved_patch(node_class, self._clock.now().timestamp())
        after = await self._client.patch(NODE_CLASSES, name, patch, subresource="status")
        self._node_classes.observe(after)
        _log.warning("nobody serves the driver of a nodeclass", nodeclass=name, driver=node_class.spec.driver)
        self._recorder.event(("NodeClass", API_VERSION, node_class.metadata), "Warning", said.reason, said.message)
        return after

    async def _tell_set(self, nodeset: NodeSet, said: Problem) -> None:
        if nodeset.metadata.deleting:
            return
        after = summarise(
            nodeset,
            machines_of(nodeset, self._machines),
            has_ready_node=nodes_ready(self._nodes),
            resolution=None,
            problem=said,
            now=self._clock.now().timestamp(),
        )
        patch = status_patch(nodeset.status, after)
        if patch:
            body = {"metadata": {"resourceVersion": nodeset.metadata.resource_version}, "status": patch}
            self._nodesets.observe(
                await self._client.patch(NODE_SETS, nodeset.metadata.name, body, subresource="status")
            )
