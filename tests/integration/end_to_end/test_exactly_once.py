"""Whoever dies at whatever moment: one Machine, one machine; and what goes is gone whole.

The cloud shows a new machine only after a second, so nobody may take its first "not found" for the truth. Of each pair
of NodeSets one has machines whose provider id follows from the token, the other has ids that only the cloud knows.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from nodeset_driver_simulated.knobs import When
from testbed.world import World

from nodeset_provider.api.machine import client_token

pytestmark = pytest.mark.parametrize(
    "cluster", [pytest.param({"cloud_settings": {"visibilityDelay": 1.0}}, id="slow-listing")], indirect=True
)

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def world(shared: World) -> World:
    shared.node_class("told", "small-2")
    shared.node_class("found", "small-2", config={"instanceType": "small-2", "assignedID": True})
    return shared


def grow(world: World, name: str, replicas: int) -> Pair:
    """Two NodeSets, one of each class."""
    for node_class in ("told", "found"):
        world.node_set(f"{name}-{node_class}", node_class, replicas=replicas)
    return f"{name}-told", f"{name}-found"


def each(world: World, pair: Pair, holds: Callable[[str], bool]) -> Callable[[], bool]:
    return lambda: all(holds(nodeset) for nodeset in pair)


def becomes_complete(world: World, pair: Pair, number: int) -> None:
    world.wait(each(world, pair, lambda name: world.complete(name, number)), f"{number} machines of each are ready")
    assert all(world.made_once(name) for name in pair)
    assert world.never_twice()


def becomes_nothing(world: World, pair: Pair) -> None:
    world.wait(each(world, pair, lambda name: not world.leftovers(name)), "nothing of them is left")
    assert world.never_twice()


def first_tokens(world: World, pair: Pair) -> set[str]:
    return {client_token(m["metadata"]["uid"], 1) for name in pair for m in world.machines(name)}


def tokens_used(world: World, pair: Pair) -> set[str]:
    ledger = world.cloud(lambda admin: admin.ledger())
    return {token for token, entry in ledger.tokens.items() if entry.machine.rpartition("-")[0] in pair}


def launched(world: World, nodeset: str) -> int:
    return sum(bool(machine.get("status", {}).get("providerID")) for machine in world.machines(nodeset))


@contextmanager
def provider_down(world: World) -> Iterator[None]:
    """Killed before the block, started again after it."""
    assert world.cluster.provider.kill() == -signal.SIGKILL
    yield
    world.cluster.provider.start()


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_around_the_effect_of_create_leaves_one_machine(world: World, when: When) -> None:
    pair = f"c{when}-told", f"c{when}-found"
    for name in pair:
        world.fault("hang", name, when=when, count=2)
    grow(world, f"c{when}", 2)
    world.wait(each(world, pair, world.struck), "all four calls are under way")
    with provider_down(world):
        made = 0 if when == "before" else 2
        assert [len(world.alive(name)) for name in pair] == [made, made]
        assert [launched(world, name) for name in pair] == [0, 0], "nobody could write the answers down"
        asked = first_tokens(world, pair)
    becomes_complete(world, pair, 2)
    assert tokens_used(world, pair) == asked, "the first attempt of each, taken up again"
    world.delete("nodeset", *pair)


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_answer_of_create_leaves_one_machine(world: World, when: When) -> None:
    pair = f"l{when}-told", f"l{when}-found"
    for name in pair:
        world.fault("drop", name, when=when, count=2)
    grow(world, f"l{when}", 2)
    world.wait(each(world, pair, world.struck), "all four answers are lost")
    becomes_complete(world, pair, 2)
    assert tokens_used(world, pair) == first_tokens(world, pair), "no second attempt for a lost answer"
    world.delete("nodeset", *pair)


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_around_the_effect_of_delete_leaves_nothing(world: World, when: When) -> None:
    pair = grow(world, f"d{when}", 2)
    becomes_complete(world, pair, 2)
    for name in pair:
        world.fault("diskStays", name, operation="delete", count=2)
        world.fault("hang", name, operation="delete", when=when, count=2)
    world.cluster.kubectl("scale", "nodeset", *pair, "--replicas=0")
    calls = each(world, pair, lambda name: len(world.alive(name)) == (2 if when == "before" else 0))
    # The fault of the disks is used up with the effect, which has not happened where the call hangs before it.
    world.wait(lambda: len(hanging(world, pair)) == 0 and calls(), "all four calls are under way")
    with provider_down(world):
        assert calls()
        assert [len(world.names(name)) for name in pair] == [2, 2], "Machines stay until the cloud has said it"
    becomes_nothing(world, pair)
    world.delete("nodeset", *pair)


def hanging(world: World, pair: Pair) -> list[str]:
    """Calls that are still to hang."""
    faults = world.cloud(lambda admin: admin.faults()).values()
    return [fault.machine for fault in faults if fault.kind == "hang" and fault.machine.rpartition("-")[0] in pair]


def test_kill_between_launch_and_registration_loses_no_machine(world: World) -> None:
    world.cloud(lambda admin: admin.pause(boots=True))
    pair = grow(world, "joining", 2)
    world.wait(each(world, pair, lambda name: launched(world, name) == 2), "all are launched")
    with provider_down(world):
        assert all("tokens" in world.leftovers(name) for name in pair), "they need their bootstrap tokens"
        world.cloud(lambda admin: admin.pause())
    becomes_complete(world, pair, 2)
    assert not any("tokens" in world.leftovers(name) for name in pair), "nobody needs their tokens any more"
    world.delete("nodeset", *pair)


def test_kill_with_deletion_of_what_is_being_made_leaves_nothing(world: World) -> None:
    pair = "undone-told", "undone-found"
    for name in pair:
        world.fault("hang", name, when="after", count=2)
    grow(world, "undone", 2)
    world.wait(each(world, pair, world.struck), "all four calls are under way")
    with provider_down(world):
        assert [len(world.alive(name)) for name in pair] == [2, 2]
        world.delete("nodeset", *pair)
    becomes_nothing(world, pair)


def test_restart_of_the_cloud_in_the_middle_of_a_ramp_makes_none_too_many(world: World) -> None:
    pair = "ramp-told", "ramp-found"
    for name in pair:
        world.fault("hang", name, when="before", count=2)
        world.fault("hang", name, when="after", count=2)
    grow(world, "ramp", 5)
    world.wait(each(world, pair, lambda name: len(world.alive(name)) == 3), "3 of 5 are made, 2 nobody heard of")
    world.wait(each(world, pair, world.struck), "all the others are under way")
    world.cluster.cloud.kill()
    world.cluster.cloud.start()
    becomes_complete(world, pair, 5)
    world.delete("nodeset", *pair)


def test_silence_of_the_api_server_in_the_middle_of_a_ramp_makes_none_too_many(world: World) -> None:
    pair = grow(world, "silent", 0)
    world.wait(each(world, pair, lambda name: bool(world.condition("nodeset", name, "Ready"))), "both are looked at")
    world.cloud(lambda admin: admin.pause(api=True))
    world.cluster.kubectl("scale", "nodeset", *pair, "--replicas=3")
    world.wait(each(world, pair, lambda name: len(world.names(name)) == 3), "the Machines are there")
    before = world.cloud(lambda admin: admin.ledger()).made
    api_server = world.cluster.control_plane.pids["kube-apiserver"]
    os.kill(api_server, signal.SIGSTOP)
    try:
        world.cloud(lambda admin: admin.pause())
        world.wait(lambda: not world.leads(), "the Lease is lost: nobody may act any more")
        made = world.cloud(lambda admin: admin.ledger()).made - before
    finally:
        os.kill(api_server, signal.SIGCONT)
    assert made <= 6, "what was asked for came into being, and no more"
    becomes_complete(world, pair, 3)
    world.delete("nodeset", *pair)
    becomes_nothing(world, pair)
