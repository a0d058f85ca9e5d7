"""The simulated driver keeps the driver contract, with a prompt cloud and with a slow and inconsistent one."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from nodeset_driver_simulated import create_driver
from nodeset_driver_simulated.admin import CloudAdmin
from nodeset_driver_simulated.cloud.settings import Settings
from nodeset_driver_simulated.knobs import Fault, Latency

pytest.register_assert_rewrite("nodeset_provider.driverkit.conformance.rules")

from nodeset_provider.driverkit.conformance import ContractTests, Harness  # noqa: E402
from nodeset_provider.driverkit.contract import Driver  # noqa: E402
from nodeset_provider.driverkit.errors import (  # noqa: E402
    DriverError,
    InsufficientCapacity,
    QuotaExceeded,
    Throttled,
)

TOKEN = "s3cret-of-the-account"
ALL = 1000
CLOUDS = {
    "prompt": Settings(),
    "slow": Settings(
        latency=Latency(create=0.05, read=0.01, boot=0.2, delete=0.3, jitter=0.5), visibility_delay=0.3, seed=7
    ),
}


class SimulatedHarness(Harness):
    config = {"instanceType": "small-2", "zone": "sim-1b"}
    wrong_configs = (
        ({"instanceType": "small-2", "flavour": "x"}, "flavour"),
        ({"instanceType": "huge-99"}, "instanceType"),
        ({"instanceType": "small-2", "zone": "moon-1"}, "zone"),
        ({"zone": "sim-1b"}, "instanceType"),
        ({"instanceType": 7}, "instanceType"),
        ({"instanceType": "../instances"}, "instanceType"),
    )
    secrets = (TOKEN,)

    def __init__(self, url: str, admin: CloudAdmin, *, assigned: bool) -> None:
        super().__init__()
        self.config: dict[str, Any] = {**type(self).config, "assignedID": assigned}
        self._url = url
        self._admin = admin

    def make_driver(self) -> Driver:
        return create_driver({"endpoint": self._url.encode(), "token": TOKEN.encode()})

    def make_driver_with_wrong_credentials(self) -> Driver:
        return create_driver({"endpoint": self._url.encode(), "token": f"not-{TOKEN[:3]}".encode()})

    async def machines(self, token: str) -> int:
        entry = (await self._admin.ledger()).tokens.get(token)
        return entry.alive if entry else 0

    async def billed(self, token: str) -> int:
        entry = (await self._admin.ledger()).tokens.get(token)
        return entry.alive + entry.disks if entry else 0

    async def lose_answer(self, operation: str) -> None:
        # Twice for delete: an HTTP client asks again by itself when a kept connection breaks under such a call.
        count = 1 if operation == "create" else 2
        await self._admin.fault(Fault(kind="drop", operation=operation, when="after", count=count))  # type: ignore[arg-type]

    async def leave_side_resource(self) -> None:
        await self._admin.fault(Fault(kind="diskStays", operation="delete"))

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        await self._admin.fault(Fault(kind="drop", operation="*", count=ALL))
        yield
        await self._admin.clear_faults()

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        await self._admin.pause(api=True)
        yield
        await self._admin.pause()

    async def refuse(self, error: type[DriverError]) -> None:
        if error is InsufficientCapacity:
            await self._admin.set_capacity("small-2", "sim-1b", 0)
        elif error is QuotaExceeded:
            await self._admin.set_quota(instances=0)
        elif error is Throttled:
            await self._admin.fault(Fault(kind="throttle", retry_after=2.5))
        else:
            await self._admin.fault(Fault(kind="error", code="ServiceUnavailable"))


@pytest.fixture(params=[(name, assigned) for name in CLOUDS for assigned in (False, True)], ids=str)
async def harness(
    request: pytest.FixtureRequest, start_cloud: Callable[[Settings], AbstractAsyncContextManager[Any]]
) -> AsyncIterator[SimulatedHarness]:
    name, assigned = request.param
    async with (
        start_cloud(CLOUDS[name]) as cloud,
        SimulatedHarness(cloud.url, cloud.admin, assigned=assigned) as harness,
    ):
        yield harness


class TestContract(ContractTests):
    pass
