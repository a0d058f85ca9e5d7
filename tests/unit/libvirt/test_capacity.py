"""A host is never sold twice, and what can never be had is told apart from what cannot be had now."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodeset_driver_libvirt.capacity import (
    HOST_RESERVE,
    MACHINE_OVERHEAD,
    POOL_RESERVE,
    Overlay,
    Running,
    check_disk,
    check_memory,
    node_capacity,
)
from nodeset_driver_libvirt.sizes import GIB, MIB

from nodeset_provider.driverkit.errors import InsufficientCapacity, InvalidSpec


def memory(wanted: int, *, available: int = 16 * GIB, running: tuple[Running, ...] = (), promised: int = 0) -> None:
    check_memory(wanted, total=16 * GIB, available=available, running=running, promised=promised, where="host")


def disk(wanted: int, *, available: int, overlays: tuple[Overlay, ...] = (), overcommit: bool = False) -> None:
    check_disk(
        wanted,
        total=100 * GIB,
        available=available,
        overlays=overlays,
        promised=0,
        overcommit=overcommit,
        where="pool default",
    )


def test_more_memory_than_the_host_has_can_never_be_had() -> None:
    with pytest.raises(InvalidSpec) as error:
        memory(16 * GIB)
    assert error.value.field == "memory"


def test_memory_that_running_machines_have_not_touched_yet_is_taken() -> None:
    just_started = Running(may_use=8 * GIB, resident=200 * MIB)
    memory(8 * GIB)
    with pytest.raises(InsufficientCapacity, match=r"7\.8 GiB"):
        memory(8 * GIB, running=(just_started,))


def test_memory_of_machines_that_are_being_made_is_taken() -> None:
    with pytest.raises(InsufficientCapacity):
        memory(8 * GIB, promised=8 * GIB)


@given(st.integers(32 * MIB, 4 * GIB))
def test_as_many_machines_as_fit_are_started_and_no_more(size: int) -> None:
    running: list[Running] = []
    with contextlib.suppress(InsufficientCapacity):
        while True:
            memory(size, running=tuple(running))
            running.append(Running(may_use=size + MACHINE_OVERHEAD, resident=0))
    left = 16 * GIB - HOST_RESERVE - sum(one.may_use for one in running)
    assert 0 <= left < size + MACHINE_OVERHEAD


def test_disk_that_overlays_may_still_grow_to_is_taken() -> None:
    empty = Overlay(may_use=40 * GIB, allocated=MIB)
    disk(40 * GIB, available=90 * GIB, overlays=(empty,))
    with pytest.raises(InsufficientCapacity, match="may still take"):
        disk(40 * GIB, available=90 * GIB, overlays=(empty, empty))


def test_overcommitted_disk_needs_what_the_first_boot_writes() -> None:
    empty = Overlay(may_use=90 * GIB, allocated=0)
    disk(80 * GIB, available=2 * GIB, overlays=(empty, empty), overcommit=True)
    with pytest.raises(InsufficientCapacity):
        disk(80 * GIB, available=GIB, overcommit=True)
    disk(MIB, available=MIB + POOL_RESERVE, overcommit=True)


def test_disk_larger_than_the_pool_can_never_be_had() -> None:
    with pytest.raises(InvalidSpec) as error:
        disk(101 * GIB, available=100 * GIB)
    assert error.value.field == "disk"


def test_overlay_that_is_larger_than_it_may_be_gives_nothing_back() -> None:
    """The metadata of qcow2 comes on top."""
    with pytest.raises(InsufficientCapacity):
        disk(10 * GIB, available=10 * GIB, overlays=(Overlay(may_use=GIB, allocated=2 * GIB),))


@given(st.integers(32 * MIB, 2**44), st.integers(MIB, 2**50))
def test_node_is_promised_less_than_its_machine_has(size: int, disk_size: int) -> None:
    capacity = node_capacity(vcpus=2, memory=size, disk=disk_size)
    assert capacity["cpu"] == "2"
    assert 0 <= int(capacity["memory"].removesuffix("Ki")) * 1024 < size
    assert int(capacity["ephemeral-storage"].removesuffix("Ki")) * 1024 <= disk_size
