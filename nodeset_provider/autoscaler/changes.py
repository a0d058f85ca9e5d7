"""The three RPCs that change a group's size.

Who is a victim, and how many Machines there are, is read from the API server itself and not from the cache, *after* the
version of the NodeSet that the decision is made on: a cache that is behind (a replica that has just taken over) would
lower the size a second time for a machine that is going already, or let a shrink delete one that it has not seen yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import grpc
import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler import groups, sizing
from nodeset_provider.autoscaler.answers import Answers
from nodeset_provider.autoscaler.departed import Departed
from nodeset_provider.autoscaler.groups import SlotId, require_group
from nodeset_provider.autoscaler.questions import NOTHING
from nodeset_provider.autoscaler.resize import Resizer
from nodeset_provider.autoscaler.sizing import Resize
from nodeset_provider.autoscaler.slots import Slots
from nodeset_provider.autoscaler.statuses import Refused, invalid, not_found
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.errors import ApiError, NotFound
from nodeset_provider.kube.indexes import MACHINE_BY_PROVIDER_ID
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES
from nodeset_provider.protocol import externalgrpc_pb2 as pb

log = structlog.get_logger(__name__)

_NAMED_IN_MESSAGES: Final = 5
_READS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class _Victims:
    """Whom a DeleteNodes request names, as far as the caches know."""

    machines: frozenset[str]
    slots: frozenset[int]
    gone: int
    """How many were ours and are no more."""
    strangers: tuple[str, ...]

    @property
    def some_are_ours(self) -> bool:
        """Whether any node of the request is or was in the group."""
        return bool(self.machines or self.slots or self.gone)


class Changes:
    """Each method returns the serialised response once the change is persisted; raises Refused or ApiError."""

    def __init__(
        self,
        client: Client,
        node_sets: Informer[NodeSet],
        machines: Informer[Machine],
        *,
        answers: Answers,
        slots: Slots,
        departed: Departed,
    ) -> None:
        self._client = client
        self._node_sets = node_sets
        self._machines = machines
        self._answers = answers
        self._slots = slots
        self._departed = departed
        self._resizer = Resizer(client, node_sets)

    async def increase(self, request: pb.NodeGroupIncreaseSizeRequest) -> bytes:
        """The target has risen by exactly ``delta`` when this returns."""
        delta = request.delta

        async def decide(node_set: NodeSet) -> Resize | None:
            return sizing.increase(node_set, delta)

        try:
            await self._resizer.resize(request.id, decide)
        except Refused as refusal:
            if refusal.code is not grpc.StatusCode.OUT_OF_RANGE:
                raise
            await self._resizer.resize(request.id, decide, fresh=True)  # the cache may be behind: look before saying no
        return NOTHING

    async def decrease(self, request: pb.NodeGroupDecreaseTargetSizeRequest) -> bytes:
        """Only what is asked for and not there yet is taken back."""
        group, delta = request.id, request.delta

        async def decide(node_set: NodeSet) -> Resize | None:
            return sizing.decrease(node_set, await self._list(group), delta)

        change = await self._resizer.resize(group, decide, fresh=True)
        if change is not None:
            await self._restore(group, change.replicas)
        return NOTHING

    async def delete_nodes(self, request: pb.NodeGroupDeleteNodesRequest) -> bytes:
        """The size is lower and the victims are named when this returns; the machines go later."""
        group = request.id
        require_group(self._node_sets.get(group), group)
        victims = await self._victims(group, request.nodes)
        given_back: list[int] = []

        async def decide(node_set: NodeSet) -> Resize | None:
            going = frozenset(node_set.spec.remove_first)
            names = await self._still_staying(sorted(victims.machines - going))
            given_back[:] = await self._still_open(node_set, victims.slots)
            return sizing.remove(node_set, names, len(given_back))

        change = await self._resizer.resize(group, decide, repeatable=not victims.slots)
        if change is not None and given_back:
            self._slots.retire(group, given_back)
            self._answers.drop_nodes(group)
            await self._restore(group, change.replicas)
        return NOTHING

    async def _restore(self, group: str, lowered: int) -> None:
        """A Machine may have been made between the count and the write: it changes no version of the NodeSet.

        Where this fails the request itself is done nevertheless; the controller then removes that Machine again.
        """

        async def decide(node_set: NodeSet) -> Resize | None:
            return sizing.restore(node_set, await self._list(group), lowered)

        try:
            await self._resizer.resize(group, decide, repeatable=True)
        except (ApiError, Refused) as error:
            log.warning("could not look for machines made meanwhile", node_set=group, message=error.message)

    async def _victims(self, group: str, nodes: Collection[pb.ExternalGrpcNode]) -> _Victims:
        """Raises Refused when a node is of another group, or when none is or was ever ours."""
        victims = self._known(group, nodes)
        if victims.strangers:
            # Perhaps only to a cache that is behind; passed over, the machine would stay and be called deleted.
            for machine in await self._list(group):
                self._machines.observe(machine)
            victims = self._known(group, nodes)
        if victims.some_are_ours:
            return victims
        if not victims.strangers:
            raise invalid("the request names no nodes")
        shown, rest = victims.strangers[:_NAMED_IN_MESSAGES], len(victims.strangers) - _NAMED_IN_MESSAGES
        more = f" and {rest} more" if rest > 0 else ""
        raise not_found(f"no node of the request is or was in the node group {group!r}: {', '.join(shown)}{more}")

    def _known(self, group: str, nodes: Iterable[pb.ExternalGrpcNode]) -> _Victims:
        """By provider id, as far as the caches know. Raises Refused when one is of another group."""
        machines: set[str] = set()
        slots: set[int] = set()
        gone = 0
        strangers: list[str] = []
        for node in nodes:
            # A placeholder's name is its instance id as well (contract §3); any other name proves nothing.
            instance = node.providerID or (node.name if groups.parse_pending(node.name) else "")
            if not instance and not node.name:
                raise invalid("a node of the request has neither a providerID nor a name")
            owner, machine = self._owner(instance)
            if owner is None:
                strangers.append(instance or node.name)
                continue
            if owner != group:
                raise invalid(
                    f"node {instance!r} belongs to the node group {owner!r}, not to {group!r}; nothing was done"
                )
            if isinstance(machine, SlotId):
                slots.add(machine.number)
            elif machine is not None:
                machines.add(machine.metadata.name)
            else:
                gone += 1
        return _Victims(frozenset(machines), frozenset(slots), gone, tuple(strangers))

    def _owner(self, instance: str) -> tuple[str | None, Machine | SlotId | None]:
        """The group of an instance, and what it is; (group, None) when it is gone, (None, None) for a stranger."""
        machines = self._machines.by_index(MACHINE_BY_PROVIDER_ID, instance)
        machine = machines[0] if machines else None
        pending = groups.parse_pending(instance)
        if machine is None and isinstance(pending, str):
            machine = self._machines.get(pending)
        if machine is not None:
            return machine.metadata.labels.get(LABEL_NODESET), machine
        if isinstance(pending, SlotId):
            return pending.node_set, pending
        return self._departed.group_of(instance), None

    async def _still_staying(self, names: list[str]) -> list[str]:
        """Those that exist and that nobody is deleting, asked of the API server now."""
        limit = asyncio.Semaphore(_READS_AT_ONCE)

        async def stays(name: str) -> bool:
            async with limit:
                try:
                    machine = await self._client.get(MACHINES, name)
                except NotFound:
                    return False
            self._machines.observe(machine)
            return not machine.metadata.deleting

        found = await asyncio.gather(*map(stays, names))
        return [name for name, still in zip(names, found, strict=True) if still]

    async def _still_open(self, node_set: NodeSet, slots: frozenset[int]) -> list[int]:
        """Those of the slots for which there is still no Machine."""
        if not slots:
            return []
        name = node_set.metadata.name
        count = groups.pending(node_set, await self._list(name))
        return sorted(slots.intersection(self._slots.numbers(name, count)))

    async def _list(self, group: str) -> list[Machine]:
        """The group's Machines as the API server has them now."""
        pages = self._client.pages(MACHINES, label_selector=f"{LABEL_NODESET}={group}")
        return [machine async for page in pages for machine in page.items]
