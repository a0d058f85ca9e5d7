"""Drivers by name and Secret: read when needed, rotated without a restart, held to the contract."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from testbed.faulty_cloud import FaultyCloud, FaultyFactory
from testbed.manual_clock import ManualClock
from testbed.memory_world import NAMESPACE, SECRET, World

from nodeset_provider.api.meta import SecretReference
from nodeset_provider.controllers.account import Account, CallLimits
from nodeset_provider.controllers.drivers import RECHECK_SECONDS, AccountUnusable, Drivers
from nodeset_provider.driverkit.contract import CreateRequest, Deletion, InstanceKey
from nodeset_provider.driverkit.errors import DriverError, NotFound, Transient, Unauthorized
from nodeset_provider.driverkit.registry import load_drivers

REFERENCE = SecretReference(name=SECRET, namespace=NAMESPACE)
KEY = InstanceKey(cluster="c", token="t")
REQUEST = CreateRequest(cluster="c", machine="m", token="t", config={}, user_data=b"")


@pytest.fixture
async def world() -> World:
    world = World()
    await world.start()
    await world.stop()
    return world


def drivers_of(world: World) -> Drivers:
    assert world.drivers is not None
    return world.drivers


async def refusal(drivers: Drivers, reference: SecretReference | None, name: str = "faulty") -> AccountUnusable:
    with pytest.raises(AccountUnusable) as raised:
        async with drivers.account(name, reference):
            pass
    return raised.value


async def test_missing_secret_is_named_with_the_keys_it_needs(world: World) -> None:
    world.take_secret()
    error = await refusal(drivers_of(world), REFERENCE)
    assert error.code == "SecretNotFound"
    assert f"{NAMESPACE}/{SECRET}" in error.message
    assert "token" in error.message


async def test_missing_key_is_named(world: World) -> None:
    world.take_secret()
    world.give_secret({"other": "value"})
    error = await refusal(drivers_of(world), REFERENCE)
    assert error.code == "SecretKeyMissing"
    assert "token" in error.message


async def test_secret_of_another_namespace_is_never_read(world: World) -> None:
    error = await refusal(drivers_of(world), SecretReference(name=SECRET, namespace="elsewhere"))
    assert error.code == "SecretInOtherNamespace"
    assert ("get", SECRET) not in world.api.log


async def test_no_reference_where_credentials_are_needed_is_told(world: World) -> None:
    assert (await refusal(drivers_of(world), None)).code == "CredentialsMissing"


async def test_driver_that_is_not_served_and_one_that_is_not_installed_are_told(world: World) -> None:
    assert (await refusal(drivers_of(world), REFERENCE, "aws")).code == "DriverNotServed"
    assert world.client is not None
    broken = Drivers(world.client, load_drivers(["no-such-driver"]), namespace=NAMESPACE)
    assert "not installed" in (await refusal(broken, None, "no-such-driver")).message


async def test_one_driver_serves_all_who_ask_at_one_time(world: World) -> None:
    drivers = drivers_of(world)

    async def use() -> Account:
        async with drivers.account("faulty", REFERENCE) as account:
            return account

    accounts = await asyncio.gather(*(use() for _ in range(20)))
    assert len({id(account) for account in accounts}) == 1
    assert len(world.factory.made) == 1


async def test_rotated_secret_is_picked_up_and_the_old_driver_closed_when_nobody_uses_it(world: World) -> None:
    drivers = drivers_of(world)
    async with drivers.account("faulty", REFERENCE) as old:
        world.give_secret({"token": "newer"})
        world.clock.jump(RECHECK_SECONDS)
        async with drivers.account("faulty", REFERENCE) as new:
            assert new is not old
        assert not world.factory.made[0].closed
    assert world.factory.made[0].closed
    assert not world.factory.made[1].closed


async def test_unchanged_secret_keeps_its_driver(world: World) -> None:
    drivers = drivers_of(world)
    for _ in range(3):
        world.clock.jump(RECHECK_SECONDS)
        async with drivers.account("faulty", REFERENCE):
            pass
    assert len(world.factory.made) == 1


async def test_refusal_by_the_cloud_has_the_secret_read_again_soon(world: World) -> None:
    drivers = drivers_of(world)
    world.cloud.fail("get", Unauthorized("expired"))
    async with drivers.account("faulty", REFERENCE) as account:
        with pytest.raises(Unauthorized):
            await account.get(KEY)
    world.give_secret({"token": "newer"})
    world.clock.jump(1.0)
    async with drivers.account("faulty", REFERENCE) as account:
        pass
    assert len(world.factory.made) == 2


async def test_secret_that_was_taken_away_takes_its_driver_along(world: World) -> None:
    drivers = drivers_of(world)
    async with drivers.account("faulty", REFERENCE):
        pass
    world.take_secret()
    world.clock.jump(RECHECK_SECONDS)
    await refusal(drivers, REFERENCE)
    assert world.factory.made[0].closed


async def test_value_of_a_secret_is_in_no_error(world: World) -> None:
    class Leaky(FaultyFactory):
        def __call__(self, credentials: object) -> None:  # type: ignore[override]
            raise RuntimeError(f"cannot use {credentials}")

    assert world.client is not None
    world.give_secret({"token": "hunter2"})
    drivers = Drivers(world.client, {"leaky": Leaky(world.cloud)}, namespace=NAMESPACE)
    error = await refusal(drivers, REFERENCE, "leaky")
    assert error.code == "DriverFailed"
    assert "hunter2" not in error.message
    assert error.__cause__ is None


class Bad:
    """A driver that does what ``behave`` does."""

    consistency_delay = 0.0
    user_data_limit = 100

    def __init__(self, behave: Callable[[], Awaitable[object]]) -> None:
        self.behave = behave

    async def create(self, request: CreateRequest) -> object:
        return await self.behave()

    get = delete = resolve = create


def account(behave: Callable[[], Awaitable[object]], *, concurrent: int = 4) -> Account:
    limits = CallLimits(create_seconds=0.01, get_seconds=30, delete_seconds=30, resolve_seconds=30)
    return Account("bad", Bad(behave), asyncio.Semaphore(concurrent), limits)  # type: ignore[arg-type]


async def test_driver_that_hangs_leaves_a_doubt() -> None:
    async def hang() -> object:
        return await asyncio.Event().wait()

    with pytest.raises(Transient):
        await account(hang).create(REQUEST, lambda: True)


async def test_bug_of_a_driver_is_a_doubt_and_tells_no_secret() -> None:
    async def bug() -> object:
        raise ValueError("password=hunter2")

    with pytest.raises(Transient) as raised:
        await account(bug).create(REQUEST, lambda: True)
    assert "ValueError" in raised.value.message
    assert "hunter2" not in raised.value.message


async def test_not_found_of_create_is_a_doubt_and_of_delete_means_gone() -> None:
    async def missing() -> object:
        raise NotFound("no image")

    with pytest.raises(Transient):
        await account(missing).create(REQUEST, lambda: True)
    assert await account(missing).delete(KEY, lambda: True) is Deletion.GONE


async def test_calls_at_one_time_are_bounded() -> None:
    running, most = 0, 0

    async def work() -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return None

    gate = account(work, concurrent=3)
    await asyncio.gather(*(gate.get(KEY) for _ in range(20)))
    assert most == 3


async def test_cancelled_call_gives_its_place_back() -> None:
    async def hang() -> object:
        return await asyncio.Event().wait()

    gate = account(hang, concurrent=1)
    task = asyncio.create_task(gate.get(KEY))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    async def answer() -> object:
        return "there"

    gate.driver = Bad(answer)  # type: ignore[assignment]
    assert await gate.get(KEY) == "there"


async def test_no_error_but_a_drivers_own_leaves_it_changed() -> None:
    cloud = FaultyCloud(clock=ManualClock().monotonic)
    for error in (Unauthorized("no"), Transient("?")):
        cloud.fail("get", error)
        driver = FaultyFactory(cloud)({"token": b"good"})
        with pytest.raises(DriverError) as raised:
            await Account("faulty", driver, asyncio.Semaphore(1), CallLimits()).get(KEY)
        assert raised.value is error
