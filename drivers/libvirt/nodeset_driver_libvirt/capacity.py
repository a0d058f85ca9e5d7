"""Whether one more machine fits on a host, and what a Node on it will have. Pure.

Memory and disks are thin: what a running machine may still take is taken already. A machine that has just been started
has touched almost none of its memory, and an overlay is empty; counted as they are, a host would be sold several times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from nodeset_driver_libvirt.sizes import GIB, MIB, human
from nodeset_provider.driverkit.errors import InsufficientCapacity, InvalidSpec

HOST_RESERVE: Final = 512 * MIB
"""Memory that is left to the host itself."""
MACHINE_OVERHEAD: Final = 64 * MIB
"""Of QEMU, beside a machine's own memory."""
POOL_RESERVE: Final = 16 * MIB
"""For seeds, console logs and the metadata of qcow2."""
FIRST_WRITES: Final = GIB
"""What a machine writes while it boots and fetches its first images: needed even where disks are overcommitted."""

_KERNEL_SHARE: Final = 40
"""A Node has less memory than its machine: Linux keeps 1/64 for page structures, and some for itself."""
_KERNEL_BASE: Final = 64 * MIB
_FILESYSTEM_SHARE: Final = 20
"""ext4 keeps inode tables and a journal; images have an EFI partition."""


class Running(msgspec.Struct, frozen=True):
    """The memory of one running machine: what it may use, and what it has used so far. Bytes."""

    may_use: int
    resident: int


class Overlay(msgspec.Struct, frozen=True):
    """A thin disk: what it may grow to, and what it takes by now. Bytes."""

    may_use: int
    allocated: int


def check_memory(
    wanted: int, *, total: int, available: int, running: Iterable[Running], promised: int, where: str
) -> None:
    """Raises InvalidSpec for more than the host has at all, InsufficientCapacity for more than is left.

    ``promised`` is what machines of this process are about to take.
    """
    need = wanted + MACHINE_OVERHEAD
    if need > total - HOST_RESERVE:
        raise InvalidSpec(
            f"{where} has {human(total)} of memory in all, {human(HOST_RESERVE)} of it for itself; memory "
            f"{human(wanted)} can never be had there",
            field="memory",
        )
    still = promised + sum(max(0, one.may_use - one.resident) for one in running)
    left = max(0, available - still - HOST_RESERVE)
    if need > left:
        raise InsufficientCapacity(
            f"{where} has no {human(need)} of memory left: {human(available)} are free, of which running machines may "
            f"still take {human(still)} and the host keeps {human(HOST_RESERVE)}"
        )


def check_disk(
    wanted: int,
    *,
    total: int,
    available: int,
    overlays: Iterable[Overlay],
    promised: int,
    overcommit: bool,
    where: str,
) -> None:
    """As `check_memory`, for the pool's file system. ``where`` names host and pool."""
    if wanted > total:
        raise InvalidSpec(
            f"{where} has {human(total)} in all; a disk of {human(wanted)} can never be had there", field="disk"
        )
    if overcommit:
        need, still = min(wanted, FIRST_WRITES) + POOL_RESERVE, 0
    else:
        need, still = wanted + POOL_RESERVE, promised + sum(max(0, one.may_use - one.allocated) for one in overlays)
    if need > max(0, available - still):
        reason = f", of which disks of machines may still take {human(still)}" if still else ""
        raise InsufficientCapacity(f"{where} has no {human(need)} left: {human(available)} are free{reason}")


def node_capacity(*, vcpus: int, memory: int, disk: int) -> dict[str, str]:
    """core/v1 ResourceList of the Node, rather too little than too much: the autoscaler buys by it."""
    return {
        "cpu": str(vcpus),
        "memory": f"{max(0, memory - memory // _KERNEL_SHARE - _KERNEL_BASE) // 1024}Ki",
        "ephemeral-storage": f"{(disk - disk // _FILESYSTEM_SHARE) // 1024}Ki",
    }
