"""The controllers of one time of leading, and how they are put together.

A *term*'s queues, memories and the knowledge of who made which Machine begin empty with it, so a process that leads
again trusts nothing that it believed before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers.api import BoundedApi
from nodeset_provider.controllers.births import Births
from nodeset_provider.controllers.config import ControllerConfig
from nodeset_provider.controllers.csr import CertificateController, RequestCaches
from nodeset_provider.controllers.drivers import Drivers
from nodeset_provider.controllers.freshness import catch_up
from nodeset_provider.controllers.indexes import NODE_INDEXERS
from nodeset_provider.controllers.leading import MayAct
from nodeset_provider.controllers.machine.controller import MachineController
from nodeset_provider.controllers.machine.driver_calls import DriverCalls
from nodeset_provider.controllers.machine.effects import Effects
from nodeset_provider.controllers.machine.node_release import NodeReleases
from nodeset_provider.controllers.machine.strays import Strays
from nodeset_provider.controllers.machine_maker import MachineMaker
from nodeset_provider.controllers.nodeclass import NodeClassController
from nodeset_provider.controllers.nodeset import NodeSetController
from nodeset_provider.controllers.placeholder.controller import PlaceholderController
from nodeset_provider.controllers.placeholder.effects import Effects as PlaceholderEffects
from nodeset_provider.controllers.presence import Presence
from nodeset_provider.controllers.tokens import Tokens
from nodeset_provider.controllers.unserved import UnservedClasses
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.interning import NodeInterner
from nodeset_provider.kube.resources import MACHINES, NODE_CLASSES, NODES


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What outlives the terms. ``may_act`` says whether this process leads at this very moment."""

    client: Client
    nodesets: Informer[NodeSet]
    machines: Informer[Machine]
    drivers: Drivers
    config: ControllerConfig
    recorder: Recorder
    clock: Clock
    random: Random
    may_act: MayAct


class OwnInformers:
    """Caches that only the controllers need: made anew for each term, for one that was not kept current is no cache."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.node_classes: Informer[NodeClass] = Informer(client, NODE_CLASSES, clock=clock)
        self.nodes: Informer[Node] = Informer(
            client, NODES, indexers=NODE_INDEXERS, transform=NodeInterner(), clock=clock
        )
        self.requests = RequestCaches(client, clock)

    def runs(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What keeps them current, each until cancelled."""
        return self.node_classes.run(), self.nodes.run(), self.requests.run()

    async def wait_synced(self) -> None:
        """Until each holds all that there is."""
        await asyncio.gather(self.node_classes.wait_synced(), self.nodes.wait_synced(), self.requests.wait_synced())


@dataclass(frozen=True, slots=True)
class Term:
    """The controllers of one time of leading."""

    machine: MachineController
    releases: NodeReleases
    nodeset: NodeSetController
    placeholder: PlaceholderController
    node_class: NodeClassController
    presence: Presence
    unserved: UnservedClasses
    certificates: CertificateController

    def on_nodeset(self, old: NodeSet | None, new: NodeSet | None) -> None:
        """A NodeSet came, changed or went."""
        self.nodeset.on_nodeset(old, new)
        self.machine.on_nodeset(old, new)
        self.unserved.on_nodeset(old, new)

    def on_machine(self, old: Machine | None, new: Machine | None) -> None:
        """A Machine came, changed or went."""
        self.machine.on_machine(old, new)
        self.releases.on_machine(old, new)
        self.nodeset.on_machine(old, new)
        self.placeholder.on_machine(old, new)

    def listen(self, own: OwnInformers) -> None:
        """Be told of everything in these caches, at once of what is there: all of it is news to a new term."""
        for on_node_class in (
            self.node_class.on_node_class,
            self.nodeset.on_node_class,
            self.unserved.on_node_class,
            self.placeholder.on_node_class,
        ):
            own.node_classes.add_handler(on_node_class)

    def listen_to_nodes(self, own: OwnInformers) -> None:
        """The same for Nodes and certificate requests, which are judged by what is known of Machines."""
        for on_node in (self.machine.on_node, self.releases.on_node, self.nodeset.on_node, self.placeholder.on_node):
            own.nodes.add_handler(on_node)
        own.requests.add_handler(self.certificates.on_request)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.machine.run())
            tasks.create_task(self.releases.lane.run())
            tasks.create_task(self.nodeset.run())
            tasks.create_task(self.placeholder.run())
            tasks.create_task(self.presence.run())
            tasks.create_task(self.unserved.lane.run())
            tasks.create_task(self.certificates.lane.run())
            for lane in self.node_class.lanes.values():
                tasks.create_task(lane.run())


def begin(shared: Shared, own: OwnInformers, cluster: str, key: bytes) -> Term:
    """A new term of the cluster with that identity and bootstrap key; nothing runs yet."""
    config = shared.config
    api = BoundedApi(shared.client, config.api_requests, shared.may_act)
    tokens = Tokens(api, key, create_seconds=shared.drivers.limits.create_seconds)
    births = Births()
    calls = DriverCalls(
        drivers=shared.drivers,
        tokens=tokens,
        access=config.access,
        clock=shared.clock,
        random=shared.random,
        may_act=shared.may_act,
    )
    effects = Effects(
        client=api,
        machines=shared.machines,
        nodes=own.nodes,
        nodesets=shared.nodesets,
        calls=calls,
        tokens=tokens,
        recorder=shared.recorder,
        clock=shared.clock,
    )
    strays = Strays(calls=calls, announce=effects.announce, clock=shared.clock, random=shared.random)
    machine = MachineController(
        machines=shared.machines,
        nodes=own.nodes,
        nodesets=shared.nodesets,
        effects=effects,
        strays=strays,
        births=births,
        cluster=cluster,
        drivers=shared.drivers.names,
        workers=config.machine_workers,
        clock=shared.clock,
    )
    maker = MachineMaker(
        client=api,
        machines=shared.machines,
        births=births,
        random=shared.random,
        wake=machine.enqueue,
    )
    nodeset = NodeSetController(
        client=api,
        nodesets=shared.nodesets,
        node_classes=own.node_classes,
        machines=shared.machines,
        nodes=own.nodes,
        drivers=shared.drivers,
        access=config.access,
        gpu_label=config.gpu_label,
        maker=maker,
        recorder=shared.recorder,
        clock=shared.clock,
        random=shared.random,
        workers=config.nodeset_workers,
    )
    node_class = NodeClassController(
        client=api,
        node_classes=own.node_classes,
        drivers=shared.drivers,
        access=config.access,
        gpu_label=config.gpu_label,
        recorder=shared.recorder,
        clock=shared.clock,
        random=shared.random,
        workers=config.node_class_workers,
    )
    placeholder = PlaceholderController(
        nodes=own.nodes,
        machines=shared.machines,
        node_classes=own.node_classes,
        drivers=shared.drivers,
        access=config.access,
        gpu_label=config.gpu_label,
        effects=PlaceholderEffects(
            client=api,
            events=shared.client,
            nodes=own.nodes,
            machines=shared.machines,
            births=births,
            recorder=shared.recorder,
            wake=machine.enqueue,
        ),
        clock=shared.clock,
        workers=config.placeholder_workers,
    )
    certificates = CertificateController(
        api=api,
        requests=own.requests,
        machines=shared.machines,
        nodes=own.nodes,
        token_user=lambda machine: tokens.of(machine).username,
        drivers=shared.drivers.names,
        endpoint=config.access.endpoint,
        recorder=shared.recorder,
        clock=shared.clock,
        workers=config.csr_workers,
    )
    presence = Presence(client=shared.client, namespace=config.namespace, clock=shared.clock)
    unserved = UnservedClasses(
        client=api,
        node_classes=own.node_classes,
        nodesets=shared.nodesets,
        machines=shared.machines,
        nodes=own.nodes,
        drivers=shared.drivers,
        presence=presence,
        recorder=shared.recorder,
        clock=shared.clock,
        workers=config.node_class_workers,
    )
    presence.add_handler(unserved.on_presence)
    releases = NodeReleases(
        client=api,
        machines=shared.machines,
        nodes=own.nodes,
        catch_up=partial(catch_up, shared.client, MACHINES, shared.machines, shared.clock),
        clock=shared.clock,
    )
    return Term(machine, releases, nodeset, placeholder, node_class, presence, unserved, certificates)
