"""Everything that the administrator can make go wrong reaches the driver as the right error of the closed set."""

import asyncio
import json
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import aiohttp
import pytest
from aiohttp import web
from nodeset_driver_simulated import SimulatedDriver
from nodeset_driver_simulated.admin import AdminError, CloudAdmin
from nodeset_driver_simulated.cloud.settings import Settings
from nodeset_driver_simulated.config import Credentials
from nodeset_driver_simulated.knobs import Fault, Latency
from nodeset_driver_simulated.transport import Transport
from nodeset_driver_simulated.wire import STATUS_BY_CODE, InstanceType

from nodeset_provider.driverkit.contract import CreateRequest, Deletion, InstanceKey, InstanceState
from nodeset_provider.driverkit.errors import (
    DriverError,
    InsufficientCapacity,
    InvalidSpec,
    NotFound,
    QuotaExceeded,
    Throttled,
    Transient,
    Unauthorized,
)

CLUSTER = "cluster-1"


class CloudFixture(Protocol):
    url: str
    admin: CloudAdmin
    driver: SimulatedDriver


StartCloud = Callable[[Settings], AbstractAsyncContextManager[CloudFixture]]


def request(machine: str = "m-1", *, token: str = "", user_data: bytes = b"x", **config: object) -> CreateRequest:
    return CreateRequest(
        cluster=CLUSTER,
        machine=machine,
        token=token or str(uuid.uuid4()),
        config={"instanceType": "small-2", **config},
        user_data=user_data,
    )


def key(of: CreateRequest) -> InstanceKey:
    return InstanceKey(cluster=of.cluster, token=of.token)


async def alive(cloud: CloudFixture) -> int:
    return (await cloud.admin.ledger()).alive


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("InvalidParameter", InvalidSpec),
        ("Unauthorized", Unauthorized),
        ("QuotaExceeded", QuotaExceeded),
        ("InstanceNotFound", NotFound),
        ("TypeNotFound", InvalidSpec),
        ("DiskNotFound", NotFound),
        ("InsufficientCapacity", InsufficientCapacity),
        ("TooManyRequests", Throttled),
        ("InternalError", Transient),
        ("ServiceUnavailable", Transient),
    ],
)
async def test_every_code_of_the_cloud_is_one_error_of_the_set(
    cloud: CloudFixture, code: str, error: type[DriverError]
) -> None:
    await cloud.admin.fault(Fault(kind="error", operation="list", code=code))
    with pytest.raises(error):
        [_ async for _ in cloud.driver.list(CLUSTER)]


def test_no_code_is_forgotten_above() -> None:
    cases = test_every_code_of_the_cloud_is_one_error_of_the_set.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {case[0] for case in cases} == set(STATUS_BY_CODE) - {"IdempotentParameterMismatch"}


async def test_throttled_says_how_long(cloud: CloudFixture) -> None:
    await cloud.admin.fault(Fault(kind="throttle", retry_after=12.5))
    with pytest.raises(Throttled) as throttled:
        await cloud.driver.create(request())
    assert throttled.value.retry_after == 12.5
    assert await alive(cloud) == 0


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("kind", ["error", "drop"])
async def test_fault_before_or_after_the_effect_is_transient_and_the_effect_is_as_said(
    cloud: CloudFixture, kind: Literal["error", "drop"], when: Literal["before", "after"], made: int
) -> None:
    await cloud.admin.fault(Fault(kind=kind, when=when))
    wanted = request()
    with pytest.raises(Transient):
        await cloud.driver.create(wanted)
    assert await alive(cloud) == made
    await cloud.driver.create(wanted)
    assert await alive(cloud) == 1


async def test_silent_cloud_is_transient_once_the_time_is_over(cloud: CloudFixture) -> None:
    await cloud.admin.fault(Fault(kind="hang", when="after"))
    driver = SimulatedDriver(Transport(Credentials(cloud.url, "s3cret-of-the-account"), timeout=0.2))
    with pytest.raises(Transient, match="did not answer"):
        await driver.create(request())
    await driver.close()
    assert await alive(cloud) == 1


async def test_count_and_patterns_narrow_a_fault_down(cloud: CloudFixture) -> None:
    await cloud.admin.fault(Fault(kind="error", code="InsufficientCapacity", count=2, machine="gpu-*", type="small-*"))
    await cloud.driver.create(request("cpu-1"))
    await cloud.driver.create(request("gpu-1", instanceType="big-8"))
    for name in ("gpu-1", "gpu-2"):
        with pytest.raises(InsufficientCapacity):
            await cloud.driver.create(request(name))
    assert await cloud.admin.faults() == {}
    await cloud.driver.create(request("gpu-3"))


async def test_forgotten_faults_do_not_happen(cloud: CloudFixture) -> None:
    await cloud.admin.fault(Fault(kind="error", operation="*", count=99))
    await cloud.admin.clear_faults()
    await cloud.driver.create(request())


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="error", code="Oops"),
        Fault(kind="error", count=0),
        Fault(kind="bootFails", operation="delete"),
        Fault(kind="diskStays", operation="create"),
    ],
)
async def test_fault_that_could_never_happen_is_refused(cloud: CloudFixture, fault: Fault) -> None:
    with pytest.raises(AdminError, match="InvalidParameter"):
        await cloud.admin.fault(fault)


async def test_machine_that_does_not_power_on_is_failed_and_can_be_deleted(cloud: CloudFixture) -> None:
    await cloud.admin.fault(Fault(kind="bootFails"))
    wanted = request()
    await cloud.driver.create(wanted)
    found = await cloud.driver.get(key(wanted))
    assert (found.state, found.message) == (InstanceState.FAILED, "the machine did not power on")
    assert await cloud.driver.delete(key(wanted)) is Deletion.GONE


async def test_machine_that_never_boots_runs_and_says_nothing(cloud: CloudFixture) -> None:
    await cloud.admin.fault(Fault(kind="bootNever"))
    silent, other = request(), request()
    made = await cloud.driver.create(silent)
    talking = await cloud.driver.create(other)
    async with asyncio.timeout(30):
        while not await cloud.admin.console(talking.provider_id.removeprefix("simulated://")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await cloud.admin.console(made.provider_id.removeprefix("simulated://")) == ""
    assert (await cloud.driver.get(key(silent))).state is InstanceState.RUNNING


async def test_paused_boots_wait(cloud: CloudFixture) -> None:
    await cloud.admin.pause(boots=True)
    made = await cloud.driver.create(request())
    name = made.provider_id.removeprefix("simulated://")
    assert (await cloud.driver.get(InstanceKey(cluster=CLUSTER, token=made.token))).state is InstanceState.RUNNING
    assert await cloud.admin.console(name) == ""
    await cloud.admin.pause()
    async with asyncio.timeout(30):
        while "cloud-init" not in await cloud.admin.console(name):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_disk_that_stays_goes_with_the_delete(cloud: CloudFixture) -> None:
    await cloud.admin.fault(Fault(kind="diskStays", operation="delete"))
    wanted = request()
    made = await cloud.driver.create(wanted)
    await cloud.admin.terminate(made.provider_id.removeprefix("simulated://"), CLUSTER)
    ledger = await cloud.admin.ledger()
    assert (ledger.alive, ledger.disks) == (0, 1)
    assert await cloud.driver.delete(key(wanted)) is Deletion.GONE
    assert (await cloud.admin.ledger()).disks == 0


async def test_token_with_other_parameters_answers_the_machine_that_exists(cloud: CloudFixture) -> None:
    first = request(user_data=b"a")
    made = await cloud.driver.create(first)
    assert await cloud.driver.create(request(token=first.token, user_data=b"b")) == made
    assert await alive(cloud) == 1


async def test_cloud_itself_refuses_a_token_with_other_parameters(cloud: CloudFixture) -> None:
    body = {"token": "t", "cluster": CLUSTER, "machine": "m", "type": "small-2"}
    headers = {"Authorization": "Bearer s3cret-of-the-account"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{cloud.url}/v1/instances", data=json.dumps(body)) as answer:
            assert answer.status == 200
        async with session.post(f"{cloud.url}/v1/instances", data=json.dumps({**body, "machine": "n"})) as answer:
            assert answer.status == 409
            assert (await answer.json())["error"]["code"] == "IdempotentParameterMismatch"


async def test_create_of_a_machine_that_was_taken_away_makes_no_second_one(cloud: CloudFixture) -> None:
    wanted = request()
    made = await cloud.driver.create(wanted)
    await cloud.admin.terminate(made.provider_id.removeprefix("simulated://"), CLUSTER)
    again = await cloud.driver.create(wanted)
    assert (again.state, again.message) == (InstanceState.FAILED, "the cloud took this machine away")
    assert await alive(cloud) == 0
    assert await cloud.driver.delete(key(wanted)) is Deletion.GONE


async def test_capacity_runs_out_and_comes_back_with_a_deletion(cloud: CloudFixture) -> None:
    await cloud.admin.set_capacity("small-2", "sim-1b", 1)
    first = request(zone="sim-1b")
    await cloud.driver.create(first)
    with pytest.raises(InsufficientCapacity, match="no small-2 left in sim-1b"):
        await cloud.driver.create(request(zone="sim-1b"))
    assert await cloud.driver.create(first)  # has its machine already
    await cloud.driver.delete(key(first))
    assert await cloud.driver.create(request(zone="sim-1b"))


async def test_without_a_zone_the_emptiest_with_room_is_taken(cloud: CloudFixture) -> None:
    await cloud.admin.set_capacity("small-2", "sim-1a", 0)
    for _ in range(4):
        await cloud.driver.create(request())
    zones = [instance.zone for instance in await cloud.admin.instances(CLUSTER)]
    assert sorted(zones) == ["sim-1b", "sim-1b", "sim-1c", "sim-1c"]


@pytest.mark.parametrize("quota", [{"instances": 2}, {"cpus": 4.5}])
async def test_quota_bounds_what_is_alive(cloud: CloudFixture, quota: dict[str, Any]) -> None:
    await cloud.admin.set_quota(**quota)
    first = request()
    await cloud.driver.create(first)
    await cloud.driver.create(request())
    with pytest.raises(QuotaExceeded):
        await cloud.driver.create(request())
    await cloud.driver.delete(key(first))
    await cloud.driver.create(request())


async def test_too_much_user_data_names_the_field(cloud: CloudFixture) -> None:
    await cloud.driver.create(request(user_data=b"x" * cloud.driver.user_data_limit))
    with pytest.raises(InvalidSpec) as refused:
        await cloud.driver.create(request(user_data=b"x" * (cloud.driver.user_data_limit + 1)))
    assert refused.value.field == "userData"


async def test_deleting_machine_is_billed_and_listed_until_it_is_gone(start_cloud: StartCloud) -> None:
    async with start_cloud(Settings(latency=Latency(delete=0.4))) as cloud:
        wanted = request()
        await cloud.driver.create(wanted)
        assert await cloud.driver.delete(key(wanted)) is Deletion.IN_PROGRESS
        assert (await cloud.driver.get(key(wanted))).state is InstanceState.DELETING
        assert await alive(cloud) == 1
        async with asyncio.timeout(30):
            while await cloud.driver.delete(key(wanted)) is Deletion.IN_PROGRESS:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await alive(cloud) == 0


async def test_list_goes_over_as_many_pages_as_there_are(cloud: CloudFixture) -> None:
    made = {(await cloud.driver.create(request(f"m-{number}"))).provider_id for number in range(7)}
    found: list[str] = []
    after = ""
    headers = {"Authorization": "Bearer s3cret-of-the-account"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            url = f"{cloud.url}/v1/instances?cluster={CLUSTER}&limit=3&after={after}"
            async with session.get(url) as answer:
                page = await answer.json()
            assert len(page["instances"]) <= 3
            found += [f"simulated://{instance['id']}" for instance in page["instances"]]
            after = page.get("next", "")
            if not after:
                break
    assert len(found) == 7
    assert set(found) == made


async def test_driver_lists_past_the_first_page(start_cloud: StartCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodeset_driver_simulated.cloud.server.DEFAULT_PAGE", 2)
    async with start_cloud(Settings()) as cloud:
        made = {(await cloud.driver.create(request(f"m-{number}"))).provider_id for number in range(5)}
        assert {found.provider_id async for found in cloud.driver.list(CLUSTER)} == made


async def test_ledger_shows_a_second_machine_under_one_name(cloud: CloudFixture) -> None:
    first = request("twin")
    await cloud.driver.create(first)
    await cloud.driver.create(request("twin"))
    await cloud.driver.delete(key(first))
    entry = (await cloud.admin.ledger()).machines[f"{CLUSTER}/twin"]
    assert (entry.made, entry.alive, entry.most_alive) == (2, 1, 2)


async def test_types_come_from_the_settings(start_cloud: StartCloud) -> None:
    kind = InstanceType(
        name="own.1",
        capacity={"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi", "example.com/fpga": "3"},
        zones=["z"],
        architecture="arm64",
        price_per_hour="1.25",
    )
    async with start_cloud(Settings(types=[kind])) as cloud:
        offering = await cloud.driver.resolve({"instanceType": "own.1"})
        assert offering.capacity == kind.capacity
        assert offering.price_per_hour == "1.25"
        assert offering.labels["kubernetes.io/arch"] == "arm64"
        assert offering.labels["topology.kubernetes.io/zone"] == "z"
        assert offering.provider_id_format == "simulated://i-{token}"


async def test_nobody_without_the_token_learns_anything(cloud: CloudFixture) -> None:
    for path in ("/v1/types", "/v1/ledger", "/admin/knobs", "/nowhere"):
        async with aiohttp.ClientSession() as session, session.get(cloud.url + path) as answer:
            assert answer.status == 401
    async with CloudAdmin(cloud.url, "wrong") as admin:
        with pytest.raises(AdminError, match="Unauthorized"):
            await admin.ledger()


async def test_what_is_not_the_clouds_word_is_transient() -> None:
    answers = [
        web.Response(status=404, text="<html>no such page</html>"),
        web.Response(status=401, text="{}"),
        web.Response(status=200, text="<html>"),
        web.Response(status=200, body=b"\xff"),
        web.Response(status=302, headers={"Location": "/v1/types"}),
    ]
    application = web.Application()
    waiting = list(answers)

    async def answer(_: web.Request) -> web.Response:
        return waiting.pop(0)

    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    driver = SimulatedDriver(Transport(Credentials(url, "t"), timeout=5))
    try:
        for _ in answers:
            with pytest.raises(Transient):
                await driver.get(InstanceKey(cluster="c", token="t"))
    finally:
        await driver.close()
        await runner.cleanup()
