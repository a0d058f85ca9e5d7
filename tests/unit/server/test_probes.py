from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from nodeset_provider.config.address import Address
from nodeset_provider.server.probes import UNHEALTHY_LAG, LoopLag, Probes


@contextlib.asynccontextmanager
async def probing(
    missing: list[str], lag: LoopLag | None = None
) -> AsyncIterator[tuple[aiohttp.ClientSession, Probes]]:
    probes = Probes(Address(host="127.0.0.1", port=0), missing=lambda: missing, lag=lag or LoopLag())
    address = await probes.start()
    try:
        async with aiohttp.ClientSession(f"http://{address}") as session:
            yield session, probes
    finally:
        await probes.stop()


async def fetch(session: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with session.get(path) as answer:
        return answer.status, await answer.text()


async def test_readyz_names_what_is_missing_and_turns_when_it_is_there() -> None:
    missing = ["cache of machines", "cache of nodes"]
    async with probing(missing) as (session, _):
        assert await fetch(session, "/readyz") == (503, "not ready: cache of machines, cache of nodes\n")
        missing.clear()
        assert await fetch(session, "/readyz") == (200, "ok\n")


async def test_process_that_is_not_ready_is_healthy() -> None:
    async with probing(["x"]) as (session, _):
        assert (await fetch(session, "/healthz"))[0] == 200


async def test_loop_that_is_held_up_again_and_again_is_unhealthy_and_once_is_not() -> None:
    lag = LoopLag()
    async with probing([], lag) as (session, _):
        for held_up, status in [
            (UNHEALTHY_LAG + 1, 200),
            (UNHEALTHY_LAG + 1, 200),
            (UNHEALTHY_LAG + 1, 503),
            (0.0, 200),
        ]:
            lag.note(held_up)
            assert (await fetch(session, "/healthz"))[0] == status


async def test_metrics_are_in_prometheus_text() -> None:
    lag = LoopLag()
    lag.note(0.003)
    async with probing([], lag) as (session, _):
        status, text = await fetch(session, "/metrics")
        assert status == 200
        assert "nodeset_event_loop_lag_seconds_bucket" in text
        assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize("path", ["/", "/debug", "/metrics/.."])
async def test_nothing_else_is_there(path: str) -> None:
    async with probing([]) as (session, _):
        assert (await fetch(session, path))[0] == 404


async def test_port_in_use_is_an_error() -> None:
    async with probing([]) as (session, _):
        port = int(str(session._base_url).rsplit(":", 1)[1].rstrip("/"))
        second = Probes(Address(host="127.0.0.1", port=port), missing=list, lag=LoopLag())
        with pytest.raises(OSError, match="in use"):
            await second.start()
        await second.stop()
