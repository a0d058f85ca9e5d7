"""At most one host bears a token's claim: whatever the order of events, whoever crashes, whichever hosts are silent."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodeset_driver_ssh.config import parse_config
from nodeset_driver_ssh.hosts import Host, hosts_of, in_order_of, quorum_of
from nodeset_driver_ssh.placement import Placement
from nodeset_driver_ssh.state import HostState

from nodeset_provider.driverkit.errors import DriverError, InsufficientCapacity, InvalidSpec, Transient, Unauthorized

TOKEN = "token-1"


@dataclass
class Machine:
    """A host as ``agent.sh`` keeps it."""

    up: bool = True
    claim: str = ""
    quarantine: str = ""
    refused: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    notes: dict[str, list[str]] = field(default_factory=dict)
    error: type[DriverError] = Transient


class Pool:
    """Calls that take effect at one moment each, and lose their answers as ``chaos`` decides."""

    def __init__(self, size: int, chaos: random.Random | None = None) -> None:
        self.hosts = hosts_of(parse_config({"hosts": [{"address": f"10.0.0.{n + 1}"} for n in range(size)]}))
        self.machines = {host.id: Machine() for host in self.hosts}
        self.chaos = chaos
        self.most_claims = 0
        self.asked: list[tuple[str, str]] = []

    def owners(self, token: str = TOKEN) -> list[str]:
        return [name for name, machine in self.machines.items() if machine.claim == token]

    def placement(self) -> Placement:
        return Placement(self.hosts, self)

    def down(self, *hosts: Host, error: type[DriverError] = Transient) -> None:
        for host in hosts:
            self.machines[host.id].up, self.machines[host.id].error = False, error

    async def look(self, host: Host, token: str) -> HostState:
        machine = await self._reach(host, "look")
        return await self._answer(host, machine, token)

    async def note(self, host: Host, token: str, target: Host) -> None:
        machine = await self._reach(host, "note")
        if token in machine.closed:
            raise InvalidSpec("closed")
        notes = machine.notes.setdefault(token, [])
        if target.id not in notes:
            notes.append(target.id)
        await self._answer(host, machine, token)

    async def shut(self, host: Host, token: str) -> HostState:
        machine = await self._reach(host, "shut")
        machine.closed.add(token)
        return await self._answer(host, machine, token)

    async def close(self, host: Host, token: str) -> None:
        machine = await self._reach(host, "close")
        machine.closed.add(token)
        machine.notes.pop(token, None)
        await self._answer(host, machine, token)

    async def fence(self, host: Host, token: str) -> HostState:
        machine = await self._reach(host, "fence")
        if machine.claim != token:
            machine.refused.add(token)
        return await self._answer(host, machine, token)

    async def claim(self, host: Host, token: str) -> HostState:
        machine = await self._reach(host, "claim")
        if machine.claim != token:
            if machine.claim or machine.quarantine or token in machine.refused:
                machine.refused.add(token)
            else:
                machine.claim = token
        self.most_claims = max(self.most_claims, len(self.owners()))
        return await self._answer(host, machine, token)

    async def _reach(self, host: Host, verb: str) -> Machine:
        self.asked.append((verb, host.id))
        await self._wait(host)
        machine = self.machines[host.id]
        if not machine.up:
            raise machine.error(f"host {host.id} is down")
        return machine

    async def _answer(self, host: Host, machine: Machine, token: str) -> HostState:
        state = HostState(
            host=host,
            token=machine.claim,
            quarantine=machine.quarantine,
            refused=token in machine.refused,
            closed=token in machine.closed,
            notes=tuple(machine.notes.get(token, ())),
        )
        await self._wait(host)
        return state

    async def _wait(self, host: Host) -> None:
        if self.chaos is None:
            return
        for _ in range(self.chaos.randrange(6)):
            await asyncio.sleep(0)
        if self.chaos.random() < 0.01:
            raise Transient(f"the answer of {host.id} is lost")


async def creator(pool: Pool, token: str, chaos: random.Random) -> None:
    """A provider that asks again, and is killed now and then."""
    for _ in range(4):
        call = asyncio.create_task(pool.placement().place(token))
        if chaos.random() < 0.3:
            for _ in range(chaos.randrange(60)):
                await asyncio.sleep(0)
            call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def deleter(pool: Pool, token: str, chaos: random.Random) -> bool:
    """A provider that takes the token's machine away; whether it heard that it is gone."""
    for _ in range(chaos.randrange(100)):
        await asyncio.sleep(0)
    for _ in range(6):
        try:
            owner = await pool.placement().withdraw(token)
        except DriverError:
            continue
        if owner is not None:
            machine = pool.machines[owner.host.id]
            machine.claim = ""
            machine.refused.add(token)
        await pool.placement().close(token)
        return True
    return False


async def weather(pool: Pool, chaos: random.Random) -> None:
    """Hosts come and go; what others had claimed becomes free, and what was free is taken."""
    for _ in range(60):
        for _ in range(chaos.randrange(8)):
            await asyncio.sleep(0)
        machine = pool.machines[chaos.choice(pool.hosts).id]
        if chaos.random() < 0.4:
            machine.up = chaos.random() < 0.7
        elif machine.claim == "":
            machine.claim = "somebody"
        elif machine.claim == "somebody":
            machine.claim = ""


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 7), creators=st.integers(1, 5))
def test_no_order_of_events_gives_one_token_two_hosts(seed: int, size: int, creators: int) -> None:
    chaos = random.Random(seed)

    async def run() -> Pool:
        pool = Pool(size, chaos)
        await asyncio.gather(weather(pool, chaos), *(creator(pool, TOKEN, chaos) for _ in range(creators)))
        before = pool.owners()
        for machine in pool.machines.values():
            machine.up = True
        pool.chaos = None
        found = await pool.placement().find(TOKEN)
        assert [found.host.id] == before if found else before == []
        return pool

    assert asyncio.run(run()).most_claims <= 1


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 7), creators=st.integers(1, 3))
def test_no_create_on_its_way_claims_a_host_once_the_machine_is_said_to_be_gone(
    seed: int, size: int, creators: int
) -> None:
    chaos = random.Random(seed)

    async def run() -> bool:
        pool = Pool(size, chaos)
        calls = [creator(pool, TOKEN, chaos) for _ in range(creators)]
        gone, *_ = await asyncio.gather(deleter(pool, TOKEN, chaos), *calls, weather(pool, chaos))
        return not gone or pool.owners() == []

    assert asyncio.run(run())


@pytest.mark.parametrize(("size", "dead"), [(3, 1), (4, 1), (5, 2), (12, 2)])
async def test_dead_hosts_do_not_keep_a_new_machine_away(size: int, dead: int) -> None:
    pool = Pool(size)
    pool.down(*in_order_of(TOKEN, pool.hosts)[:dead])
    state = await pool.placement().place(TOKEN)
    assert pool.owners() == [state.host.id]


@pytest.mark.parametrize("size", [2, 3, 6])
async def test_dead_host_that_bears_the_claim_is_not_passed_over(size: int) -> None:
    pool = Pool(size)
    first = (await pool.placement().place(TOKEN)).host
    pool.down(first)
    with pytest.raises(Transient, match=first.id):
        await pool.placement().place(TOKEN)
    with pytest.raises(Transient, match=first.id):
        await pool.placement().find(TOKEN)
    pool.machines[first.id].up = True
    assert (await pool.placement().place(TOKEN)).host.id == first.id
    assert pool.owners() == [first.id]


async def test_error_of_a_host_that_may_bear_the_claim_never_closes_the_attempt() -> None:
    pool = Pool(4)
    first = (await pool.placement().place(TOKEN)).host
    pool.down(first, error=Unauthorized)
    with pytest.raises(DriverError) as refused:
        await pool.placement().place(TOKEN)
    assert not refused.value.attempt_failed


async def test_dead_host_does_not_keep_the_absence_of_a_machine_from_being_known() -> None:
    pool = Pool(2)
    pool.down(pool.hosts[0])
    assert await pool.placement().find(TOKEN) is None
    assert await pool.placement().withdraw(TOKEN) is None


async def test_of_two_hosts_both_must_answer_before_one_is_claimed() -> None:
    pool = Pool(2)
    pool.down(pool.hosts[0])
    with pytest.raises(Transient, match=r"2 of the hosts .* must answer .*10\.0\.0\.1 is down"):
        await pool.placement().place(TOKEN)
    assert pool.owners() == []


async def test_withdrawn_token_is_refused_by_the_host_that_it_was_tried_on() -> None:
    pool = Pool(3)
    target = pool.hosts[0]
    for host in pool.hosts:
        await pool.note(host, TOKEN, target)
    assert await pool.placement().withdraw(TOKEN) is None
    await pool.claim(target, TOKEN)
    assert pool.owners() == []


async def test_late_claim_of_another_host_that_was_noted_is_refused() -> None:
    """Two calls noted two hosts; the slower one arrives when the other has its claim."""
    pool = Pool(3)
    first, second, _ = in_order_of(TOKEN, pool.hosts)
    for host in pool.hosts:
        await pool.note(host, TOKEN, first)
        await pool.note(host, TOKEN, second)
    assert (await pool.placement().place(TOKEN)).host.id == first.id
    await pool.claim(second, TOKEN)
    assert pool.owners() == [first.id]


async def test_closed_token_is_not_placed_again() -> None:
    pool = Pool(5)
    owner = (await pool.placement().place(TOKEN)).host
    pool.machines[owner.id].claim = ""
    pool.machines[owner.id].refused.add(TOKEN)
    await pool.placement().close(TOKEN)
    with pytest.raises(InvalidSpec, match="deleted"):
        await pool.placement().place(TOKEN)
    assert all(TOKEN not in machine.notes for machine in pool.machines.values())


async def test_full_pool_counts_claimed_and_quarantined_and_names_the_latter() -> None:
    pool = Pool(4)
    names = [host.id for host in pool.hosts]
    pool.machines[names[0]].claim = pool.machines[names[1]].claim = "somebody"
    pool.machines[names[2]].quarantine = "the reset failed"
    pool.down(pool.hosts[3])
    with pytest.raises(InsufficientCapacity) as full:
        await pool.placement().place(TOKEN)
    assert "2 claimed, 1 in quarantine, 1 not to be asked" in full.value.message
    assert f"{names[2]} (the reset failed)" in full.value.message
    assert f"{names[3]} is down" in full.value.message


async def test_looking_up_asks_the_witnesses_and_not_the_whole_pool() -> None:
    pool = Pool(200)
    await pool.placement().find(TOKEN)
    assert {name for _, name in pool.asked} <= {host.id for host in quorum_of(TOKEN, pool.hosts).witnesses}


async def test_note_that_reached_too_few_witnesses_is_completed_before_the_claim() -> None:
    pool = Pool(4)
    target = in_order_of(TOKEN, pool.hosts)[-1]
    await pool.note(target, TOKEN, target)
    await pool.placement().place(TOKEN)
    assert sum(TOKEN in machine.notes for machine in pool.machines.values()) >= quorum_of(TOKEN, pool.hosts).write


@pytest.mark.parametrize("size", range(1, 12))
def test_what_is_written_is_always_read(size: int) -> None:
    quorum = quorum_of(TOKEN, Pool(size).hosts)
    assert quorum.write + quorum.read > len(quorum.witnesses)
    assert quorum.write > len(quorum.witnesses) / 2
