"""Nodes made with kubectl under fire: whoever deletes what, at most one machine each, and none unrecorded."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from testbed.memory_world import World

from nodeset_provider.api.meta import find_condition, is_true
from nodeset_provider.api.names import CONDITION_LAUNCHED, CONDITION_REGISTERED, REASON_REGISTRATION_TIMEOUT
from nodeset_provider.controllers.placeholder.recognise import is_handed_over, is_placeholder, placeholder_uid
from nodeset_provider.driverkit.errors import DriverError, InsufficientCapacity, QuotaExceeded, Transient
from nodeset_provider.kube.resources import NODE_CLASSES, NODES

NAMES = ("dev-1", "dev-2")
ERRORS: dict[str, DriverError] = {
    "transient": Transient("no answer"),
    "capacity": InsufficientCapacity("none left"),
    "quota": QuotaExceeded("limit reached"),
}


class PlaceholdersUnderFire(RuleBasedStateMachine):
    """Two names, one class that is edited, one cloud, one provider that dies now and then."""

    @initialize(registration=st.sampled_from(["Adopt", "Handover"]), delay=st.sampled_from([0.0, 3.0]))
    def begin(self, registration: str, delay: float) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._begin(registration, delay))

    async def _begin(self, registration: str, delay: float) -> None:
        self.world = world = World()
        world.cloud.consistency_delay = delay
        world.put_class(registration=registration)
        await world.start()

    def _settle_now(self) -> None:
        self.runner.run(self.world.settle())

    def _node(self, name: str) -> bool:
        return (NODES.path(), name) in self.world.api.objects

    @rule(name=st.sampled_from(NAMES), team=st.sampled_from(["a", "b"]))
    def person_creates(self, name: str, team: str) -> None:
        if not self._node(name):
            self.world.put_node(name, labels={"team": team})
            self._settle_now()

    @rule(name=st.sampled_from(NAMES), by_cloud=st.booleans())
    def node_is_deleted(self, name: str, *, by_cloud: bool) -> None:
        if self._node(name):
            self.world.delete_node(name, by_cloud=by_cloud)
            self._settle_now()

    @rule(name=st.sampled_from(NAMES))
    def machine_is_deleted(self, name: str) -> None:
        if any(machine.metadata.name == name for machine in self.world.machines):
            self.world.delete_machine(name)
            self._settle_now()

    @rule(name=st.sampled_from(NAMES))
    def kubelet_registers(self, name: str) -> None:
        for machine in self.world.machines:
            if machine.metadata.name == name and machine.status.provider_id and self.world.cloud.of(name):
                node = next((node for node in self.world.nodes if node.metadata.name == name), None)
                if node is None or not (node.has_kubelet or node.metadata.deleting):
                    self.world.join(machine)
                    self._settle_now()

    @rule(registration=st.sampled_from(["Adopt", "Handover"]), labels=st.sampled_from([{}, {"tier": "x"}]))
    def class_is_edited(self, registration: str, labels: dict[str, str]) -> None:
        self.world.put_class(registration=registration, nodeLabels=labels)
        self._settle_now()

    @rule(name=st.sampled_from(NAMES), hold=st.booleans())
    def somebody_holds_the_node(self, name: str, *, hold: bool) -> None:
        if self._node(name):
            self.world.hold_node(name, hold=hold)
            self._settle_now()

    @rule()
    def class_is_made_anew(self) -> None:
        body = self.world.api.objects[NODE_CLASSES.path(), "small"]
        self.world.api.remove(NODE_CLASSES.path(), "small")
        self._settle_now()
        self.world.put_class(registration=body["spec"]["registration"])
        self._settle_now()

    @rule(call=st.sampled_from(["create", "get", "delete"]), error=st.sampled_from(sorted(ERRORS)), after=st.booleans())
    def cloud_fails(self, call: str, error: str, *, after: bool) -> None:
        self.world.cloud.fail(call, ERRORS[error], after=after and error == "transient")

    @rule()
    def api_answer_is_lost(self) -> None:
        assert self.world.client is not None
        self.world.client.lose_answer = True

    @precondition(lambda self: self.world.crash_after is None)
    @rule(points=st.integers(0, 12))
    def dies_soon(self, points: int) -> None:
        self.world.crash_after = points

    @rule()
    def starts_again(self) -> None:
        self.runner.run(self.world.restart())

    @rule(seconds=st.sampled_from([0.5, 4.0, 15.0, 90.0]))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(self.world.pass_time(seconds, step=max(1.0, seconds / 10)))

    @rule(slow=st.integers(1, 3))
    def deletions_take_several_calls(self, slow: int) -> None:
        self.world.cloud.deletes_needed = slow

    @invariant()
    def one_machine_each_and_none_unrecorded(self) -> None:
        cloud = self.world.cloud
        names = [machine.machine for machine in cloud.machines.values()]
        assert len(names) == len(set(names)), "two machines for one name"
        assert set(names) <= {machine.metadata.name for machine in self.world.machines}, "a machine without a record"
        assert not cloud.overlapped, "two calls at one time for one Machine"
        assert not cloud.changed_user_data, "one token, two user-datas"

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            try:
                self.runner.run(self._settle())
            finally:
                self.runner.run(self.world.stop())
                self.runner.close()

    async def _settle(self) -> None:
        world = self.world
        world.cloud.faults.clear()
        for node in world.nodes:
            world.hold_node(node.metadata.name, hold=False)
        await world.restart()
        for _ in range(5):
            await world.pass_time(150, step=15)
        self.one_machine_each_and_none_unrecorded()
        machines = {machine.metadata.name: machine for machine in world.machines}
        nodes = {node.metadata.name: node for node in world.nodes}
        for name, machine in machines.items():
            assert not machine.metadata.deleting
            node, joined = nodes.get(name), machine.status.node_ref
            registered = find_condition(machine.status.conditions, CONDITION_REGISTERED)
            given_up = registered is not None and registered.reason == REASON_REGISTRATION_TIMEOUT
            assert is_true(machine.status.conditions, CONDITION_LAUNCHED), machine.status
            assert len(world.cloud.of(name)) == 1 or given_up
            if joined is not None:
                assert node is not None
                assert node.metadata.uid == joined.uid
            elif node is None:
                assert is_handed_over(machine), "nobody waits for it: it should have been cancelled"
            else:
                assert node.metadata.uid == placeholder_uid(machine)
        for name, node in nodes.items():
            assert name in machines, "a wish that nobody heard, or a Node without its machine"
            assert is_placeholder(node) or machines[name].status.node_ref is not None
        tokens = len(world.tokens)
        assert tokens <= sum(machine.status.node_ref is None for machine in machines.values()), "a token is left"


PlaceholdersUnderFire.TestCase.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.timeout(240)
class TestPlaceholdersUnderFire(PlaceholdersUnderFire.TestCase):  # type: ignore[misc]
    pass
