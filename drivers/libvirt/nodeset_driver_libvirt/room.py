"""Measures what a host and a pool have left, and keeps what this process is about to take from being sold twice.

May touch: the host, through a connection; runs in worker threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from nodeset_driver_libvirt.capacity import Running, check_disk, check_memory
from nodeset_driver_libvirt.config import Config
from nodeset_driver_libvirt.identity import Names
from nodeset_driver_libvirt.inspection import Found
from nodeset_driver_libvirt.library import Connection, Libvirt
from nodeset_driver_libvirt.sizes import KIB

_PLENTY = 2**62


class Room:
    """Of one host. ``libvirt`` is the module."""

    def __init__(self, libvirt: Libvirt, where: str) -> None:
        self._libvirt = libvirt
        self._where = where
        self._lock = threading.Lock()
        self._promised: dict[str, tuple[str, int, int]] = {}

    def check_ever(self, connection: Connection, config: Config, found: Found) -> None:
        """Raises InvalidSpec for what would not even fit into an empty host."""
        total, _ = self._memory(connection)
        check_memory(config.memory_bytes, total=total, available=_PLENTY, running=(), promised=0, where=self._where)
        total, _ = found.pool.sizes()
        check_disk(
            found.disk_size,
            total=total,
            available=_PLENTY,
            overlays=(),
            promised=0,
            overcommit=config.overcommit_disk,
            where=self._pool_name(found),
        )

    @contextlib.contextmanager
    def taken(self, connection: Connection, config: Config, found: Found, names: Names) -> Iterator[None]:
        """Memory and disk are kept for the token inside of the block. Raises InsufficientCapacity.

        A machine that runs is measured, and its volumes are; one that is being made is promised here.
        """
        with self._lock:
            self._check(connection, config, found, names)
            self._promised[names.token] = (found.pool.name, config.memory_bytes, found.disk_size)
        try:
            yield
        finally:
            with self._lock:
                self._promised.pop(names.token, None)

    def _check(self, connection: Connection, config: Config, found: Found, names: Names) -> None:
        total, available = self._memory(connection)
        check_memory(
            config.memory_bytes,
            total=total,
            available=available,
            running=self._running(connection),
            promised=sum(memory for _, memory, _ in self._promised.values()),
            where=self._where,
        )
        with contextlib.suppress(self._libvirt.libvirtError):  # busy: then what is known is at most seconds old
            found.pool.refresh_now()
        total, available = found.pool.sizes()
        check_disk(
            found.disk_size,
            total=total,
            available=available,
            overlays=found.pool.overlays(besides=[names.token, *self._promised]),
            promised=sum(disk for pool, _, disk in self._promised.values() if pool == found.pool.name),
            overcommit=config.overcommit_disk,
            where=self._pool_name(found),
        )

    def _memory(self, connection: Connection) -> tuple[int, int]:
        """Bytes in all, and free: what the kernel only caches is free."""
        stats = connection.getMemoryStats(self._libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
        available = sum(stats.get(key, 0) for key in ("free", "buffers", "cached"))
        return stats["total"] * KIB, available * KIB

    def _running(self, connection: Connection) -> Iterator[Running]:
        libvirt = self._libvirt
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        for _, stats in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_BALLOON, flags):
            may_use = stats.get("balloon.current", stats.get("balloon.maximum", 0))
            yield Running(may_use * KIB, stats.get("balloon.rss", 0) * KIB)

    def _pool_name(self, found: Found) -> str:
        return f"pool {found.pool.name} of {self._where}"
