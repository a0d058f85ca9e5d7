"""A machine's addresses come from its cloud, soon, and whoever never tells them is not asked for ever at that pace."""

from dataclasses import replace
from random import Random

import msgspec
from testbed.memory_world import World
from testbed.objects import NOW, UNREGISTERED, condition, machine, node

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.machine import addresses
from nodeset_provider.controllers.machine.actions import LookUp, Wait, WriteStatus
from nodeset_provider.controllers.machine.controller import decide
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.driverkit.contract import Address, Instance, InstanceState
from nodeset_provider.driverkit.errors import NotFound, Throttled, Transient
from nodeset_provider.kube.resources import NODES

MOMENT = 5000.0


def instance(*told: str) -> Instance:
    return Instance(
        provider_id="p://1",
        token="t",
        cluster="c",
        machine="web-a1b2c",
        state=InstanceState.RUNNING,
        addresses=tuple(Address(type="InternalIP", address=address) for address in told),
    )


def seen(it: Machine, node: Node | None = None, **known: object) -> Observed:
    memory = Memory(attempt=1, known_since=MOMENT, token_ensured=True, **known)  # type: ignore[arg-type]
    return Observed(machine=it, node=node, memory=memory, cluster="cluster", now=NOW, moment=MOMENT)


def joining(*known: str) -> Machine:
    return machine(conditions=[condition("Launched")], provider_id="p://1", addresses=known)


def running(*known: str) -> Machine:
    conditions = [condition("Launched"), condition("Registered"), condition("Initialized")]
    return machine(conditions=conditions, provider_id="p://1", node_uid="node-uid", addresses=known)


def pauses(o: Observed, looks: int) -> list[float]:
    """Seconds between looks that tell nothing."""
    found = []
    for _ in range(looks):
        action = addresses.decide(o)
        assert isinstance(action, Wait)
        assert action.seconds is not None
        found.append(action.seconds)
        o = replace(o, moment=o.moment + action.seconds)
        assert addresses.decide(o) == LookUp()
        o = replace(o, memory=addresses.after_look(o.memory, o, o.moment))
    return found


def test_machine_that_boots_is_asked_for_its_addresses_soon_and_then_ever_more_slowly() -> None:
    assert pauses(seen(joining(), made_at=MOMENT), 8) == [2, 4, 8, 16, 30, 30, 30, 30]


def test_thousand_machines_whose_cloud_never_tells_leave_their_account_its_quota() -> None:
    joined = pauses(seen(running(), node(provider_id="p://1"), made_at=MOMENT), 20)
    assert joined[:4] == [2, 4, 8, 16]
    assert joined[-3:] == [6 * 3600] * 3
    assert 1000 * 3600 / joined[-1] < 200, "calls in an hour, of 3600 that some clouds allow"


def test_machine_that_was_there_before_this_process_is_looked_at_once_and_then_slowly() -> None:
    old = replace(seen(running(), node(provider_id="p://1")), now=NOW + 30 * 86400)
    found = pauses(old, 4)
    assert found == [2, 602, 1204, 2408]


def test_nothing_is_asked_where_all_is_known() -> None:
    o = seen(running("10.0.0.7", "fd00::7"), node(provider_id="p://1", addresses=("10.0.0.7",)))
    assert addresses.decide(o) is None
    assert decide(o) == Wait()


def test_address_that_only_the_node_has_is_asked_for_and_never_written_down_from_it() -> None:
    o = seen(running("10.0.0.7"), node(provider_id="p://1", addresses=("10.0.0.8",)))
    later = replace(o, moment=MOMENT + 2)
    assert decide(later) == LookUp()
    still = replace(later, memory=replace(later.memory, instance=instance("10.0.0.7")))
    assert not isinstance(decide(still), WriteStatus)


def test_node_with_other_addresses_begins_the_pauses_anew() -> None:
    o = seen(running("10.0.0.7"), node(provider_id="p://1", addresses=("10.0.0.8",)))
    tired = replace(
        o.memory, addresses_sought_since=MOMENT - 698, address_looked_at=MOMENT - 100, looked_for=("10.0.0.8",)
    )
    assert addresses.decide(replace(o, memory=tired)) == Wait(500)
    moved = node(provider_id="p://1", addresses=("10.0.0.9",))
    assert addresses.decide(replace(o, memory=tired, node=moved)) == LookUp()


def test_addresses_of_somebody_elses_node_are_not_asked_for() -> None:
    stranger = node(uid="other", provider_id="p://2", addresses=("10.0.0.9",))
    assert addresses.decide(seen(running("10.0.0.7"), stranger)) is None


def test_what_the_cloud_says_is_written_down_also_where_it_changed() -> None:
    for it in (joining(), joining("10.0.0.1"), running("10.0.0.1")):
        shown = node(provider_id="p://1") if it.status.node_ref else None
        action = decide(seen(it, shown, instance=instance("10.0.0.7")))
        assert isinstance(action, WriteStatus)
        assert action.status == {"addresses": [{"type": "InternalIP", "address": "10.0.0.7"}]}


def test_cloud_in_trouble_is_not_asked_before_it_allows_and_the_machine_that_runs_says_nothing() -> None:
    o = seen(running(), node(provider_id="p://1"))
    memory = addresses.after_joined_look(o.memory, Throttled("slower", retry_after=90), MOMENT, Random(0))
    o = replace(o, memory=addresses.after_look(memory, o, MOMENT))
    assert addresses.decide(o) == Wait(90)
    for error in (Transient("away"), NotFound("no such machine")):
        known = addresses.after_joined_look(o.memory, error, MOMENT, Random(0))
        assert known.trouble is None
        assert not known.vanished


async def test_addresses_that_come_late_are_known_soon_and_cost_one_write() -> None:
    world = World()
    world.cloud.addresses_come_late = True
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(20)
    (it,) = world.machines
    assert not it.status.addresses
    gets = [call for call, _ in world.cloud.calls if call == "get"]
    assert 2 <= len(gets) <= 5
    world.cloud.of(it.metadata.name)[0].addresses = ("10.0.0.7",)
    before = len(world.api.log)
    await world.pass_time(31)
    assert [a.address for a in world.machines[0].status.addresses] == ["10.0.0.7"]
    assert world.api.log[before:].count(("patch", it.metadata.name)) == 1
    await world.stop()


async def test_address_that_a_machine_gets_while_it_runs_is_known_soon_after_its_node_says_so() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(3)
    world.join(world.machines[0])
    await world.pass_time(10)
    (it,) = world.machines
    world.cloud.of(it.metadata.name)[0].addresses = ("10.0.0.99",)
    quiet = len(world.cloud.calls)
    await world.pass_time(120, step=10)
    assert len(world.cloud.calls) == quiet, "a machine that runs costs no calls"
    body = world.api.objects[NODES.path(), it.metadata.name]
    status = {**body["status"], "addresses": [{"type": "InternalIP", "address": "10.0.0.99"}]}
    world.api.write(NODES.path(), it.metadata.name, {**body, "status": status})
    await world.pass_time(3)
    assert msgspec.to_builtins(world.machines[0].status.addresses) == [{"type": "InternalIP", "address": "10.0.0.99"}]
    await world.stop()
    assert not any(taint.key == UNREGISTERED.key for taint in world.nodes[0].spec.taints)
