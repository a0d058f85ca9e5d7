"""HTTP: /metrics for Prometheus, /readyz and /healthz for the kubelet.

Ready: everything that answering takes is there and current; what is missing is named. Healthy: the event loop runs. A
process that cannot reach the API server is not ready, but it is healthy: a restart would not mend that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Histogram, generate_latest

from nodeset_provider.config.address import Address

LAG: Final = Histogram(
    "nodeset_event_loop_lag_seconds",
    "How much later than asked for the event loop came back: what every RPC waits on top.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
_LAG_PERIOD: Final = 0.5
UNHEALTHY_LAG: Final = 10.0
"""Seconds. A loop that is held up so long at every look does not come back by itself."""
_UNHEALTHY_LOOKS: Final = 3

Missing = Callable[[], Sequence[str]]
"""Names what there is not, or no longer, of what answering takes."""


class LoopLag:
    """Measures the event loop's lag for as long as it runs."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._late_looks = 0

    @property
    def healthy(self) -> bool:
        """Whether the loop has been answering in time lately."""
        return self._late_looks < _UNHEALTHY_LOOKS

    def note(self, lag: float) -> None:
        """One look: seconds that it came too late."""
        LAG.observe(max(lag, 0.0))
        self._late_looks = self._late_looks + 1 if lag > UNHEALTHY_LAG else 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = self._monotonic() + _LAG_PERIOD
            await asyncio.sleep(_LAG_PERIOD)
            self.note(self._monotonic() - due)


class Probes:
    """The HTTP server. ``start`` answers with the address that it listens on; raises OSError where it cannot."""

    def __init__(self, address: Address, *, missing: Missing, lag: LoopLag) -> None:
        self._address = address
        self._missing = missing
        self._lag = lag
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/readyz", self._readyz),
                web.get("/healthz", self._healthz),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)

    async def start(self) -> Address:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address.host, self._address.port).start()
        return Address(host=self._address.host, port=int(self._runner.addresses[0][1]))

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _readyz(self, _request: web.Request) -> web.Response:
        if missing := self._missing():
            return web.Response(status=503, text=f"not ready: {', '.join(missing)}\n")
        return web.Response(text="ok\n")

    async def _healthz(self, _request: web.Request) -> web.Response:
        if not self._lag.healthy:
            return web.Response(
                status=503, text=f"the event loop is held up for more than {UNHEALTHY_LAG:g} s at a time\n"
            )
        return web.Response(text="ok\n")
