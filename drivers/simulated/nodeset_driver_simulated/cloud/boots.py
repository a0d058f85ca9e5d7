"""Boots machines: one task for each whose user-data is still to be used, from power-on to its Node's first status.

May touch: the API servers that user-data names, and the machine's record (console, outcome). A machine that is taken
away stops at once; a boot that the end of the process interrupts is taken up by the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from random import Random

import aiohttp

from nodeset_driver_simulated.boot.api_server import ApiRefused, ApiServers
from nodeset_driver_simulated.boot.certificate import Request, make_request
from nodeset_driver_simulated.boot.errors import BootError
from nodeset_driver_simulated.boot.join import Join, read_join
from nodeset_driver_simulated.boot.node import Hardware, existing_node_patch, new_node, ready_patch
from nodeset_driver_simulated.boot.pace import CertificatePace, retry_after
from nodeset_driver_simulated.cloud.records import Boot, Record
from nodeset_driver_simulated.cloud.store import Store

_CONSOLE_LINES = 100
_log = logging.getLogger(__name__)


class Boots:
    """``hardware`` says what stands under a record; ``secret`` is where machines' keys come from."""

    def __init__(
        self,
        store: Store,
        servers: ApiServers,
        *,
        hardware: Callable[[Record], Hardware],
        secret: bytes,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._store = store
        self._servers = servers
        self._hardware = hardware
        self._secret = secret
        self._clock = clock
        self._random = random
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._pace = CertificatePace(random)

    def start(self, records: Iterable[Record]) -> None:
        """Boot those machines, each once it runs."""
        for record in records:
            task = asyncio.create_task(self._boot(record), name=f"boot {record.id}")
            self._tasks[record.id] = task
            task.add_done_callback(partial(self._forget, record.id))

    def stop(self, record: Record) -> None:
        """That machine has no power any more."""
        task = self._tasks.pop(record.id, None)
        if task is not None:
            task.cancel()

    def _forget(self, instance_id: str, _: asyncio.Task[None]) -> None:
        self._tasks.pop(instance_id, None)

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - the knob is a switch
        """Hold machines before they read their user-data, or let them go on."""
        if paused:
            self._unpaused.clear()
        else:
            self._unpaused.set()

    async def close(self) -> None:
        """Stop all boots; nothing of them is lost."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _boot(self, record: Record) -> None:
        await asyncio.sleep(max(0.0, record.running_at - self._clock()))
        await self._unpaused.wait()
        try:
            join = read_join(self._store.user_data(record.id), hostname=record.machine)
            request = make_request(join.node_name, secret=self._secret, instance_id=record.id)
            await self._join_in_the_end(record, join, request)
        except BootError as error:
            self._finish(record, "failed", str(error))
        except Exception:  # noqa: BLE001 - see below
            # No machine may take the cloud down with it; this one is a bug of ours and says so.
            _log.exception("boot of %s broke", record.id)
            self._finish(record, "failed", "the simulated machine itself broke; see the cloud's log")
        else:
            self._finish(record, "joined", f"kubelet: node {join.node_name} is registered and Ready")

    async def _join_in_the_end(self, record: Record, join: Join, request: Request) -> None:
        """As systemd keeps a kubelet: once more after whatever may pass, less and less often."""
        attempt = 0
        while True:
            try:
                return await self._join(record, join, request)
            except ApiRefused as error:
                self._say(record, str(error))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._say(record, f"kubelet: {join.server} cannot be reached: {error or type(error).__name__}")
            await asyncio.sleep(retry_after(attempt, self._random))
            attempt += 1

    async def _join(self, record: Record, join: Join, request: Request) -> None:
        if not record.certificate:
            await self._servers.post_csr(join, request)
            self._say(record, f"kubelet: waits for the certificate of request {request.name}")
            # Kept as on a kubelet's disk: once the Node is there the token goes, and there is no other way back.
            record.certificate = await self._wait_for_certificate(join, request)
            self._say(record, "kubelet: has its certificate")
        hardware, now = self._hardware(record), self._now()
        await self._servers.register(
            join,
            record.certificate,
            request.key_pem,
            node=new_node(join, hardware, now=now),
            existing=existing_node_patch(join, hardware),
            ready=ready_patch(join, hardware, now=now),
        )

    async def _wait_for_certificate(self, join: Join, request: Request) -> bytes:
        waited: float | None = None
        attempt, begun = 0, self._clock()
        self._pace.begin()
        try:
            while True:
                await asyncio.sleep(self._pace.seconds(attempt))
                certificate = await self._servers.certificate(join, request)
                if certificate is not None:
                    waited = max(0.0, self._clock() - begun)
                    return certificate
                attempt += 1
        finally:
            self._pace.end(waited)

    def _finish(self, record: Record, outcome: Boot, line: str) -> None:
        record.boot = outcome
        record.certificate = b""
        self._say(record, line)
        self._store.forget_user_data(record.id)

    def _say(self, record: Record, line: str) -> None:
        """A line for the console. What repeats is said once, and only the last lines are kept."""
        if not record.console or not record.console[-1].endswith(line):
            record.console = [*record.console, f"{self._now()} {line}"][-_CONSOLE_LINES:]
        self._store.save(record)

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
