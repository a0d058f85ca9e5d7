"""What the contract tests need to know of a driver's cloud, beside the driver: the one thing that an author writes."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Self

from nodeset_provider.driverkit.contract import CreateRequest, Driver, UserDataFormat
from nodeset_provider.driverkit.errors import DriverError

Operation = Literal["create", "delete"]


class Harness(ABC):
    """A cloud, or a stand-in of one that is as hostile. Counts are the cloud's own, never taken through the driver.

    Attributes:
        cluster: owns the machines of this test; no other test uses it.
        config: one that works.
        wrong_configs: pairs of a config that can never work and the field that is wrong in it.
        user_data: what a machine may be given.
        secrets: strings that may appear in nothing that a driver says.
        patience: seconds after which a test gives up waiting.
    """

    config: Mapping[str, Any]
    wrong_configs: Sequence[tuple[Mapping[str, Any], str]]
    user_data: bytes = b"#cloud-config\n{}\n"
    user_data_format: UserDataFormat = "CloudInit"
    secrets: Sequence[str] = ()
    patience: float = 60.0

    def __init__(self) -> None:
        self.cluster = str(uuid.uuid4())
        self._drivers: list[Driver] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for driver in self._drivers:
            await driver.close()

    def driver(self) -> Driver:
        """A driver that shares no memory with those before it, as in another process; closed with the harness."""
        driver = self.make_driver()
        self._drivers.append(driver)
        return driver

    def request(self, machine: str = "machine-1", *, token: str = "", cluster: str = "") -> CreateRequest:
        """A request with a token of its own unless one is given."""
        return CreateRequest(
            cluster=cluster or self.cluster,
            machine=machine,
            token=token or str(uuid.uuid4()),
            config=self.config,
            user_data=self.user_data,
            user_data_format=self.user_data_format,
        )

    @abstractmethod
    def make_driver(self) -> Driver:
        """A new driver with credentials that work."""

    @abstractmethod
    def make_driver_with_wrong_credentials(self) -> Driver:
        """A new driver whose credentials the cloud refuses."""

    @abstractmethod
    async def machines(self, token: str) -> int:
        """Machines that exist for that token, whatever their state."""

    @abstractmethod
    async def billed(self, token: str) -> int:
        """Machines and everything made for them (disks, ports, addresses) that exists for that token."""

    @abstractmethod
    async def lose_answer(self, operation: Operation) -> None:
        """The next such call takes effect in the cloud and its answer never reaches the driver."""

    @abstractmethod
    async def leave_side_resource(self) -> None:
        """The next machine that goes leaves something behind unless the driver takes it away too.

        For a cloud where that cannot be, call ``pytest.skip`` with the reason.
        """

    @abstractmethod
    def unreachable(self) -> AbstractAsyncContextManager[None]:
        """While entered no call reaches the cloud, and each fails within ``patience``."""

    @abstractmethod
    def holding(self) -> AbstractAsyncContextManager[None]:
        """While entered the cloud answers nothing; calls go on when it is left."""

    @abstractmethod
    async def refuse(self, error: type[DriverError]) -> None:
        """Let the next create fail as that error says, in the cloud's own words (or ``pytest.skip`` with the reason).

        It is called with InsufficientCapacity, QuotaExceeded, Throttled and Transient.
        """
