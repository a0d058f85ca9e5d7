"""One driver with its credentials, as the controllers call it: bounded, timed, and raising nothing but DriverErrors.

A driver is foreign code. Whatever it does wrong (hangs, raises something of its own, raises NotFound from create)
becomes ``Transient`` here: nobody knows whether the call took effect, so the machine is looked up before anything else
is done.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

import structlog

from nodeset_provider.controllers import metrics
from nodeset_provider.controllers.leading import MayAct, check
from nodeset_provider.driverkit.contract import (
    DIAGNOSIS_LIMIT,
    CreateRequest,
    Deletion,
    Driver,
    Instance,
    InstanceKey,
    Offering,
)
from nodeset_provider.driverkit.errors import DriverError, NotFound, Transient, Unauthorized
from nodeset_provider.join.user_data import Delivery

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """Per driver. Seconds after which a call counts as lost, and how many calls run at one time."""

    create_seconds: float = 120.0
    delete_seconds: float = 60.0
    get_seconds: float = 30.0
    resolve_seconds: float = 30.0
    concurrent: int = 64


class Account:
    """See the module. ``refused`` is set once the cloud said Unauthorized: the credentials are then read again."""

    def __init__(self, name: str, driver: Driver, gate: asyncio.Semaphore, limits: CallLimits) -> None:
        self.name = name
        self.driver = driver
        self.refused = False
        self._gate = gate
        self._limits = limits

    @property
    def consistency_delay(self) -> float:
        """Seconds after a create within which absence proves nothing."""
        return self.driver.consistency_delay

    @property
    def delivery(self) -> Delivery:
        """How user-data reaches its machines."""
        driver = self.driver
        return Delivery(formats=driver.user_data_formats, limit=driver.user_data_limit, gzip=driver.user_data_gzip)

    async def resolve(self, config: Mapping[str, Any]) -> Offering:
        """As :meth:`Driver.resolve`."""
        return await self._call("resolve", self._limits.resolve_seconds, lambda: self.driver.resolve(config))

    async def create(self, request: CreateRequest, may_act: MayAct) -> Instance:
        """As :meth:`Driver.create`; NotLeading where ``may_act`` says no when its turn has come."""
        return await self._call("create", self._limits.create_seconds, lambda: self.driver.create(request), may_act)

    async def get(self, key: InstanceKey) -> Instance:
        """As :meth:`Driver.get`; the only one that may raise NotFound."""
        return await self._call("get", self._limits.get_seconds, lambda: self.driver.get(key))

    async def diagnose(self, key: InstanceKey) -> str:
        """As :meth:`Driver.diagnose`; what is more than the contract allows is cut off at the front."""
        said = await self._call("diagnose", self._limits.get_seconds, lambda: self.driver.diagnose(key))
        return said[-DIAGNOSIS_LIMIT:] if isinstance(said, str) else ""

    async def delete(self, key: InstanceKey, may_act: MayAct) -> Deletion:
        """As :meth:`Driver.delete`; NotLeading where ``may_act`` says no when its turn has come."""
        try:
            return await self._call("delete", self._limits.delete_seconds, lambda: self.driver.delete(key), may_act)
        except NotFound:
            return Deletion.GONE

    async def _call(
        self, call: str, seconds: float, start: Callable[[], Awaitable[T]], may_act: MayAct = lambda: True
    ) -> T:
        async with self._gate:
            check(may_act)  # after the wait for a turn, which may have been long
            began = perf_counter()
            outcome = "cancelled"
            try:
                async with asyncio.timeout(seconds):
                    answer = await start()
            except TimeoutError:
                outcome = "timeout"
                raise Transient(f"the driver gave no answer to {call} within {seconds:g} s") from None
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody cancelled us: the driver let go of its own work. Passed on, it would end our worker unseen.
                outcome = "bug"
                raise Transient(f"the driver cancelled its own {call}") from None
            except DriverError as error:
                outcome = error.code
                if isinstance(error, Unauthorized):
                    self.refused = True
                if isinstance(error, NotFound) and call not in ("get", "delete", "diagnose"):
                    raise Transient(f"{call}: {error.message}") from error
                raise
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything
                outcome = "bug"
                # The message may hold anything the driver knows, credentials too: only where it happened is told.
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{last.filename.rpartition('/')[2]}:{last.lineno}"
                _log.error("driver bug", driver=self.name, call=call, error=type(error).__name__, where=where)
                raise Transient(f"the driver failed with {type(error).__name__} in {call} ({where})") from None
            else:
                outcome = "ok"
                return answer
            finally:
                metrics.DRIVER_SECONDS.labels(self.name, call, outcome).observe(perf_counter() - began)
