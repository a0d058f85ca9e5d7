"""The cloud as a process: puts the parts together, listens, and stops cleanly.

May touch: the state file, a listening socket, signals, and (through booting machines) API servers.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random, SystemRandom

from aiohttp import web

from nodeset_driver_simulated.boot.api_server import ApiServers
from nodeset_driver_simulated.boot.node import Hardware
from nodeset_driver_simulated.cloud.admin_api import AdminApi
from nodeset_driver_simulated.cloud.boots import Boots
from nodeset_driver_simulated.cloud.faults import FaultBook
from nodeset_driver_simulated.cloud.inventory import Inventory
from nodeset_driver_simulated.cloud.records import Record
from nodeset_driver_simulated.cloud.server import Api, guard
from nodeset_driver_simulated.cloud.settings import Settings
from nodeset_driver_simulated.cloud.store import Store
from nodeset_driver_simulated.knobs import Fault

_SHUTDOWN_SECONDS = 1.0
_BODY_LIMIT = 1 << 16


@asynccontextmanager
async def running_cloud(
    settings: Settings,
    *,
    state: Path | None,
    host: str,
    port: int,
    api_token: str,
    clock: Callable[[], float] = time.time,
    random: Random | None = None,
) -> AsyncIterator[str]:
    """The URL of a cloud that listens until the ``with`` ends. ``port`` 0: a free one."""
    random = random or SystemRandom()
    async with AsyncExitStack() as stack:
        store = Store(state)
        stack.callback(store.close)
        inventory = Inventory(settings, store, clock=clock, random=random)
        faults = FaultBook(store.setting("faults", dict[str, Fault]) or {}, lambda book: store.keep("faults", book))
        servers = ApiServers()
        stack.push_async_callback(servers.close)

        def hardware(record: Record) -> Hardware:
            return Hardware(
                instance_id=record.id,
                address=record.address,
                kind=inventory.type(record.type),
                image=settings.image,
            )

        boots = Boots(store, servers, hardware=hardware, secret=_secret(store), clock=clock, random=random)
        stack.push_async_callback(boots.close)
        open_ = asyncio.Event()
        application = web.Application(middlewares=[guard(api_token)], client_max_size=_BODY_LIMIT)
        application.add_routes(AdminApi(inventory, faults, boots, open_).routes())
        application.add_routes(Api(inventory, faults, boots, open_).routes())
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        boots.start(inventory.booting())
        yield f"http://{host}:{runner.addresses[0][1]}"


async def serve(
    settings: Settings, *, state: Path, host: str, port: int, api_token: str, ready: Callable[[str], None]
) -> None:
    """Run until SIGTERM or SIGINT. ``ready`` gets the URL once the cloud answers."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_cloud(settings, state=state, host=host, port=port, api_token=api_token) as url:
        ready(url)
        await stop.wait()


def _secret(store: Store) -> bytes:
    """Where the keys of this cloud's machines come from; made once."""
    kept = store.setting("secret", str)
    if kept is None:
        kept = secrets.token_hex(32)
        store.keep("secret", kept)
    return bytes.fromhex(kept)
