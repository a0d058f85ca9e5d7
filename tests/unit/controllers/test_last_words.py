"""What a machine last said reaches people: short, readable, without its token; and it holds nothing up."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed.memory_world import World

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import CONDITION_LAUNCHED, CONDITION_REGISTERED
from nodeset_provider.controllers.conditions import MESSAGE_LIMIT, one_line
from nodeset_provider.controllers.machine.last_words import LIMIT, last_words
from nodeset_provider.driverkit.contract import DIAGNOSIS_LIMIT, InstanceState
from nodeset_provider.driverkit.errors import InvalidSpec, Transient
from nodeset_provider.kube.resources import EVENTS, SECRETS

ID, SECRET = "abcdef", "0123456789abcdef"
CONSOLE = (
    "\x1b[0;32m[  OK  ]\x1b[0m Started \x1b[0;1;39mcontainerd.service\x1b[0m.\r\n"
    "\r\n"
    'kubelet[412]: E0101 "Failed to run kubelet" err="cannot reach https://10.0.0.1:6443"\r\n'
)


def test_last_lines_are_on_one_line_and_without_the_terminals_colours() -> None:
    said = last_words(CONSOLE)
    assert said == (
        '[ OK ] Started containerd.service. | kubelet[412]: E0101 "Failed to run kubelet" '
        'err="cannot reach https://10.0.0.1:6443"'
    )


def test_of_much_that_was_said_the_last_whole_lines_are_kept() -> None:
    said = last_words("\n".join(f"line number {number}" for number in range(100)))
    assert said.endswith("line number 98 | line number 99")
    assert said.startswith("line number")
    assert len(said) <= LIMIT + 20


def test_line_that_the_driver_cut_in_its_middle_is_left_out() -> None:
    said = last_words(("x" * 50 + "\nwhole\n").rjust(DIAGNOSIS_LIMIT, "y"))
    assert said == "whole"


@pytest.mark.parametrize(
    "text",
    [
        f"token: {ID}.{SECRET}",
        f"K10deadbeef::{ID}.{SECRET}",
        f"bearer {SECRET}",
        f"tok{ID}.{SECRET[:9]}\r\n{SECRET[9:]} end",
        f"...{SECRET[4:]}",
        f"{SECRET[:12]}...",
        '{"token": "zyxwvu.fedcba9876543210"}',
    ],
)
def test_nothing_of_a_token_is_repeated(text: str) -> None:
    said = last_words(text, (ID, SECRET))
    assert ID not in said
    assert not any(SECRET[start : start + 6] in said.replace(" | ", "") for start in range(len(SECRET) - 5))
    assert "zyxwvu" not in said


@given(st.text(max_size=4000))
def test_whatever_was_said_is_bounded_and_printable(text: str) -> None:
    said = last_words(text[-DIAGNOSIS_LIMIT:], (ID, SECRET))
    assert said.isprintable()
    assert len(said) <= LIMIT + 20


@given(st.text(max_size=5000))
def test_whatever_a_driver_complains_of_is_one_readable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= MESSAGE_LIMIT


def test_long_complaint_keeps_its_beginning_and_its_end() -> None:
    line = one_line("cannot boot: " + "noise " * 1000 + "kernel panic")
    assert line.startswith("cannot boot: noise")
    assert line.endswith("kernel panic")
    assert " … " in line


async def launched(*, seconds: int = 60) -> World:
    world = World()
    world.put_class(launchTimeoutSeconds=seconds)
    world.put_set(replicas=1, autoscaling={"maxReplicas": 3})
    await world.start()
    await world.pass_time(3)
    return world


def message(it: Machine, kind: str) -> str:
    found = find_condition(it.status.conditions, kind)
    assert found is not None
    return found.message


async def test_kubelet_that_never_comes_is_explained_by_what_the_machine_last_said() -> None:
    world = await launched()
    (secret,) = [
        body for (where, _), body in world.api.objects.items() if where == SECRETS.within("kube-system").path()
    ]
    token = str(secret["data"]["token-secret"])
    world.cloud.console = f"{CONSOLE}token {token}\n"
    await world.pass_time(70)
    (it,) = world.machines
    told = message(it, CONDITION_REGISTERED)
    launched_as = f"{it.spec.node_name} within 60 s of the launch of {it.status.provider_id}"
    assert told.startswith(f"no Node {launched_as}; the machine last said: ")
    assert "cannot reach https://10.0.0.1:6443" in told
    assert it.status.last_failure is not None
    assert it.status.last_failure.message == told
    assert [call for call, _ in world.cloud.calls].count("diagnose") == 1
    assert any(event.message == told for event in world.all(EVENTS.within("default")))
    await world.stop()


async def test_machine_that_cannot_be_asked_costs_no_time_and_people_hear_why() -> None:
    world = await launched()
    world.cloud.fail("diagnose", Transient("host rack-1\n\x1b[1mcannot be reached"))
    await world.pass_time(70)
    told = message(world.machines[0], CONDITION_REGISTERED)
    assert "; it cannot be asked why: host rack-1 | cannot be reached; look at the kubelet's log" in told
    await world.stop()


async def test_driver_that_cannot_tell_leaves_people_the_remedy() -> None:
    world = await launched()
    await world.pass_time(70)
    told = message(world.machines[0], CONDITION_REGISTERED)
    assert "asked" not in told
    assert "; look at the kubelet's log" in told
    await world.stop()


async def test_driver_that_hangs_over_a_diagnosis_holds_up_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodeset_provider.controllers.machine.driver_calls.DIAGNOSE_SECONDS", 0.01)
    world = await launched()

    async def hang(where: str) -> None:
        if where == "diagnose before":
            await asyncio.Future()

    world.cloud.point = hang
    await world.pass_time(60)
    await asyncio.sleep(0.05)
    await world.pass_time(2)
    assert "it cannot be asked why: the driver gave no answer within 0.01 s" in message(
        world.machines[0], CONDITION_REGISTERED
    )
    await world.stop()


async def test_machine_that_failed_without_a_word_of_the_cloud_is_explained_by_its_own() -> None:
    world = await launched(seconds=300)
    (it,) = world.machines
    world.cloud.console = "Kernel panic - not syncing: VFS: Unable to mount root fs\n"
    world.cloud.of(it.metadata.name)[0].state = InstanceState.FAILED
    await world.pass_time(62)
    told = message(world.machines[0], CONDITION_LAUNCHED)
    assert told == (
        "the cloud says that it will never run; the machine last said: "
        "Kernel panic - not syncing: VFS: Unable to mount root fs"
    )
    await world.stop()


async def test_token_in_the_clouds_own_message_is_masked() -> None:
    world = await launched(seconds=300)
    (it,) = world.machines
    made = world.cloud.of(it.metadata.name)[0]
    made.state, made.message = InstanceState.FAILED, "boot failed, cmdline token=zyxwvu.fedcba9876543210"
    await world.pass_time(62)
    told = message(world.machines[0], CONDITION_LAUNCHED)
    assert told.startswith("boot failed, cmdline token=")
    assert not re.search(r"[a-z0-9]{6}\.[a-z0-9]{16}", told)
    await world.stop()


async def test_long_error_of_a_driver_is_bounded_where_people_read_it() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1)
    lines = "\n".join(f"\x1b[31m{number}: something\x1b[0m" for number in range(2000))
    world.cloud.fail("create", InvalidSpec(f"the image does not boot:\n{lines}"))
    await world.start()
    await world.pass_time(5)
    told = message(world.machines[0], CONDITION_LAUNCHED)
    assert told.startswith("the image does not boot: 0: something")
    assert told.endswith("1999: something")
    assert told.isprintable()
    assert len(told) <= MESSAGE_LIMIT
    await world.stop()
