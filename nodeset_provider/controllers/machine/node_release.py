"""Lets go of Nodes that wait for our finalizer and whose Machine is gone for good.

Somebody took the finalizer off a Machine by hand, and later deletes its Node: nobody would ever finish that. A Node
that no Machine ever registered as carries no finalizer of ours, and one that nobody deletes is left as it is.

May touch: Nodes (their finalizer), Machines (read). Any provider does this for the Nodes of all: whoever comes second
finds it done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

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
from nodeset_provider.kube.errors import ApiError
from nodeset_provider.kube.informer import Informer

_log = structlog.get_logger(__name__)

_ALL = "suspects"
"""The lane's only key: however many Nodes were deleted at once, the Machines are read anew once for all of them."""


class NodeReleases:
    """See the module. ``catch_up`` returns once the cache of Machines shows what the API server held at its call.

    A cache that is behind must not take the Node from under a Machine, which would run on although somebody deleted its
    Node. To ask for the Machine by its name is not enough: the Node may have another one (EKS).
    """

    def __init__(
        self,
        *,
        client: Api,
        machines: Informer[Machine],
        nodes: Informer[Node],
        catch_up: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._client = client
        self._machines = machines
        self._nodes = nodes
        self._catch_up = catch_up
        self._suspects: set[str] = set()
        """Names of Nodes to be looked at."""
        self.lane: Controller[str] = make_lane("noderelease", self.reconcile, workers=1, clock=clock)

    def on_node(self, _old: Node | None, new: Node | None) -> None:
        """A Node came or changed."""
        if new is not None and new.metadata.deleting and FINALIZER_NODE in new.metadata.finalizers:
            self._suspect(new.metadata.name)

    def on_machine(self, old: Machine | None, new: Machine | None) -> None:
        """A Machine that is gone leaves its Node to whoever deletes it."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._suspect(old.node_name)

    def _suspect(self, name: str) -> None:
        self._suspects.add(name)
        self.lane.enqueue(_ALL)

    async def reconcile(self, _key: str) -> float | None:
        """Take the finalizer off those Nodes that wait for nobody. Raises ApiError; what is left is then still known.

        Every Node that is looked at was seen to be deleted before the Machines are read: a Machine that registered as
        it is older than that.
        """
        names, self._suspects = self._suspects, set()
        held = [name for name in names if self._held_for_nobody(name) is not None]
        if not held:
            return None
        try:
            await self._catch_up()
        except ApiError:
            self._suspects.update(held)
            raise
        failure: ApiError | None = None
        for name in held:
            node = self._held_for_nobody(name)
            if node is None:
                continue
            _log.warning("the Machine of a deleted Node is gone, letting go of the Node", node=name)
            try:
                await release_node(self._client, self._nodes, node)
            except ApiError as error:
                self._suspects.add(name)
                failure = error
        if failure is not None:
            raise failure
        return None

    def _held_for_nobody(self, name: str) -> Node | None:
        node = self._nodes.get(name)
        return node if node is not None and is_held_for_nobody(node, machines_of(node, self._machines)) else None
