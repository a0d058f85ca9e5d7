"""A Node whose Machine is gone for good does not hang, and one whose Machine a cache has not heard of is not let go."""

from functools import partial

import pytest
from testbed.manual_clock import ManualClock
from testbed.memory_cluster import ClusterApi, ClusterClient

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import FINALIZER_NODE
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.freshness import catch_up
from nodeset_provider.controllers.indexes import NODE_INDEXERS
from nodeset_provider.controllers.machine.node_release import NodeReleases
from nodeset_provider.kube.errors import ApiError, Unavailable
from nodeset_provider.kube.indexes import MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODES


class Bed:
    """Caches without a watch: of Nodes that follows by hand, of Machines that is as far behind as can be."""

    def __init__(self) -> None:
        self.api = ClusterApi()
        self.client = ClusterClient(self.api)
        clock = ManualClock()
        self.nodes: Informer[Node] = Informer(self.client, NODES, indexers=NODE_INDEXERS, clock=clock)
        self.machines: Informer[Machine] = Informer(self.client, MACHINES, indexers=MACHINE_INDEXERS, clock=clock)
        self.lists = 0
        self.releases = NodeReleases(
            client=self.client,
            machines=self.machines,
            nodes=self.nodes,
            catch_up=partial(self._catch_up, partial(catch_up, self.client, MACHINES, self.machines, clock)),
            clock=clock,
        )

    async def _catch_up(self, really: "partial[object]") -> None:
        self.lists += 1
        await really()  # type: ignore[misc]

    async def deleted_node(self, name: str, provider_id: str) -> None:
        metadata = {"finalizers": [FINALIZER_NODE]}
        self.api.write(NODES.path(), name, {"metadata": metadata, "spec": {"providerID": provider_id}})
        self.api.delete(NODES.path(), name)
        node = await self.client.get(NODES, name)
        self.nodes.observe(node)
        self.releases.on_node(None, node)

    def machine(self, name: str, provider_id: str) -> None:
        template = {"driver": "faulty", "nodeClassName": "small", "join": {"mode": "EKS"}}
        spec, status = {"nodeName": name, "template": template}, {"providerID": provider_id}
        self.api.write(MACHINES.path(), name, {"metadata": {}, "spec": spec, "status": status})

    @property
    def left(self) -> set[str]:
        return {name for path, name in self.api.objects if path == NODES.path()}


@pytest.mark.parametrize("name", ["web-a1b2c", "ip-10-0-0-1"], ids=["our name", "a name that the cloud chose"])
async def test_cache_that_is_behind_does_not_take_the_node_from_its_machine(name: str) -> None:
    bed = Bed()
    bed.machine("web-a1b2c", "p://1")
    await bed.deleted_node(name, "p://1")
    await bed.releases.reconcile("")
    assert bed.left == {name}


async def test_nodes_of_machines_that_are_gone_go_all_together_for_one_list() -> None:
    bed = Bed()
    bed.machine("web-a1b2c", "p://1")
    for number in range(5):
        await bed.deleted_node(f"gone-{number}", f"p://gone/{number}")
    await bed.releases.reconcile("")
    assert not bed.left
    await bed.releases.reconcile("")
    assert bed.lists == 1


async def test_node_that_could_not_be_let_go_is_tried_again_and_holds_up_no_other() -> None:
    bed = Bed()
    for name in ("gone-1", "gone-2", "gone-3"):
        await bed.deleted_node(name, f"p://{name}")

    async def refuse(verb: str, name: str) -> None:
        if (verb, name) == ("patch", "gone-2"):
            raise Unavailable(503, "ServiceUnavailable", "later")

    bed.client.fault = refuse
    with pytest.raises(ApiError):
        await bed.releases.reconcile("")
    assert bed.left == {"gone-2"}
    bed.client.fault = None
    await bed.releases.reconcile("")
    assert not bed.left


async def test_nobody_is_let_go_while_the_machines_cannot_be_read() -> None:
    bed = Bed()
    await bed.deleted_node("gone-1", "p://gone-1")

    async def refuse(verb: str, _name: str) -> None:
        if verb == "list":
            raise Unavailable(503, "ServiceUnavailable", "later")

    bed.client.fault = refuse
    with pytest.raises(ApiError):
        await bed.releases.reconcile("")
    assert bed.left == {"gone-1"}
    bed.client.fault = None
    await bed.releases.reconcile("")
    assert not bed.left
