"""Making the Machine of a Node: whatever the API server answers, nobody waits for ever to learn who made it."""

import pytest
from testbed.manual_clock import ManualClock
from testbed.memory_cluster import ClusterApi, ClusterClient

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import ANNOTATION_NODE_CLASS
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.births import Births
from nodeset_provider.controllers.placeholder.actions import MakeMachine
from nodeset_provider.controllers.placeholder.effects import Effects
from nodeset_provider.kube.errors import ApiError, Unavailable
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODES

NAME = "dev-1"
BODY = {
    "metadata": {"name": NAME},
    "spec": {"nodeName": NAME, "template": {"driver": "faulty", "nodeClassName": "small"}},
}


class Bed:
    def __init__(self) -> None:
        self.api = ClusterApi()
        self.client = ClusterClient(self.api)
        clock = ManualClock()
        self.machines: Informer[Machine] = Informer(self.client, MACHINES, clock=clock)
        nodes: Informer[Node] = Informer(self.client, NODES, clock=clock)
        self.births = Births()
        self.woken: list[str] = []
        self.effects = Effects(
            client=self.client,
            events=self.client,
            nodes=nodes,
            machines=self.machines,
            births=self.births,
            recorder=Recorder(self.client, component="test", clock=clock),
            wake=self._wake,
        )
        self.api.write(NODES.path(), NAME, {"metadata": {"annotations": {ANNOTATION_NODE_CLASS: "small"}}})

    def _wake(self, machine: Machine) -> None:
        assert not self.births.is_announced(NAME), "looked at before it is known who made it"
        self.woken.append(machine.metadata.name)

    async def make(self) -> None:
        await self.effects.make(MakeMachine(await self.client.get(NODES, NAME), BODY))


async def test_machine_that_was_made_is_ours_and_is_looked_at() -> None:
    bed = Bed()
    await bed.make()
    (made,) = bed.machines.items()
    assert bed.births.is_ours(made.metadata.uid)
    assert bed.woken == [NAME]


async def test_machine_that_was_there_already_is_not_ours_and_is_looked_at() -> None:
    bed = Bed()
    bed.api.write(MACHINES.path(), NAME, BODY)
    await bed.make()
    (found,) = bed.machines.items()
    assert not bed.births.is_ours(found.metadata.uid)
    assert bed.woken == [NAME]


async def test_machine_that_was_there_already_is_looked_at_though_it_cannot_be_read_right_then() -> None:
    bed = Bed()
    bed.api.write(MACHINES.path(), NAME, BODY)
    bed.machines.observe(await bed.client.get(MACHINES, NAME))
    created = False

    async def fail_after_the_create(verb: str, _name: str) -> None:
        nonlocal created
        if created and verb == "get":
            raise Unavailable(503, "ServiceUnavailable", "later")
        created = created or verb == "create"

    bed.client.fault = fail_after_the_create
    with pytest.raises(ApiError):
        await bed.make()
    assert not bed.births.is_announced(NAME)
    assert bed.woken == [NAME]


async def test_machine_whose_creation_got_no_answer_is_nobodys_until_it_was_looked_up() -> None:
    bed = Bed()
    bed.client.lose_answer = True
    with pytest.raises(ApiError):
        await bed.make()
    made = await bed.client.get(MACHINES, NAME)
    assert not bed.births.is_announced(NAME)
    assert not bed.births.is_ours(made.metadata.uid)
