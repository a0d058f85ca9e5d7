"""What the controllers ask of the API server, a few requests at a time.

Hundreds of Machines at once would otherwise queue up in the API server, and everything else of this process behind
them: the renewal of the Lease, and the front door's writes, which the autoscaler waits for.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from nodeset_provider.controllers.leading import MayAct, check
from nodeset_provider.kube.resources import Resource, T


class Api(Protocol):
    """The part of :class:`nodeset_provider.kube.client.Client` that is needed; see there."""

    async def get(self, resource: Resource[T], name: str) -> T:
        """One object."""
        ...

    async def create(self, resource: Resource[T], body: object) -> T:
        """POST."""
        ...

    async def patch(self, resource: Resource[T], name: str, body: object, *, subresource: str = "") -> T:
        """Merge patch."""
        ...

    async def replace(self, resource: Resource[T], name: str, body: object, *, subresource: str = "") -> T:
        """PUT."""
        ...

    async def delete(self, resource: Resource[T], name: str, *, uid: str = "") -> T | None:
        """DELETE."""
        ...


class BoundedApi:
    """At most ``concurrent`` requests at one time; the others wait in the order in which they came.

    A write whose turn has come raises NotLeading where ``may_act`` says that this process leads no longer.
    """

    def __init__(self, api: Api, concurrent: int, may_act: MayAct = lambda: True) -> None:
        self._api = api
        self._may_act = may_act
        self._gate = asyncio.Semaphore(concurrent)

    async def get(self, resource: Resource[T], name: str) -> T:
        """As Api."""
        async with self._gate:
            return await self._api.get(resource, name)

    async def create(self, resource: Resource[T], body: object) -> T:
        """As Api."""
        async with self._gate:
            check(self._may_act)
            return await self._api.create(resource, body)

    async def patch(self, resource: Resource[T], name: str, body: object, *, subresource: str = "") -> T:
        """As Api."""
        async with self._gate:
            check(self._may_act)
            return await self._api.patch(resource, name, body, subresource=subresource)

    async def replace(self, resource: Resource[T], name: str, body: object, *, subresource: str = "") -> T:
        """As Api."""
        async with self._gate:
            check(self._may_act)
            return await self._api.replace(resource, name, body, subresource=subresource)

    async def delete(self, resource: Resource[T], name: str, *, uid: str = "") -> T | None:
        """As Api."""
        async with self._gate:
            check(self._may_act)
            return await self._api.delete(resource, name, uid=uid)
