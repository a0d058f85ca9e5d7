"""All controllers together, as the leader runs them.

A *term* is one time of leading: queues, memories and the knowledge of who made which Machine begin empty with it, so a
process that leads again trusts nothing that it believed before. Informers outlive the terms; Machines and NodeSets are
shared with the front door.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from random import Random

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import metrics
from nodeset_provider.controllers.api import BoundedApi
from nodeset_provider.controllers.births import Births
from nodeset_provider.controllers.cluster import bootstrap_key, cluster_uid
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
from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.interning import NodeInterner
from nodeset_provider.kube.resources import MACHINES, NODE_CLASSES, NODE_SETS, NODES

_log = structlog.get_logger(__name__)


class Controllers:
    """Give it the shared informers, then :meth:`run` it while leading.

    ``machines`` has the indexers of :mod:`nodeset_provider.kube.indexes`, ``nodesets`` those of :mod:`.indexes`.
    ``nodesets``, ``machines`` and ``recorder`` are run by whoever made them. ``may_act`` says whether this process
    leads at this very moment (``LeaderElector.is_leader``).
    """

    def __init__(
        self,
        *,
        client: Client,
        nodesets: Informer[NodeSet],
        machines: Informer[Machine],
        drivers: Drivers,
        config: ControllerConfig,
        recorder: Recorder,
        clock: Clock = SYSTEM_CLOCK,
        random: Random | None = None,
        may_act: MayAct = lambda: True,
    ) -> None:
        self._client = client
        self._nodesets = nodesets
        self._machines = machines
        self._drivers = drivers
        self._config = config
        self._recorder = recorder
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - names and jitter, no secrets
        self._may_act = may_act
        self._term: _Term | None = None
        # Once and for all terms: an informer's handler cannot be taken away again.
        nodesets.add_handler(self._on_nodeset)
        machines.add_handler(self._on_machine)

    async def run(self) -> None:
        """Lead until cancelled.

        Driver calls that are under way are cancelled too; their effect is then unknown, which is what the next term,
        here or elsewhere, assumes of every Machine that is not launched.
        """
        own = _OwnInformers(self._client, self._clock)
        async with asyncio.TaskGroup() as tasks:
            for running in (own.node_classes.run(), own.nodes.run(), own.requests.run()):
                tasks.create_task(running)
            identity, key = await asyncio.gather(
                cluster_uid(self._client), bootstrap_key(self._client, self._config.namespace)
            )
            await asyncio.gather(
                own.node_classes.wait_synced(),
                own.nodes.wait_synced(),
                own.requests.wait_synced(),
                self._nodesets.wait_synced(),
                self._machines.wait_synced(),
            )
            await asyncio.gather(
                catch_up(self._client, NODE_SETS, self._nodesets, self._clock),
                catch_up(self._client, MACHINES, self._machines, self._clock),
            )
            term = self._begin(own, identity, key)
            _log.info("leading", nodesets=len(self._nodesets), machines=len(self._machines), nodes=len(own.nodes))
            self._term = term
            try:
                # A handler is called at once for everything that is there: all of it is news to a new term.
                own.node_classes.add_handler(term.node_class.on_node_class)
                own.node_classes.add_handler(term.nodeset.on_node_class)
                own.node_classes.add_handler(term.unserved.on_node_class)
                own.node_classes.add_handler(term.placeholder.on_node_class)
                for nodeset in self._nodesets.items():
                    self._on_nodeset(None, nodeset)
                for machine in self._machines.items():
                    self._on_machine(None, machine)
                own.nodes.add_handler(term.machine.on_node)
                own.nodes.add_handler(term.releases.on_node)
                own.nodes.add_handler(term.nodeset.on_node)
                own.nodes.add_handler(term.placeholder.on_node)
                own.requests.add_handler(term.certificates.on_request)
                await term.run()
            finally:
                self._term = None

    def _begin(self, own: _OwnInformers, cluster: str, key: bytes) -> _Term:
        config = self._config
        api = BoundedApi(self._client, config.api_requests, self._may_act)
        tokens = Tokens(api, key, create_seconds=self._drivers.limits.create_seconds)
        births = Births()
        calls = DriverCalls(
            drivers=self._drivers,
            tokens=tokens,
            access=config.access,
            clock=self._clock,
            random=self._random,
            may_act=self._may_act,
        )
        effects = Effects(
            client=api,
            machines=self._machines,
            nodes=own.nodes,
            nodesets=self._nodesets,
            calls=calls,
            tokens=tokens,
            recorder=self._recorder,
            clock=self._clock,
        )
        strays = Strays(calls=calls, announce=effects.announce, clock=self._clock, random=self._random)
        machine = MachineController(
            machines=self._machines,
            nodes=own.nodes,
            nodesets=self._nodesets,
            effects=effects,
            strays=strays,
            births=births,
            cluster=cluster,
            drivers=self._drivers.names,
            workers=config.machine_workers,
            clock=self._clock,
        )
        maker = MachineMaker(
            client=api,
            machines=self._machines,
            births=births,
            random=self._random,
            wake=machine.enqueue,
        )
        nodeset = NodeSetController(
            client=api,
            nodesets=self._nodesets,
            node_classes=own.node_classes,
            machines=self._machines,
            nodes=own.nodes,
            drivers=self._drivers,
            access=config.access,
            gpu_label=config.gpu_label,
            maker=maker,
            recorder=self._recorder,
            clock=self._clock,
            random=self._random,
            workers=config.nodeset_workers,
        )
        node_class = NodeClassController(
            client=api,
            node_classes=own.node_classes,
            drivers=self._drivers,
            access=config.access,
            gpu_label=config.gpu_label,
            recorder=self._recorder,
            clock=self._clock,
            random=self._random,
            workers=config.node_class_workers,
        )
        placeholder = PlaceholderController(
            nodes=own.nodes,
            machines=self._machines,
            node_classes=own.node_classes,
            drivers=self._drivers,
            access=config.access,
            gpu_label=config.gpu_label,
            effects=PlaceholderEffects(
                client=api,
                events=self._client,
                nodes=own.nodes,
                machines=self._machines,
                births=births,
                recorder=self._recorder,
                wake=machine.enqueue,
            ),
            clock=self._clock,
            workers=config.placeholder_workers,
        )
        certificates = CertificateController(
            api=api,
            requests=own.requests,
            machines=self._machines,
            nodes=own.nodes,
            token_user=lambda machine: tokens.of(machine).username,
            drivers=self._drivers.names,
            endpoint=config.access.endpoint,
            recorder=self._recorder,
            clock=self._clock,
            workers=config.csr_workers,
        )
        presence = Presence(client=self._client, namespace=config.namespace, clock=self._clock)
        unserved = UnservedClasses(
            client=api,
            node_classes=own.node_classes,
            nodesets=self._nodesets,
            machines=self._machines,
            nodes=own.nodes,
            drivers=self._drivers,
            presence=presence,
            recorder=self._recorder,
            clock=self._clock,
            workers=config.node_class_workers,
        )
        presence.add_handler(unserved.on_presence)
        releases = NodeReleases(
            client=api,
            machines=self._machines,
            nodes=own.nodes,
            catch_up=partial(catch_up, self._client, MACHINES, self._machines, self._clock),
            clock=self._clock,
        )
        return _Term(machine, releases, nodeset, placeholder, node_class, presence, unserved, certificates)

    def _on_nodeset(self, old: NodeSet | None, new: NodeSet | None) -> None:
        if self._term is not None:
            self._term.nodeset.on_nodeset(old, new)
            self._term.machine.on_nodeset(old, new)
            self._term.unserved.on_nodeset(old, new)
        if new is None and old is not None:
            self._drop_metrics(old.metadata.name)

    def _on_machine(self, old: Machine | None, new: Machine | None) -> None:
        if self._term is not None:
            self._term.machine.on_machine(old, new)
            self._term.releases.on_machine(old, new)
            self._term.nodeset.on_machine(old, new)
            self._term.placeholder.on_machine(old, new)
        if new is None and old is not None:
            self._drop_metrics(old.metadata.labels.get(LABEL_NODESET, ""))

    def _drop_metrics(self, nodeset: str) -> None:
        if self._nodesets.get(nodeset) is None and not self._machines.by_index(MACHINE_BY_NODESET, nodeset):
            metrics.forget(nodeset)


class _OwnInformers:
    """Caches that only the controllers need: made anew for each term, for one that was not kept current is no cache."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.node_classes: Informer[NodeClass] = Informer(client, NODE_CLASSES, clock=clock)
        self.nodes: Informer[Node] = Informer(
            client, NODES, indexers=NODE_INDEXERS, transform=NodeInterner(), clock=clock
        )
        self.requests = RequestCaches(client, clock)


@dataclass(frozen=True, slots=True)
class _Term:
    """The controllers of one time of leading."""

    machine: MachineController
    releases: NodeReleases
    nodeset: NodeSetController
    placeholder: PlaceholderController
    node_class: NodeClassController
    presence: Presence
    unserved: UnservedClasses
    certificates: CertificateController

    async def run(self) -> None:
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
