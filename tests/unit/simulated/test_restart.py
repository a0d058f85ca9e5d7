"""What the cloud has answered outlives its process, however that ends."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nodeset_driver_simulated import SimulatedDriver, create_driver
from nodeset_driver_simulated.admin import CloudAdmin
from nodeset_driver_simulated.knobs import Fault, Latency
from testbed.simulated_cloud import SimulatedCloud

from nodeset_provider.driverkit.contract import CreateRequest, Deletion, InstanceKey
from nodeset_provider.driverkit.errors import Transient

COMMAND = Path(sys.executable).with_name("simulated-cloud")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SimulatedCloud]:
    with SimulatedCloud(tmp_path, tmp_path) as cloud:
        yield cloud


@asynccontextmanager
async def clients(cloud: SimulatedCloud) -> AsyncIterator[tuple[SimulatedDriver, CloudAdmin]]:
    driver = create_driver({"endpoint": cloud.endpoint.encode(), "token": cloud.token.encode()})
    async with CloudAdmin(cloud.endpoint, cloud.token) as admin:
        yield driver, admin
    await driver.close()


def request() -> CreateRequest:
    return CreateRequest(
        cluster="c", machine="m", token=str(uuid.uuid4()), config={"instanceType": "small-2"}, user_data=b"x"
    )


def key(of: CreateRequest) -> InstanceKey:
    return InstanceKey(cluster=of.cluster, token=of.token)


async def test_crash_between_effect_and_answer_leaves_one_machine(cloud: SimulatedCloud) -> None:
    wanted = request()
    async with clients(cloud) as (driver, admin):
        await admin.fault(Fault(kind="hang", when="after"))
        call = asyncio.create_task(driver.create(wanted))
        async with asyncio.timeout(30):
            while not (await admin.ledger()).made:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        cloud.kill()
        with pytest.raises(Transient):
            await call
        with pytest.raises(Transient):
            await driver.get(key(wanted))
    cloud.start()
    async with clients(cloud) as (driver, admin):
        assert (await driver.get(key(wanted))).token == wanted.token
        await driver.create(wanted)
        assert (await admin.ledger()).machines["c/m"].made == 1


async def test_killed_cloud_comes_back_as_it_was(cloud: SimulatedCloud) -> None:
    kept, deleted = request(), request()
    async with clients(cloud) as (driver, admin):
        made = await driver.create(kept)
        await driver.create(deleted)
        await driver.delete(key(deleted))
        fault = Fault(kind="error", operation="list", count=3)
        await admin.fault(fault)
        await admin.set_capacity("big-8", "sim-1a", 7)
        await admin.set_quota(instances=5)
        await admin.set_latency(Latency(delete=0.25))
        before = await admin.ledger()
        with pytest.raises(Transient):
            await driver.get(key(kept))
        knobs, faults = await admin.knobs(), await admin.faults()
    cloud.kill()
    cloud.start()
    async with clients(cloud) as (driver, admin):
        assert await admin.ledger() == before
        assert (await admin.knobs(), await admin.faults()) == (knobs, faults)
        assert [fault.count for fault in faults.values()] == [2]
        with pytest.raises(Transient):
            await driver.get(key(kept))
        await admin.clear_faults()
        assert await driver.get(key(kept)) == made
        assert (await driver.create(deleted)).message == "the cloud took this machine away"


async def test_deletion_goes_on_while_the_cloud_is_down(cloud: SimulatedCloud) -> None:
    wanted = request()
    async with clients(cloud) as (driver, admin):
        await admin.set_latency(Latency(delete=0.2))
        await driver.create(wanted)
        assert await driver.delete(key(wanted)) is Deletion.IN_PROGRESS
    cloud.kill()
    await asyncio.sleep(0.2)
    cloud.start()
    async with clients(cloud) as (driver, admin):
        assert await driver.delete(key(wanted)) is Deletion.GONE
        assert (await admin.ledger()).alive == 0


async def test_user_data_is_read_once_after_a_restart_in_the_middle(cloud: SimulatedCloud) -> None:
    async with clients(cloud) as (driver, admin):
        await admin.pause(boots=True)
        made = await driver.create(request())
    cloud.stop()
    cloud.start()
    async with clients(cloud) as (driver, admin):
        name = made.provider_id.removeprefix("simulated://")
        assert await admin.console(name) == ""
        await admin.pause()
        async with asyncio.timeout(30):
            while not (said := await admin.console(name)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    cloud.kill()
    cloud.start()
    async with clients(cloud) as (driver, admin):
        assert await admin.console(name) == said


async def test_user_data_is_forgotten_with_its_token(cloud: SimulatedCloud, tmp_path: Path) -> None:
    secret = b"abcdef.0123456789abcdef"
    async with clients(cloud) as (driver, admin):
        await admin.pause(boots=True)
        wanted = CreateRequest(
            cluster="c", machine="m", token="t-1", config={"instanceType": "small-2"}, user_data=secret
        )
        await driver.create(wanted)
        await driver.delete(key(wanted))
    cloud.stop()
    with sqlite3.connect(tmp_path / "simulated-cloud-state") as state:
        assert state.execute("SELECT count(*) FROM user_data").fetchone() == (0,)
        assert state.execute("SELECT count(*) FROM instances").fetchone() == (1,)
    state.close()


def test_stop_is_clean_even_with_a_call_in_the_air(cloud: SimulatedCloud) -> None:
    async def hang() -> None:
        async with clients(cloud) as (driver, admin):
            await admin.fault(Fault(kind="hang"))
            call = asyncio.create_task(driver.create(request()))
            async with asyncio.timeout(30):
                while await admin.faults():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert await asyncio.to_thread(cloud.stop) == 0
            with pytest.raises(Transient):
                await call

    asyncio.run(hang())
    assert "Traceback" not in cloud.log.read_text()


def test_second_cloud_on_one_state_file_is_refused(cloud: SimulatedCloud, tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "serve", f"--state={tmp_path / 'simulated-cloud-state'}", "--api-token=t"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "in use by another simulated cloud" in done.stderr


def test_url_is_said_when_it_is_ready_and_sigterm_ends_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "serve", f"--state={tmp_path / 's'}"],
        env={"SIMULATED_CLOUD_TOKEN": "t"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        assert said["pid"] == process.pid
        assert said["url"].startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.stdout.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("types: [{name: x, capacity: {cpu: '1'}, zones: [a]}]", "x lacks ephemeral-storage, memory"),
        ("latency: {boots: 1}", "boots"),
        ("visibilityDelay: 9", "visibilityDelay must be between 0 and 2"),
        ("latency: {jitter: 2}", "jitter"),
        ("a: [", "settings.yaml"),
    ],
)
def test_wrong_settings_end_it_with_the_key(tmp_path: Path, settings: str, said: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(settings)
    done = subprocess.run(
        [COMMAND, "serve", f"--state={tmp_path / 's'}", "--api-token=t", f"--settings={file}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_types_are_printed_as_settings_take_them(tmp_path: Path) -> None:
    printed = subprocess.run([COMMAND, "types"], capture_output=True, text=True, timeout=60, check=True).stdout
    file = tmp_path / "types.json"
    file.write_text(printed)
    again = subprocess.run(
        [COMMAND, "types", f"--settings={file}"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert again == printed
    assert {kind["name"] for kind in json.loads(printed)["types"]} >= {"small-2", "big-8", "gpu-1", "scarce-4"}
