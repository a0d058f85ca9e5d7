"""Any order of scaling, faults, crashes and time: never two machines for one Machine, and all of it settles."""

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from testbed.memory_world import World

from nodeset_provider.api.meta import find_condition, is_true
from nodeset_provider.api.names import (
    CONDITION_INITIALIZED,
    CONDITION_LAUNCHED,
    CONDITION_REGISTERED,
    REASON_REGISTRATION_TIMEOUT,
)
from nodeset_provider.driverkit.errors import (
    DriverError,
    InsufficientCapacity,
    QuotaExceeded,
    Throttled,
    Transient,
    Unauthorized,
)
from nodeset_provider.kube.errors import Unavailable

ERRORS: dict[str, DriverError] = {
    "transient": Transient("no answer"),
    "throttled": Throttled("slower", retry_after=7.0),
    "capacity": InsufficientCapacity("none left"),
    "quota": QuotaExceeded("limit reached"),
    "unauthorized": Unauthorized("no"),
}
IN_DOUBT = ("transient", "throttled")


class MachinesUnderFire(RuleBasedStateMachine):
    """One NodeSet, one cloud, one provider that dies now and then."""

    @initialize(autoscaled=st.booleans(), delay=st.sampled_from([0.0, 3.0, 12.0]))
    def begin(self, *, autoscaled: bool, delay: float) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._begin(autoscaled=autoscaled, delay=delay))

    async def _begin(self, *, autoscaled: bool, delay: float) -> None:
        self.world = world = World()
        world.cloud.consistency_delay = delay
        world.put_class()
        world.put_set(replicas=2, **({"autoscaling": {"maxReplicas": 9}} if autoscaled else {}))
        self.autoscaled = autoscaled
        await world.start()

    @rule(replicas=st.integers(0, 5))
    def scale(self, replicas: int) -> None:
        self.world.edit_set(replicas=replicas)
        self.runner.run(self.world.settle())

    @rule(data=st.data(), shrink=st.booleans())
    def remove_first(self, data: st.DataObject, *, shrink: bool) -> None:
        names = [m.metadata.name for m in self.world.machines]
        if not names:
            return
        victim = data.draw(st.sampled_from(names))
        nodeset = self.world.nodeset()
        listed = sorted({*nodeset.spec.remove_first, victim})
        self.world.edit_set(replicas=max(0, nodeset.spec.replicas - shrink), removeFirst=listed)
        self.runner.run(self.world.settle())

    @rule(data=st.data())
    def delete_one(self, data: st.DataObject) -> None:
        names = [m.metadata.name for m in self.world.machines]
        if names:
            self.world.delete_machine(data.draw(st.sampled_from(names)))
            self.runner.run(self.world.settle())

    @rule(data=st.data())
    def somebody_deletes_a_node(self, data: st.DataObject) -> None:
        names = [node.metadata.name for node in self.world.nodes]
        if names:
            self.world.delete_node(data.draw(st.sampled_from(names)))
            self.runner.run(self.world.settle())

    @rule(data=st.data(), hold=st.booleans())
    def somebody_holds_a_node(self, data: st.DataObject, *, hold: bool) -> None:
        names = [node.metadata.name for node in self.world.nodes]
        if names:
            self.world.hold_node(data.draw(st.sampled_from(names)), hold=hold)
            self.runner.run(self.world.settle())

    @rule(kind=st.sampled_from(["small", "big"]))
    def class_is_edited(self, kind: str) -> None:
        self.world.put_class(config={"type": kind})
        self.runner.run(self.world.settle())

    @rule(late=st.booleans())
    def addresses_of_new_machines_are_not_known_yet(self, *, late: bool) -> None:
        self.world.cloud.addresses_come_late = late

    @rule(data=st.data())
    def one_joins(self, data: st.DataObject) -> None:
        there = {node.metadata.name for node in self.world.nodes}
        able = [m for m in self.world.machines if m.status.provider_id and m.metadata.name not in there]
        if able:
            machine = data.draw(st.sampled_from(able))
            if self.world.cloud.of(machine.metadata.name):
                self.world.join(machine)
                self.runner.run(self.world.settle())

    @rule(
        call=st.sampled_from(["create", "get", "delete", "diagnose"]),
        error=st.sampled_from(sorted(ERRORS)),
        after=st.booleans(),
    )
    def cloud_fails(self, call: str, error: str, *, after: bool) -> None:
        # A driver vouches that nothing was made (rule 6): only errors that leave a doubt may follow an effect.
        self.world.cloud.fail(call, ERRORS[error], after=after and error in IN_DOUBT)

    @rule(refused=st.sampled_from(["capacity", "quota", "unauthorized"]))
    def create_is_slow_and_the_next_is_refused(self, refused: str) -> None:
        self.world.cloud.slow_creates += 1
        self.world.cloud.fail("create", ERRORS[refused])

    @rule()
    def api_answer_is_lost(self) -> None:
        assert self.world.client is not None
        self.world.client.lose_answer = True

    @precondition(lambda self: self.world.client is not None and self.world.client.fault == self.world.healthy)
    @rule(count=st.integers(1, 4))
    def api_server_is_down_for_a_while(self, count: int) -> None:
        client = self.world.client
        assert client is not None
        healthy = client.fault
        assert healthy is not None
        left = count

        async def refuse(verb: str, name: str) -> None:
            nonlocal left
            await healthy(verb, name)
            if verb not in {"watch", "list"}:
                left -= 1
                if left == 0:
                    client.fault = healthy
                raise Unavailable(503, "ServiceUnavailable", "down")

        client.fault = refuse

    @precondition(lambda self: self.world.crash_after is None)
    @rule(points=st.integers(0, 12))
    def dies_soon(self, points: int) -> None:
        self.world.crash_after = points

    @rule()
    def starts_again(self) -> None:
        self.runner.run(self.world.restart())

    @rule(seconds=st.sampled_from([0.5, 2.0, 15.0, 90.0]))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(self.world.pass_time(seconds, step=max(1.0, seconds / 10)))

    @rule(slow=st.integers(1, 3))
    def deletions_take_several_calls(self, slow: int) -> None:
        self.world.cloud.deletes_needed = slow

    @invariant()
    def one_machine_each(self) -> None:
        cloud = self.world.cloud
        names = [machine.machine for machine in cloud.machines.values()]
        assert len(names) == len(set(names)), "two machines for one Machine"
        known = {machine.metadata.name for machine in self.world.machines}
        assert set(names) <= known, "a machine whose Machine is gone"
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
        world.cloud.slow_creates = 0
        for node in world.nodes:
            world.hold_node(node.metadata.name, hold=False)
        await world.restart()
        # Longer than the longest back-off between two attempts.
        for _ in range(5):
            await world.pass_time(150, step=15)
            if self.autoscaled:
                await self._autoscaler_gives_up_on_failures()
        self.one_machine_each()
        nodeset = world.nodeset()
        staying = [m for m in world.machines if not m.metadata.deleting]
        assert len(staying) == len(world.machines) == nodeset.spec.replicas
        assert not nodeset.spec.remove_first
        for machine in staying:
            assert is_true(machine.status.conditions, CONDITION_LAUNCHED), machine.status
            registered = find_condition(machine.status.conditions, CONDITION_REGISTERED)
            # Nothing joins here: one that was given up for it is gone, and its next attempt may not be due yet.
            given_up = registered is not None and registered.reason == REASON_REGISTRATION_TIMEOUT
            assert len(world.cloud.of(machine.metadata.name)) == 1 or given_up
            node = next((n for n in world.nodes if n.metadata.name == machine.metadata.name), None)
            assert (node is not None) == is_true(machine.status.conditions, CONDITION_INITIALIZED)
        assert {n.metadata.name for n in world.nodes} <= {m.metadata.name for m in staying}
        assert nodeset.status.replicas == nodeset.spec.replicas

    async def _autoscaler_gives_up_on_failures(self) -> None:
        failed = [
            m.metadata.name
            for m in self.world.machines
            if not is_true(m.status.conditions, CONDITION_LAUNCHED) and m.status.last_failure is not None
        ]
        if failed:
            nodeset = self.world.nodeset()
            self.world.edit_set(removeFirst=sorted({*nodeset.spec.remove_first, *failed}))


MachinesUnderFire.TestCase.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.timeout(240)
class TestMachinesUnderFire(MachinesUnderFire.TestCase):  # type: ignore[misc]
    pass
