"""A cloud in memory that goes wrong where a test says so, and its driver.

It keeps the driver contract and nothing beyond: machines show up only after the consistency delay, answers get lost,
calls fail before or after they took effect.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nodeset_provider.driverkit.contract import (
    Address,
    CreateRequest,
    Deletion,
    Instance,
    InstanceKey,
    InstanceState,
    Offering,
    UserDataFormat,
)
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec, NotFound, Transient, Unauthorized

T = TypeVar("T")
Hook = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class CloudMachine:
    """``visible_at``: until then neither get nor delete nor list finds it."""

    token: str
    machine: str
    cluster: str
    visible_at: float
    user_data: bytes
    state: InstanceState = InstanceState.RUNNING
    addresses: tuple[str, ...] = ()
    """Internal ones, as the cloud tells them."""
    message: str = ""
    deletes: int = 0


@dataclass(slots=True)
class FaultyCloud:
    """``clock`` gives the moment; ``point`` runs before and after every call took effect, and may raise or hang.

    Attributes:
        machines: what is billed, by token.
        made: every token that a machine was ever made for.
        faults: what the next calls of that name end with, first in first out. ``after`` True: it took effect all the
            same.
        deletes_needed: calls of delete until a machine is gone.
        slow_creates: so many creates get no answer now and take effect only when the next one of their token begins.
        addresses_come_late: new machines have none until the test gives them some.
        console: what ``diagnose`` answers.
        config_error: what ``resolve`` complains about.
    """

    clock: Callable[[], float]
    consistency_delay: float = 5.0
    user_data_limit: int = 65536
    user_data_formats: tuple[UserDataFormat, ...] = ("CloudInit", "Ignition")
    addresses_come_late: bool = False
    console: str = ""
    point: Hook | None = None
    machines: dict[str, CloudMachine] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    overlapped: bool = False
    faults: dict[str, deque[tuple[DriverError, bool]]] = field(default_factory=dict)
    deletes_needed: int = 1
    slow_creates: int = 0
    slow: dict[str, CreateRequest] = field(default_factory=dict)
    config_error: DriverError | None = None
    user_datas: dict[str, bytes] = field(default_factory=dict)
    changed_user_data: bool = False

    def fail(self, call: str, error: DriverError, *, after: bool = False) -> None:
        """The next such call ends like this."""
        self.faults.setdefault(call, deque()).append((error, after))

    def make(self, request: CreateRequest) -> CloudMachine:
        """The machine of that token, made unless it is there."""
        before = self.user_datas.setdefault(request.token, request.user_data)
        self.changed_user_data = self.changed_user_data or before != request.user_data
        if request.token not in self.machines:
            self.machines[request.token] = CloudMachine(
                request.token,
                request.machine,
                request.cluster,
                self.clock() + self.consistency_delay,
                request.user_data,
                addresses=() if self.addresses_come_late else (f"10.0.0.{len(self.made) + 1}",),
            )
            self.made.append(request.token)
        return self.machines[request.token]

    def of(self, machine: str) -> list[CloudMachine]:
        """What is billed for the Machine of that name."""
        return [made for made in self.machines.values() if made.machine == machine]


class FaultyDriver:
    """The driver of a FaultyCloud."""

    def __init__(self, cloud: FaultyCloud) -> None:
        self._cloud = cloud
        self.consistency_delay = cloud.consistency_delay
        self.user_data_limit = cloud.user_data_limit
        self.user_data_formats = cloud.user_data_formats
        self.user_data_gzip = False
        self.closed = False

    async def resolve(self, config: Mapping[str, Any]) -> Offering:
        """Two cores, whatever the config; ``type`` is required."""
        await self._point("resolve")
        if self._cloud.config_error is not None:
            raise self._cloud.config_error
        if not config.get("type"):
            raise InvalidSpec("name one of small, big", field="type")
        return Offering(
            capacity={"cpu": "2", "memory": "4Gi", "ephemeral-storage": "20Gi"},
            labels={"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"},
            price_per_hour="0.1",
            provider_id_format="faulty://{token}",
        )

    async def create(self, request: CreateRequest) -> Instance:
        """Rule 1: at most one machine per token."""
        cloud = self._cloud
        landing = cloud.slow.pop(request.token, None)
        if landing is not None:
            cloud.make(landing)
        if cloud.slow_creates > 0:
            cloud.slow_creates -= 1
            cloud.slow[request.token] = request
            cloud.calls.append(("create", request.token))
            raise Transient("no answer")
        return await self._do("create", request.token, lambda: _instance(cloud.make(request)))

    async def get(self, key: InstanceKey) -> Instance:
        """Rule 3: absence proves nothing within the consistency delay."""
        return await self._do("get", key.token, lambda: _instance(self._visible(key)))

    async def delete(self, key: InstanceKey) -> Deletion:
        """Rule 4."""

        def take() -> Deletion:
            try:
                machine = self._visible(key)
            except NotFound:
                return Deletion.GONE
            machine.deletes += 1
            machine.state = InstanceState.DELETING
            if machine.deletes < self._cloud.deletes_needed:
                return Deletion.IN_PROGRESS
            del self._cloud.machines[machine.token]
            return Deletion.GONE

        return await self._do("delete", key.token, take)

    async def list(self, cluster: str, configs: Sequence[Mapping[str, Any]] = ()) -> AsyncIterator[Instance]:  # noqa: ARG002 - one cloud
        """Rule 5."""
        for machine in list(self._cloud.machines.values()):
            if machine.cluster == cluster:
                yield _instance(machine)

    async def diagnose(self, key: InstanceKey) -> str:
        """What the test says that machines say."""
        return await self._do("diagnose", key.token, lambda: self._cloud.console)

    async def close(self) -> None:
        """Nothing to let go of."""
        self.closed = True

    def _visible(self, key: InstanceKey) -> CloudMachine:
        machine = self._cloud.machines.get(key.token)
        if machine is None or self._cloud.clock() < machine.visible_at:
            raise NotFound(f"no machine {key.token}")
        return machine

    async def _do(self, call: str, token: str, effect: Callable[[], T]) -> T:
        cloud = self._cloud
        cloud.calls.append((call, token))
        cloud.running[token] = cloud.running.get(token, 0) + 1
        cloud.overlapped = cloud.overlapped or cloud.running[token] > 1
        try:
            await self._point(f"{call} before")
            waiting = cloud.faults.get(call)
            fault = waiting.popleft() if waiting else None
            if fault is not None and not fault[1]:
                raise fault[0]
            answer = effect()
            await self._point(f"{call} after")
            if fault is not None:
                raise fault[0]
            return answer
        finally:
            cloud.running[token] -= 1

    async def _point(self, where: str) -> None:
        await asyncio.sleep(0)
        if self._cloud.point is not None:
            await self._cloud.point(where)


class FaultyFactory:
    """The DriverFactory: credentials are ``{"token": b"good"}``."""

    required_credentials: tuple[str, ...] = ("token",)

    def __init__(self, cloud: FaultyCloud) -> None:
        self.cloud = cloud
        self.made: list[FaultyDriver] = []

    def __call__(self, credentials: Mapping[str, bytes]) -> FaultyDriver:
        """Refuses any other token."""
        if credentials["token"] == b"bad":
            raise Unauthorized("credentialsRef: the cloud does not take this token; write a good one into the Secret")
        driver = FaultyDriver(self.cloud)
        self.made.append(driver)
        return driver


def _instance(machine: CloudMachine) -> Instance:
    return Instance(
        provider_id=f"faulty://{machine.token}",
        token=machine.token,
        cluster=machine.cluster,
        machine=machine.machine,
        state=machine.state,
        addresses=tuple(Address(type="InternalIP", address=address) for address in machine.addresses),
        message=machine.message,
    )
