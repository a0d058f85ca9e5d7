"""The administrator's HTTP interface (``knobs``). Never delayed, paused or made to fail."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from nodeset_driver_simulated.cloud.boots import Boots
from nodeset_driver_simulated.cloud.faults import FaultBook
from nodeset_driver_simulated.cloud.inventory import Inventory
from nodeset_driver_simulated.cloud.server import json_answer, read_body
from nodeset_driver_simulated.knobs import Capacity, Fault, FaultId, FaultList, Latency, Pause, Quota


class AdminApi:
    """The calls under /admin. ``open_`` is what calls under /v1 wait for."""

    def __init__(self, inventory: Inventory, faults: FaultBook, boots: Boots, open_: asyncio.Event) -> None:
        self._inventory = inventory
        self._faults = faults
        self._boots = boots
        self._open = open_
        self._apply(inventory.knobs.pause)

    def routes(self) -> list[web.RouteDef]:
        """For the application's router."""
        return [
            web.post("/admin/faults", self.add_fault),
            web.get("/admin/faults", self.faults),
            web.delete("/admin/faults", self.clear_faults),
            web.put("/admin/capacity", self.capacity),
            web.put("/admin/quota", self.quota),
            web.put("/admin/latency", self.latency),
            web.put("/admin/pause", self.pause),
            web.get("/admin/knobs", self.knobs),
        ]

    async def add_fault(self, request: web.Request) -> web.Response:
        """POST /admin/faults."""
        return json_answer(FaultId(id=self._faults.add(await read_body(request, Fault))))

    async def faults(self, _: web.Request) -> web.Response:
        """GET /admin/faults."""
        return json_answer(FaultList(faults=self._faults.faults))

    async def clear_faults(self, _: web.Request) -> web.Response:
        """DELETE /admin/faults."""
        self._faults.clear()
        return json_answer(None)

    async def capacity(self, request: web.Request) -> web.Response:
        """PUT /admin/capacity."""
        self._inventory.limit(await read_body(request, Capacity))
        return self._knobs()

    async def quota(self, request: web.Request) -> web.Response:
        """PUT /admin/quota."""
        return self._turn(quota=await read_body(request, Quota))

    async def latency(self, request: web.Request) -> web.Response:
        """PUT /admin/latency."""
        return self._turn(latency=await read_body(request, Latency))

    async def pause(self, request: web.Request) -> web.Response:
        """PUT /admin/pause."""
        pause = await read_body(request, Pause)
        self._apply(pause)
        return self._turn(pause=pause)

    async def knobs(self, _: web.Request) -> web.Response:
        """GET /admin/knobs."""
        return self._knobs()

    def _turn(self, **changes: object) -> web.Response:
        self._inventory.turn(msgspec.structs.replace(self._inventory.knobs, **changes))
        return self._knobs()

    def _knobs(self) -> web.Response:
        return json_answer(self._inventory.knobs)

    def _apply(self, pause: Pause) -> None:
        self._boots.pause(pause.boots)
        if pause.api:
            self._open.clear()
        else:
            self._open.set()
