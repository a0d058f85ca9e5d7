"""The thin half of the placeholder controller: does what was decided. Decides nothing.

May touch: Nodes that are placeholders (patch), Machines made for them (create, annotate, delete), Events (write, and
read those about a Node that is gone).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import API_VERSION
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.births import Births
from nodeset_provider.controllers.placeholder.actions import Annotate, Cancel, MakeMachine, Mark, Tell
from nodeset_provider.controllers.placeholder.lost import REASON_CANCELLED
from nodeset_provider.kube.client import Page
from nodeset_provider.kube.errors import AlreadyExists, Conflict, Forbidden, NotFound
from nodeset_provider.kube.events import CLUSTER_NAMESPACE, Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.objects import Event
from nodeset_provider.kube.resources import EVENTS, MACHINES, NODES, Resource

_log = structlog.get_logger(__name__)

REASON_MADE = "MachineMade"
DELETED_BY_CLOUD = "DeletingNode"
"""Reason of the Event with which a cloud-controller-manager deletes a Node (cloud-provider, nodelifecycle)."""


class EventReader(Protocol):
    """The part of :class:`nodeset_provider.kube.client.Client` that lists."""

    def pages(self, resource: Resource[Event], *, field_selector: str = "") -> AsyncIterator[Page[Event]]:
        """As Client."""
        ...


class Effects:
    """``wake`` has a Machine looked at once it is known who made it. All methods raise ApiError."""

    def __init__(
        self,
        *,
        client: Api,
        events: EventReader,
        nodes: Informer[Node],
        machines: Informer[Machine],
        births: Births,
        recorder: Recorder,
        wake: Callable[[Machine], None],
    ) -> None:
        self._client = client
        self._events = events
        self._nodes = nodes
        self._machines = machines
        self._births = births
        self._recorder = recorder
        self._wake = wake

    def tell(self, action: Tell) -> None:
        """A Warning on the Node."""
        _log.warning(
            "no machine for this node", node=action.node.metadata.name, reason=action.reason, message=action.message
        )
        self._recorder.event(("Node", "v1", action.node.metadata), "Warning", action.reason, action.message)

    async def mark(self, action: Mark) -> None:
        """Put taint and label on the Node. Raises Conflict where it changed meanwhile."""
        self._nodes.observe(await self._client.patch(NODES, action.node.metadata.name, action.patch))

    async def make(self, action: MakeMachine) -> None:
        """Create the Machine, unless the Node is another one by now or gone: then the cache learns so.

        The API server itself is asked: of a Node that went with its Machine the cache may hear last, and that Machine
        would be made once more. Raises Conflict where it is not the Node that was seen.
        """
        seen, name = action.node.metadata, action.node.metadata.name
        try:
            live = await self._client.get(NODES, name)
        except NotFound as error:
            raise Conflict(409, "Conflict", error.message) from None  # the cache will hear of it
        if live.metadata.uid != seen.uid or live.metadata.resource_version != seen.resource_version:
            self._nodes.observe(live)
            raise Conflict(409, "Conflict", f"Node {name} changed while its Machine was about to be made")
        self._births.announce(name)
        machine, uid = None, ""
        try:
            try:
                machine = await self._client.create(MACHINES, action.body)
                uid = machine.metadata.uid
            except AlreadyExists:
                machine = await self._client.get(MACHINES, name)  # an earlier try took effect, or the name is taken
        finally:
            # Whatever was raised, and wherever: a name that stays announced is a Machine that nobody ever looks at.
            self._births.settle(name, uid)
            if machine is not None:
                self._machines.observe(machine)
            known = self._machines.get(name)
            if known is not None:
                self._wake(known)
        if uid:
            _log.info("machine for a node", node=name, node_class=machine.spec.template.node_class_name)
            why = f"Machine {name} is made for it; see kubectl describe machine {name}"
            self._recorder.event(("Node", "v1", live.metadata), "Normal", REASON_MADE, why)

    async def annotate(self, action: Annotate) -> None:
        """Write down what became of the placeholder. Raises Conflict where the Machine changed meanwhile."""
        metadata = action.machine.metadata
        body = {"metadata": {"resourceVersion": metadata.resource_version, "annotations": action.annotations}}
        try:
            after = await self._client.patch(MACHINES, metadata.name, body)
        except NotFound:
            return
        self._machines.observe(after)
        self._say(action.machine, action.reason, action.message)

    async def cancel(self, action: Cancel) -> None:
        """Delete that very Machine; its finalizer keeps it until the cloud's machine is gone."""
        metadata = action.machine.metadata
        try:
            going = await self._client.delete(MACHINES, metadata.name, uid=metadata.uid)
        except (NotFound, Conflict):
            return
        self._say(action.machine, REASON_CANCELLED, action.message)
        if going is not None:
            self._machines.observe(going)

    async def was_deleted_by_cloud(self, name: str, uid: str) -> bool:
        """Whether a cloud-controller-manager said that it deletes that very Node.

        False where the Events may not be read: the deletion then counts as a person's.
        """
        selector = f"involvedObject.kind=Node,involvedObject.name={name},reason={DELETED_BY_CLOUD}"
        pages = self._events.pages(EVENTS.within(CLUSTER_NAMESPACE), field_selector=selector)
        try:
            async with aclosing(pages):  # type: ignore[type-var]
                async for page in pages:
                    for event in page.items:
                        about = event.involved_object
                        if event.reason == DELETED_BY_CLOUD and (about.kind, about.name, about.uid) == (
                            "Node",
                            name,
                            uid,
                        ):
                            return True
        except Forbidden as error:
            _log.warning("who deleted the node cannot be asked", node=name, message=error.message)
        return False

    def _say(self, machine: Machine, reason: str, message: str) -> None:
        _log.info("placeholder", machine=machine.metadata.name, reason=reason, message=message)
        self._recorder.event(("Machine", API_VERSION, machine.metadata), "Normal", reason, message)
