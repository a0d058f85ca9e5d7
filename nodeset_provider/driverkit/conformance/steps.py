"""What the contract tests do again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from nodeset_provider.driverkit.conformance.harness import Harness
from nodeset_provider.driverkit.contract import CreateRequest, Deletion, Driver, Instance, InstanceKey
from nodeset_provider.driverkit.errors import NotFound

T = TypeVar("T")
POLL = 0.05


def by_token(request: CreateRequest) -> InstanceKey:
    """How a machine is named before its provider id is known."""
    return InstanceKey(cluster=request.cluster, token=request.token, config=request.config)


def by_id(instance: Instance, config: Mapping[str, Any]) -> InstanceKey:
    """How a machine is named afterwards."""
    return InstanceKey(cluster=instance.cluster, token=instance.token, provider_id=instance.provider_id, config=config)


def with_config(request: CreateRequest, config: Mapping[str, Any]) -> CreateRequest:
    """The same request for another machine."""
    return msgspec.structs.replace(request, config=config)


async def listed(driver: Driver, cluster: str, config: Mapping[str, Any]) -> list[Instance]:
    """All that ``list`` yields."""
    return [instance async for instance in driver.list(cluster, [config])]


async def once_consistent(driver: Driver, call: Callable[[], Awaitable[T]]) -> T:
    """The answer once the cloud shows what was just made: for ``consistency_delay`` NotFound proves nothing."""
    deadline = time.monotonic() + driver.consistency_delay
    while True:
        last = time.monotonic() > deadline
        try:
            return await call()
        except NotFound:
            if last:
                raise
        await asyncio.sleep(POLL)


async def delete_until_gone(harness: Harness, driver: Driver, key: InstanceKey) -> None:
    """Ask until it is gone, as the controllers do."""
    async with asyncio.timeout(harness.patience):
        while await driver.delete(key) is Deletion.IN_PROGRESS:
            await asyncio.sleep(POLL)
