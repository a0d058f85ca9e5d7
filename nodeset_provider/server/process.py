"""The process ``nodeset-provider serve``: event loop, signals, exit code. What runs in it, :mod:`.compose` says."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import structlog
import uvloop

from nodeset_provider.config import Loaded
from nodeset_provider.kube.errors import ConfigurationError
from nodeset_provider.server import logs
from nodeset_provider.server.compose import serve
from nodeset_provider.server.door import CannotListen
from nodeset_provider.server.tls import UnusableCertificates
from nodeset_provider.server.version import provider_version

log = structlog.get_logger(__name__)

SWITCH_INTERVAL: Final = 0.001
"""Seconds for which a thread may keep the GIL. There are few threads (gRPC's own, drivers' pools), but at the default
of 5 ms one that computes would hold up every RPC by so much."""

CLEAN: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2
"""The configuration cannot work: starting again without a change is of no use."""


def run(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code; a second signal ends the process at once."""
    logs.configure(level=loaded.settings.log.level, format=loaded.settings.log.format)
    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(loaded))


async def _serve(loaded: Loaded) -> int:
    log.info("starting", version=provider_version(), pid=os.getpid())
    stop = asyncio.Event()
    _on_signals(stop.set)
    try:
        await serve(loaded.settings, stop)
    except (ConfigurationError, UnusableCertificates) as error:
        log.error("cannot start", reason=str(error))  # noqa: TRY400 - the message is for people, there is no bug
        return UNUSABLE
    except CannotListen as error:
        log.error("cannot start", reason=str(error))  # noqa: TRY400 - as above
        return FAILED
    except BaseExceptionGroup:
        log.exception("a part of the provider failed")
        return FAILED
    log.info("stopped")
    return CLEAN


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def handle(number: signal.Signals) -> None:
        received.append(number)
        if len(received) > 1:
            log.warning("second signal, ending at once", signal=number.name)
            os._exit(128 + number)
        log.info("shutting down", signal=number.name)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)
