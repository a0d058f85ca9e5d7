"""The placeholder controller: what wakes it, what it looks at, one name at a time until there is nothing to do.

One lane per driver, so that a cloud whose catalogue hangs holds up only its own Nodes. A Node of a class whose driver
this process does not serve is somebody else's; of a class that does not exist anybody may say so.
"""

from __future__ import annotations

import asyncio

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.controllers.drivers import Drivers
from nodeset_provider.controllers.indexes import PLACEHOLDER_BY_CLASS
from nodeset_provider.controllers.lanes import NOBODYS, make_lanes
from nodeset_provider.controllers.placeholder import decide as decisions
from nodeset_provider.controllers.placeholder.actions import (
    Action,
    Annotate,
    AskWhoDeleted,
    Cancel,
    MakeMachine,
    Mark,
    Resolve,
    Tell,
    Wait,
)
from nodeset_provider.controllers.placeholder.effects import Effects
from nodeset_provider.controllers.placeholder.lost import Answer
from nodeset_provider.controllers.placeholder.recognise import is_placeholder, node_class_of, placeholder_uid
from nodeset_provider.controllers.resolver import Problem, Resolution, resolve
from nodeset_provider.join.request import ClusterAccess
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import ApiError
from nodeset_provider.kube.informer import Informer

STEPS = 12
"""Actions in a row for one name; the longest honest path has five."""


class PlaceholderController:
    """See the module."""

    def __init__(
        self,
        *,
        nodes: Informer[Node],
        machines: Informer[Machine],
        node_classes: Informer[NodeClass],
        drivers: Drivers,
        access: ClusterAccess,
        gpu_label: str,
        effects: Effects,
        clock: Clock,
        workers: int,
    ) -> None:
        self._nodes = nodes
        self._machines = machines
        self._node_classes = node_classes
        self._drivers = drivers
        self._access = access
        self._gpu_label = gpu_label
        self._effects = effects
        self._clock = clock
        self._told: dict[str, tuple[str, str, str]] = {}
        """Name → (uid, reason, message) that was last said of a Node: an Event per retry would tell nothing new."""
        self._answers: dict[str, tuple[str, Answer]] = {}
        """Name → (placeholder's uid, who deleted it)."""
        self.lanes = make_lanes("placeholder", self._reconcile, drivers.names, workers=workers, clock=clock)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self.lanes.values():
                tasks.create_task(lane.run(), name=lane.name)

    # --- what wakes it ----------------------------------------------------------------------------------------------

    def enqueue(self, name: str) -> None:
        """Have that name looked at now."""
        lane = self.lanes.get(self._driver_of(name))
        if lane is not None:
            lane.enqueue(name)

    def on_node(self, old: Node | None, new: Node | None) -> None:
        """A placeholder came, changed, was taken over by a kubelet, or went."""
        name = (new or old).metadata.name  # type: ignore[union-attr]
        if any(node is not None and is_placeholder(node) for node in (old, new)) or self._is_waited_for(name):
            self.enqueue(name)

    def on_machine(self, old: Machine | None, new: Machine | None) -> None:
        """A Machine of a placeholder came, changed or went, or one that had taken a placeholder's name."""
        name = (new or old).metadata.name  # type: ignore[union-attr]
        if new is None:
            self._answers.pop(name, None)
        node = self._nodes.get(name)
        if self._is_waited_for(name) or (node is not None and is_placeholder(node)):
            self.enqueue(name)

    def on_node_class(self, old: NodeClass | None, new: NodeClass | None) -> None:
        """Every placeholder of a class that came, was judged, or went."""
        for node in self._nodes.by_index(PLACEHOLDER_BY_CLASS, (new or old).metadata.name):  # type: ignore[union-attr]
            self.enqueue(node.metadata.name)

    # --- what it does -----------------------------------------------------------------------------------------------

    async def _reconcile(self, lane: str, name: str) -> float | None:
        resolution: Resolution | Problem | None = None
        for _ in range(STEPS):
            driver = self._driver_of(name)
            if driver != lane:
                if driver in self.lanes:
                    self.enqueue(name)
                return None
            o = self._observe(name, resolution)
            action = decisions.decide(o)
            match action:
                case Wait(seconds):
                    self._forget(o, name)
                    return seconds
                case Tell():
                    self._tell(action)
                    return action.seconds
                case Resolve():
                    resolution = await self._resolve(o)
                case _:
                    await self._apply(action)
        return 1.0

    async def _apply(self, action: Action) -> None:
        match action:
            case Mark():
                await self._effects.mark(action)
            case MakeMachine():
                await self._effects.make(action)
                self._told.pop(action.node.metadata.name, None)
            case Annotate():
                await self._effects.annotate(action)
            case Cancel():
                await self._effects.cancel(action)
            case AskWhoDeleted(name, uid):
                by_cloud = await self._effects.was_deleted_by_cloud(name, uid)
                self._answers[name] = uid, Answer(by_cloud, self._clock.monotonic())

    def _observe(self, name: str, resolution: Resolution | Problem | None) -> decisions.Observed:
        node, machine = self._nodes.get(name), self._machines.get(name)
        uid, answer = self._answers.get(name, ("", None))
        return decisions.Observed(
            node=node,
            machine=machine,
            node_class=self._node_classes.get(node_class_of(node)) if node is not None else None,
            resolution=resolution,
            answer=answer if machine is not None and uid == placeholder_uid(machine) else None,
            now=self._clock.now().timestamp(),
            moment=self._clock.monotonic(),
        )

    async def _resolve(self, o: decisions.Observed) -> Resolution | Problem | None:
        if o.node is None or o.node_class is None:
            return None
        asked = decisions.asked_by(o.node)
        try:
            return await resolve(o.node_class, asked, self._drivers, self._access, self._gpu_label)
        except ApiError as error:
            return Problem("CredentialsUnreadable", f"the credentials cannot be read: {error.message}", passing=True)

    def _tell(self, action: Tell) -> None:
        metadata = action.node.metadata
        said = metadata.uid, action.reason, "" if action.passing else action.message
        if self._told.get(metadata.name) != said:
            self._told[metadata.name] = said
            self._effects.tell(action)

    def _forget(self, o: decisions.Observed, name: str) -> None:
        if o.node is None:
            self._told.pop(name, None)

    # --- what it knows ----------------------------------------------------------------------------------------------

    def _is_waited_for(self, name: str) -> bool:
        machine = self._machines.get(name)
        return machine is not None and machine.status.node_ref is None and bool(placeholder_uid(machine))

    def _driver_of(self, name: str) -> str:
        """By the Machine that was made, which the class may have outlived or not; else by the class."""
        machine = self._machines.get(name)
        if machine is not None and placeholder_uid(machine):
            return machine.spec.template.driver
        node = self._nodes.get(name)
        node_class = self._node_classes.get(node_class_of(node)) if node is not None else None
        return node_class.spec.driver if node_class is not None else NOBODYS
