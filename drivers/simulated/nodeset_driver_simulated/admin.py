"""A small client for whoever administers a simulated cloud: tests, the demo, the benchmarks.

May touch: the network. Not for drivers: it sees and does what no customer of a cloud may.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec

from nodeset_driver_simulated.knobs import Capacity, Fault, FaultId, FaultList, Knobs, Latency, Pause, Quota
from nodeset_driver_simulated.wire import ErrorAnswer, Instance, InstanceList, Ledger, TypeList

T = TypeVar("T")
_FAILED = 300


class AdminError(Exception):
    """The cloud refused; the message is its code and what it said."""


class CloudAdmin:
    """``async with CloudAdmin(url, token) as admin:``. Every method raises AdminError, or aiohttp.ClientError."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- faults -----------------------------------------------------------------------------------------------------
    async def fault(self, fault: Fault) -> int:
        """Let that go wrong; answers the fault's id."""
        return (await self._call(FaultId, "POST", "/admin/faults", fault)).id

    async def faults(self) -> dict[str, Fault]:
        """What is still to go wrong, by id."""
        return (await self._call(FaultList, "GET", "/admin/faults")).faults

    async def clear_faults(self) -> None:
        """Let nothing more go wrong."""
        await self._call(type(None), "DELETE", "/admin/faults")

    # --- knobs ------------------------------------------------------------------------------------------------------
    async def set_capacity(self, type_: str, zone: str, limit: int | None) -> Knobs:
        """How many of that type the zone holds; None: as the type says."""
        return await self._call(Knobs, "PUT", "/admin/capacity", Capacity(type=type_, zone=zone, limit=limit))

    async def set_quota(self, *, instances: int | None = None, cpus: float | None = None) -> Knobs:
        """The account's quota; None: none."""
        return await self._call(Knobs, "PUT", "/admin/quota", Quota(instances=instances, cpus=cpus))

    async def set_latency(self, latency: Latency) -> Knobs:
        """All latencies, for what is asked from now on."""
        return await self._call(Knobs, "PUT", "/admin/latency", latency)

    async def pause(self, *, api: bool = False, boots: bool = False) -> Knobs:
        """Hold calls or boots; without arguments all goes on."""
        return await self._call(Knobs, "PUT", "/admin/pause", Pause(api=api, boots=boots))

    async def knobs(self) -> Knobs:
        """All of it as it stands."""
        return await self._call(Knobs, "GET", "/admin/knobs")

    # --- what there is ----------------------------------------------------------------------------------------------
    async def types(self) -> TypeList:
        """The instance types."""
        return await self._call(TypeList, "GET", "/v1/types")

    async def ledger(self) -> Ledger:
        """Everything ever made and what is alive; not subject to faults or delays."""
        return await self._call(Ledger, "GET", "/v1/ledger")

    async def instances(self, cluster: str) -> list[Instance]:
        """All machines of a cluster that are not gone, as a customer sees them."""
        found: list[Instance] = []
        after = ""
        while True:
            page = await self._call(InstanceList, "GET", f"/v1/instances?cluster={cluster}&after={after}")
            found += page.instances
            after = page.next
            if not after:
                return found

    async def console(self, instance_id: str) -> str:
        """What that machine said while it booted."""
        return (await self._bytes("GET", f"/v1/instances/{instance_id}/console")).decode()

    async def terminate(self, instance_id: str, cluster: str) -> Instance:
        """Take a machine away behind everybody's back, as a cloud does with a spot instance."""
        return await self._call(Instance, "DELETE", f"/v1/instances/{instance_id}?cluster={cluster}")

    async def _call(self, type_: type[T], method: str, path: str, body: object = None) -> T:
        return msgspec.json.decode(await self._bytes(method, path, body), type=type_)

    async def _bytes(self, method: str, path: str, body: object = None) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers)
        data = None if body is None else msgspec.json.encode(body)
        async with self._session.request(method, self._url + path, data=data) as response:
            content = await response.read()
        if response.status >= _FAILED:
            error = msgspec.json.decode(content, type=ErrorAnswer).error
            raise AdminError(f"{error.code}: {error.message}")
        return content
