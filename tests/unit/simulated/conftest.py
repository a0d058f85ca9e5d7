"""A simulated cloud in the test's own process, on a free port."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
from nodeset_driver_simulated import SimulatedDriver, create_driver
from nodeset_driver_simulated.admin import CloudAdmin
from nodeset_driver_simulated.cloud.process import running_cloud
from nodeset_driver_simulated.cloud.settings import Settings

TOKEN = "s3cret-of-the-account"


@dataclass
class Cloud:
    url: str
    admin: CloudAdmin
    driver: SimulatedDriver


@asynccontextmanager
async def start(settings: Settings | None = None) -> AsyncIterator[Cloud]:
    async with (
        running_cloud(settings or Settings(), state=None, host="127.0.0.1", port=0, api_token=TOKEN) as url,
        CloudAdmin(url, TOKEN) as admin,
    ):
        driver = create_driver({"endpoint": url.encode(), "token": TOKEN.encode()})
        try:
            yield Cloud(url, admin, driver)
        finally:
            await driver.close()


@pytest.fixture
def start_cloud() -> Callable[[Settings | None], AbstractAsyncContextManager[Cloud]]:
    return start


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with start() as cloud:
        yield cloud
