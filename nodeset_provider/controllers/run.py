"""All controllers together, as the leader runs them.

The informers of Machines and NodeSets outlive the times of leading (:mod:`.term`) and are shared with the front door.
"""

from __future__ import annotations

import asyncio
from random import Random

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import metrics
from nodeset_provider.controllers.cluster import bootstrap_key, cluster_uid
from nodeset_provider.controllers.config import ControllerConfig
from nodeset_provider.controllers.drivers import Drivers
from nodeset_provider.controllers.freshness import catch_up
from nodeset_provider.controllers.leading import MayAct
from nodeset_provider.controllers.term import OwnInformers, Shared, Term, begin
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODE_SETS

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
        self._shared = Shared(
            client=client,
            nodesets=nodesets,
            machines=machines,
            drivers=drivers,
            config=config,
            recorder=recorder,
            clock=clock,
            random=random or Random(),  # noqa: S311 - names and jitter, no secrets
            may_act=may_act,
        )
        self._term: Term | None = None
        # Once and for all terms: an informer's handler cannot be taken away again.
        nodesets.add_handler(self._on_nodeset)
        machines.add_handler(self._on_machine)

    async def run(self) -> None:
        """Lead until cancelled.

        Driver calls that are under way are cancelled too; their effect is then unknown, which is what the next term,
        here or elsewhere, assumes of every Machine that is not launched.
        """
        shared = self._shared
        own = OwnInformers(shared.client, shared.clock)
        async with asyncio.TaskGroup() as tasks:
            for running in own.runs():
                tasks.create_task(running)
            identity, key = await asyncio.gather(
                cluster_uid(shared.client), bootstrap_key(shared.client, shared.config.namespace)
            )
            await asyncio.gather(own.wait_synced(), shared.nodesets.wait_synced(), shared.machines.wait_synced())
            await asyncio.gather(
                catch_up(shared.client, NODE_SETS, shared.nodesets, shared.clock),
                catch_up(shared.client, MACHINES, shared.machines, shared.clock),
            )
            term = begin(shared, own, identity, key)
            _log.info("leading", nodesets=len(shared.nodesets), machines=len(shared.machines), nodes=len(own.nodes))
            self._term = term
            try:
                term.listen(own)
                for nodeset in shared.nodesets.items():
                    self._on_nodeset(None, nodeset)
                for machine in shared.machines.items():
                    self._on_machine(None, machine)
                term.listen_to_nodes(own)
                await term.run()
            finally:
                self._term = None

    def _on_nodeset(self, old: NodeSet | None, new: NodeSet | None) -> None:
        if self._term is not None:
            self._term.on_nodeset(old, new)
        if new is None and old is not None:
            self._drop_metrics(old.metadata.name)

    def _on_machine(self, old: Machine | None, new: Machine | None) -> None:
        if self._term is not None:
            self._term.on_machine(old, new)
        if new is None and old is not None:
            self._drop_metrics(old.metadata.labels.get(LABEL_NODESET, ""))

    def _drop_metrics(self, nodeset: str) -> None:
        shared = self._shared
        if shared.nodesets.get(nodeset) is None and not shared.machines.by_index(MACHINE_BY_NODESET, nodeset):
            metrics.forget(nodeset)
