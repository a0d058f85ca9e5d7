"""Lets go of Nodes that wait for our finalizer and whose Machine is gone for good.

Somebody took the finalizer off a Machine by hand, and later deletes its Node: nobody would ever finish that. A Node
that no Machine ever registered as carries no finalizer of ours, and one that nobody deletes is left as it is.

May touch: Nodes (their finalizer), Machines (read). Any provider does this for the Nodes of all: whoever comes second
finds it done.
"""

from __future__ import annotations

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import FINALIZER_NODE
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.indexes import machines_of
from nodeset_provider.controllers.lanes import make_lane
from nodeset_provider.controllers.machine.effects import release_node
from nodeset_provider.controllers.machine.node_end import is_held_for_nobody
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.errors import NotFound
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES

_log = structlog.get_logger(__name__)

WORKERS = 2


class NodeReleases:
    """See the module."""

    def __init__(self, *, client: Api, machines: Informer[Machine], nodes: Informer[Node], clock: Clock) -> None:
        self._client = client
        self._machines = machines
        self._nodes = nodes
        self.lane: Controller[str] = make_lane("noderelease", self.reconcile, workers=WORKERS, clock=clock)

    def on_node(self, _old: Node | None, new: Node | None) -> None:
        """A Node came or changed."""
        if new is not None and new.metadata.deleting and FINALIZER_NODE in new.metadata.finalizers:
            self.lane.enqueue(new.metadata.name)

    def on_machine(self, old: Machine | None, new: Machine | None) -> None:
        """A Machine that is gone leaves its Node to whoever deletes it."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self.lane.enqueue(old.node_name)

    async def reconcile(self, name: str) -> float | None:
        """Take the finalizer off that Node where it waits for nobody."""
        node = self._nodes.get(name)
        if node is None or not is_held_for_nobody(node, machines_of(node, self._machines)):
            return None
        # A cache that is behind must not take the Node from under a Machine that was just made.
        try:
            machine = await self._client.get(MACHINES, name)
        except NotFound:
            pass
        else:
            self._machines.observe(machine)
            if not is_held_for_nobody(node, [machine]):
                return None
        _log.warning("the Machine of a deleted Node is gone, letting go of the Node", node=name)
        await release_node(self._client, self._nodes, node)
        return None
