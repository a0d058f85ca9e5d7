"""Many hosts asked at one time, where some may not answer.

May touch: hosts, through what it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

from nodeset_driver_ssh.hosts import Host
from nodeset_provider.driverkit.errors import DriverError, Transient, Unauthorized

T = TypeVar("T")
_AT_ONCE: Final = 64


def worst(errors: Iterable[DriverError]) -> DriverError:
    """What to say of several that all failed: what may mend itself comes first, then what opens no door."""
    ranked = sorted(errors, key=lambda error: (not isinstance(error, Transient), not isinstance(error, Unauthorized)))
    return ranked[0]


async def ask_all(hosts: Sequence[Host], ask: Callable[[Host], Awaitable[T]]) -> dict[str, T | DriverError]:
    """What each answered, by its id."""
    answers: dict[str, T | DriverError] = {}

    def keep(host: Host, answer: T | DriverError) -> bool:
        answers[host.id] = answer
        return False

    await ask_until(hosts, ask, keep)
    return answers


async def ask_until(
    hosts: Sequence[Host], ask: Callable[[Host], Awaitable[T]], done: Callable[[Host, T | DriverError], bool]
) -> Host | None:
    """Ask hosts, some at one time in their order, until ``done`` says so of one; the others are not waited for."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(host: Host) -> tuple[Host, T | DriverError]:
        async with gate:
            try:
                return host, await ask(host)
            except DriverError as error:
                return host, error

    tasks = [asyncio.create_task(one(host)) for host in hosts]
    try:
        for task in asyncio.as_completed(tasks):
            host, answer = await task
            if done(host, answer):
                return host
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
