"""The thin half of the Machine controller: does what a phase decided. Decides nothing.

May touch: Machines, Nodes, the machine's bootstrap token, events; drivers through :mod:`.driver_calls`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import is_true
from nodeset_provider.api.names import (
    ANNOTATION_HANDED_OVER,
    API_VERSION,
    CONDITION_LAUNCHED,
    FINALIZER_MACHINE,
    LABEL_NODESET,
)
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import metrics
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.machine import launch, watch
from nodeset_provider.controllers.machine.actions import (
    Action,
    AddFinalizer,
    Announcement,
    CleanUp,
    DeleteMachine,
    DeleteNode,
    Destroy,
    Diagnose,
    DropToken,
    EnsureToken,
    FindNode,
    HandOver,
    Launch,
    LookUp,
    Release,
    ReleaseNode,
    SyncNode,
    WriteStatus,
)
from nodeset_provider.controllers.machine.driver_calls import DriverCalls, Remember
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.node_end import release_patch
from nodeset_provider.controllers.machine.observed import (
    Observed,
    is_unsettled,
)
from nodeset_provider.controllers.tokens import Tokens, TokenTaken
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import Conflict, NotFound
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODES

_log = structlog.get_logger(__name__)

REASON_NODE_DELETED = "NodeDeleted"


class Effects:
    """Applies actions: by writes to the API server here, by a driver through ``calls``."""

    def __init__(
        self,
        *,
        client: Api,
        machines: Informer[Machine],
        nodes: Informer[Node],
        nodesets: Informer[NodeSet],
        calls: DriverCalls,
        tokens: Tokens,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._client = client
        self._machines = machines
        self._nodes = nodes
        self._nodesets = nodesets
        self._calls = calls
        self._tokens = tokens
        self._recorder = recorder
        self._clock = clock

    async def apply(  # noqa: C901, PLR0912 - one line per action
        self, action: Action, o: Observed, remember: Remember
    ) -> None:
        """Do it. ``remember`` is called with what is known from then on, before anything can be interrupted.

        Raises ApiError; whatever a driver raises ends in memory.
        """
        match action:
            case AddFinalizer():
                await self._patch_machine(o, {"finalizers": [*o.machine.metadata.finalizers, FINALIZER_MACHINE]})
            case LookUp():
                await self._calls.look_up(o, remember)
            case Diagnose():
                await self._calls.diagnose(o, remember)
            case EnsureToken():
                await self._ensure_token(o, remember)
            case Launch():
                await self._calls.launch(o, remember)
            case CleanUp() | Destroy():
                await self._calls.delete(action, o, remember)
            case WriteStatus():
                await self._write_status(action, o, remember)
            case SyncNode(name, patch):
                self._nodes.observe(await self._client.patch(NODES, name, patch))
                remember(replace(o.memory, synced_at=self._clock.monotonic()))
            case ReleaseNode(node):
                if await release_node(self._client, self._nodes, node):
                    remember(replace(o.memory, node_deleted=node.metadata.uid))
            case DeleteNode(name, uid):
                await self._delete_node(name, uid)
                remember(replace(o.memory, node_deleted=uid))
            case HandOver(uid):
                await self._patch_machine(o, {"annotations": {ANNOTATION_HANDED_OVER: uid}})
            case DeleteMachine(node_name):
                await self._delete_machine(o.machine, node_name)
            case FindNode():
                await self._find_node(o.machine.node_name)
                remember(replace(o.memory, node_sought=True))
            case DropToken():
                await self._tokens.drop(o.machine)
                remember(replace(o.memory, token_dropped=True))
            case Release():
                await self._release(o)

    async def _ensure_token(self, o: Observed, remember: Remember) -> None:
        try:
            await self._tokens.ensure(o.machine, self._clock.now().timestamp())
        except TokenTaken:
            remember(watch.with_token_taken(o.memory))
        else:
            remember(replace(o.memory, token_ensured=True))

    async def _write_status(self, action: WriteStatus, o: Observed, remember: Remember) -> None:
        memory = o.memory
        if action.drop_token:
            await self._tokens.drop(o.machine)
            memory = replace(memory, token_dropped=True)
            remember(memory)
        if action.ensure_token and memory.instance is not None:
            try:
                await self._tokens.ensure(o.machine, self._clock.now().timestamp())
            except TokenTaken:
                remember(launch.with_token_taken(memory, memory.instance))
                return
            memory = replace(memory, token_ensured=True)
        body = {"metadata": {"resourceVersion": o.machine.metadata.resource_version}, "status": action.status}
        after = await self._client.patch(MACHINES, o.machine.metadata.name, body, subresource="status")
        remember(_settle(memory, after, retried=after.status.attempt > o.machine.status.attempt))
        self._machines.observe(after)
        self._report(action, o, after)

    def _report(self, action: WriteStatus, o: Observed, after: Machine) -> None:
        nodeset = after.metadata.labels.get(LABEL_NODESET, "")
        if not o.is_launched and is_true(after.status.conditions, CONDITION_LAUNCHED):
            metrics.MACHINES_LAUNCHED.labels(nodeset).inc()
            _log.info("launched", machine=after.metadata.name, provider_id=after.status.provider_id)
        if action.announcement is not None:
            self.announce(o.machine, action.announcement)

    def announce(self, machine: Machine, announcement: Announcement) -> None:
        """A Warning on the Machine and on its NodeSet."""
        name = machine.metadata.name
        nodeset = machine.metadata.labels.get(LABEL_NODESET, "")
        metrics.MACHINE_FAILURES.labels(nodeset, announcement.reason).inc()
        _log.warning("machine trouble", machine=name, reason=announcement.reason, message=announcement.message)
        self._recorder.event(
            ("Machine", API_VERSION, machine.metadata), "Warning", announcement.reason, announcement.message
        )
        owner = self._nodesets.get(nodeset)
        if owner is not None:
            self._recorder.event(
                ("NodeSet", API_VERSION, owner.metadata),
                "Warning",
                announcement.reason,
                f"{name}: {announcement.message}",
            )

    async def _patch_machine(self, o: Observed, metadata: dict[str, Any]) -> None:
        body = {"metadata": {"resourceVersion": o.machine.metadata.resource_version, **metadata}}
        self._machines.observe(await self._client.patch(MACHINES, o.machine.metadata.name, body))

    async def _delete_node(self, name: str, uid: str) -> None:
        try:
            going = await self._client.delete(NODES, name, uid=uid)
        except (NotFound, Conflict):
            return  # it is gone, or another Node has its name by now
        if going is not None and going.metadata.deleting:
            self._nodes.observe(going)  # somebody else's finalizer holds it

    async def _delete_machine(self, machine: Machine, node: str) -> None:
        try:
            going = await self._client.delete(MACHINES, machine.metadata.name, uid=machine.metadata.uid)
        except (NotFound, Conflict):
            return  # it is gone, or another Machine has its name by now
        why = f"somebody deleted Node {node}; its machine goes first, then the Node"
        _log.info("the Node is deleted, its machine goes", machine=machine.metadata.name, node=node)
        self._recorder.event(("Machine", API_VERSION, machine.metadata), "Normal", REASON_NODE_DELETED, why)
        if going is not None:
            self._machines.observe(going)

    async def _find_node(self, name: str) -> None:
        try:
            self._nodes.observe(await self._client.get(NODES, name))
        except NotFound:
            return

    async def _release(self, o: Observed) -> None:
        metadata = o.machine.metadata
        left = [finalizer for finalizer in metadata.finalizers if finalizer != FINALIZER_MACHINE]
        body = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": left or None}}
        try:
            after = await self._client.patch(MACHINES, metadata.name, body)
        except NotFound:
            return
        if left:
            self._machines.observe(after)  # else it no longer exists, and must not come back into the cache
        _log.info("gone", machine=metadata.name, provider_id=o.provider_id)


async def release_node(client: Api, nodes: Informer[Node], node: Node) -> bool:
    """Take our finalizer off the Node; whether that was its end. Raises ApiError; Conflict where it has changed."""
    patch = release_patch(node)
    try:
        after = await client.patch(NODES, node.metadata.name, patch)
    except NotFound:
        return True
    if after.metadata.deleting and not after.metadata.finalizers:
        return True  # it no longer exists, and must not come back into the cache
    nodes.observe(after)
    return False


def _settle(memory: Memory, machine: Machine, *, retried: bool) -> Memory:
    """What is still worth knowing after a status write: what is written down need not be remembered."""
    if retried:
        return Memory(attempt=machine.status.attempt, known_since=memory.known_since)
    if machine.metadata.deleting or is_unsettled(machine):
        return memory
    return Memory(
        attempt=machine.status.attempt,
        known_since=memory.known_since,
        made_at=memory.made_at,
        checked_at=memory.checked_at,
        token_dropped=memory.token_dropped,
        token_ensured=memory.token_ensured,
        addresses_sought_since=memory.addresses_sought_since,
        address_looked_at=memory.address_looked_at,
        looked_for=memory.looked_for,
    )
