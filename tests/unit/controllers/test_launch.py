"""The decisions of a launch, one state at a time."""

from dataclasses import replace
from random import Random

import pytest
from testbed.objects import NOW, condition, machine, node

from nodeset_provider.api.machine import Failure, Machine, client_token
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.machine import launch
from nodeset_provider.controllers.machine.actions import (
    AddFinalizer,
    CleanUp,
    Launch,
    LookUp,
    Wait,
    WriteStatus,
)
from nodeset_provider.controllers.machine.controller import decide
from nodeset_provider.controllers.machine.failure import RETRY_CAP_SECONDS, retry_delay
from nodeset_provider.controllers.machine.memory import RETRY_CAP_SECONDS as PAUSE_CAP
from nodeset_provider.controllers.machine.memory import SHOW_AFTER_SECONDS, Memory
from nodeset_provider.controllers.machine.observed import Observed, is_unsettled
from nodeset_provider.driverkit.contract import Instance, InstanceState
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

MOMENT = 500.0


def seen(it: Machine | None = None, memory: Memory | None = None, node: Node | None = None, **more: object) -> Observed:
    it = it or machine()
    return Observed(
        machine=it,
        node=node,
        memory=memory or Memory(attempt=it.status.attempt),
        cluster="cluster",
        now=NOW,
        moment=MOMENT,
        **more,  # type: ignore[arg-type]
    )


def instance(state: InstanceState = InstanceState.RUNNING, message: str = "") -> Instance:
    return Instance(provider_id="p://1", token="t", cluster="cluster", machine="m", state=state, message=message)


def written(action: object) -> dict[str, object]:
    assert isinstance(action, WriteStatus)
    conditions = {c["type"]: c for c in action.status.get("conditions", [])}
    return {**action.status, "conditions": conditions}


def test_nothing_is_launched_before_the_finalizer_is_there() -> None:
    assert decide(seen(machine(finalizers=()))) == AddFinalizer()


def test_new_machine_of_our_own_is_launched_at_once() -> None:
    assert decide(seen()) == Launch()


def test_machine_in_doubt_is_looked_up_first() -> None:
    assert decide(seen(memory=Memory(attempt=1, last_create=MOMENT))) == LookUp()


def test_success_is_written_in_one_patch_with_token_provider_id_and_condition() -> None:
    status = written(decide(seen(memory=Memory(attempt=1, instance=instance()))))
    assert status["providerID"] == "p://1"
    assert status["clientToken"] == client_token(machine().metadata.uid, 1)
    assert status["conditions"]["Launched"]["status"] == "True"  # type: ignore[index]


@pytest.mark.parametrize(
    "error", [InsufficientCapacity("none"), QuotaExceeded("limit"), InvalidSpec("bad"), Unauthorized("no")]
)
def test_error_that_vouches_for_nothing_made_closes_the_attempt_and_takes_the_token_away(
    error: InsufficientCapacity,
) -> None:
    memory = launch.after_create(Memory(attempt=1, last_create=MOMENT), error, MOMENT, Random(0))
    assert memory.last_create is None
    action = decide(seen(memory=memory))
    status = written(action)
    assert status["lastFailure"]["code"] == error.code  # type: ignore[index]
    assert status["conditions"]["Launched"]["reason"] == error.code  # type: ignore[index]
    assert isinstance(action, WriteStatus)
    assert action.drop_token
    assert action.announcement is not None


@pytest.mark.parametrize(
    "error", [InsufficientCapacity("none"), QuotaExceeded("limit"), InvalidSpec("bad"), Unauthorized("no")]
)
def test_attempt_that_was_ever_in_doubt_is_closed_only_after_another_look(error: DriverError) -> None:
    lost = launch.after_create(Memory(attempt=1), Transient("lost"), MOMENT, Random(0))
    absent = launch.after_lookup(lost, NotFound("no"), MOMENT + 9, 9.0, Random(0))
    assert decide(replace(seen(memory=absent), moment=MOMENT + 9)) == Launch()
    refused = launch.after_create(absent, error, MOMENT + 11, Random(0))
    assert decide(replace(seen(memory=refused), moment=MOMENT + 11)) == LookUp()
    early = launch.after_lookup(refused, NotFound("no"), MOMENT + 12, 9.0, Random(0))
    assert decide(replace(seen(memory=early), moment=MOMENT + 12)) == Wait(8.0)
    sure = launch.after_lookup(early, NotFound("no"), MOMENT + 20, 9.0, Random(0))
    status = written(decide(replace(seen(memory=sure), moment=MOMENT + 20)))
    assert status["conditions"]["Launched"]["reason"] == error.code  # type: ignore[index]
    landed = launch.after_lookup(early, instance(), MOMENT + 20, 9.0, Random(0))
    status = written(decide(replace(seen(memory=landed), moment=MOMENT + 20)))
    assert status["conditions"]["Launched"]["status"] == "True"  # type: ignore[index]


@pytest.mark.parametrize("error", [Transient("lost"), Throttled("slow", retry_after=33.0)])
def test_error_that_vouches_for_nothing_leaves_a_doubt(error: Transient) -> None:
    memory = launch.after_create(Memory(attempt=1), error, MOMENT, Random(0))
    assert memory.last_create == MOMENT
    assert memory.failure is None


def test_throttled_waits_at_least_as_long_as_the_cloud_says() -> None:
    memory = launch.after_create(Memory(attempt=1), Throttled("slow", retry_after=33.0), MOMENT, Random(0))
    action = decide(seen(memory=memory))
    assert isinstance(action, Wait)
    assert memory.not_before >= MOMENT + 33.0


def test_hiccup_is_shown_only_once_it_has_lasted() -> None:
    memory = Memory(attempt=1)
    for _ in range(4):
        memory = launch.after_create(memory, Transient("lost"), MOMENT, Random(0))
    young = decide(seen(memory=memory))
    assert isinstance(young, Wait)
    assert young.seconds is not None
    assert young.seconds <= SHOW_AFTER_SECONDS
    old = replace(seen(memory=memory), moment=MOMENT + SHOW_AFTER_SECONDS)
    assert written(decide(old))["conditions"]["Launched"]["reason"] == "Transient"  # type: ignore[index]


def test_trouble_that_is_shown_is_not_written_again() -> None:
    memory = launch.after_create(Memory(attempt=1), Transient("lost"), MOMENT, Random(0))
    shown = machine(conditions=[condition("Launched", "False", "Transient", "lost before")])
    o = replace(seen(shown, memory), moment=MOMENT + SHOW_AFTER_SECONDS)
    assert decide(o) == LookUp()


def test_cloud_that_is_now_away_and_then_throttles_is_one_trouble() -> None:
    shown = machine(conditions=[condition("Launched", "False", "Transient", "lost before")])
    memory = launch.after_create(Memory(attempt=1), Throttled("slow", retry_after=1.0), MOMENT, Random(0))
    o = replace(seen(shown, memory), moment=MOMENT + SHOW_AFTER_SECONDS)
    assert decide(o) == LookUp()


def test_back_off_grows_and_is_bounded() -> None:
    memory = Memory(attempt=1)
    delays = []
    for _ in range(12):
        memory = launch.after_create(memory, Transient("lost"), MOMENT, Random(1))
        delays.append(memory.not_before - MOMENT)
    assert delays[0] < 2
    assert delays[-1] <= PAUSE_CAP * 1.25
    assert delays[5] > delays[0] * 8


def test_absence_within_the_consistency_delay_is_asked_about_again() -> None:
    doubt = Memory(attempt=1, last_create=MOMENT)
    early = launch.after_lookup(doubt, NotFound("no"), MOMENT + 1, 10.0, Random(0))
    assert early.last_create == MOMENT
    assert early.not_before == MOMENT + 10
    late = launch.after_lookup(doubt, NotFound("no"), MOMENT + 10, 10.0, Random(0))
    assert late.last_create is None


def test_looking_up_in_vain_does_not_reset_the_back_off() -> None:
    memory = launch.after_create(Memory(attempt=1), Transient("lost"), MOMENT, Random(0))
    looked = launch.after_lookup(memory, NotFound("no"), MOMENT + 10, 0.0, Random(0))
    assert looked.failures == memory.failures


def test_unauthorized_look_up_says_nothing_about_the_attempt() -> None:
    doubt = Memory(attempt=1, last_create=MOMENT)
    after = launch.after_lookup(doubt, Unauthorized("no"), MOMENT + 99, 0.0, Random(0))
    assert after.failure is None
    assert after.last_create == MOMENT


@pytest.mark.parametrize(
    "error", [Unauthorized("no"), InvalidSpec("what?"), QuotaExceeded("full"), InsufficientCapacity("none")]
)
def test_no_answer_to_a_look_up_closes_the_attempt_that_is_in_doubt(error: DriverError) -> None:
    doubt = Memory(attempt=1, last_create=MOMENT - 99)
    after = launch.after_lookup(doubt, error, MOMENT, 0.0, Random(0))
    shown = written(decide(seen(memory=after)))
    assert shown["lastFailure"]["code"] == error.code, "the autoscaler and people are told what it is"  # type: ignore[index]
    told = shown["conditions"]["Launched"]  # type: ignore[index]
    it = machine(
        conditions=[condition("Launched", "False", told["reason"])],
        failure=Failure(error.code, error.message, "2020-01-01T00:00:00Z"),
    )
    assert isinstance(decide(seen(it, after, retries=True)), Wait), "told once"
    later = replace(after, not_before=MOMENT)
    assert decide(seen(it, later, retries=True)) == LookUp()
    fresh = Memory(attempt=1, last_create=MOMENT)
    assert is_unsettled(it), "the next process is in doubt, too"
    assert decide(seen(it, fresh, retries=True)) == LookUp()


def test_machine_found_again_gets_its_token_back() -> None:
    doubt = Memory(attempt=1, last_create=MOMENT)
    action = decide(seen(memory=launch.after_lookup(doubt, instance(), MOMENT, 0.0, Random(0))))
    assert isinstance(action, WriteStatus)
    assert action.ensure_token


def test_machine_that_will_never_run_is_cleaned_up_before_the_next_attempt() -> None:
    o = seen(memory=Memory(attempt=1, instance=instance(InstanceState.FAILED, "no disk")))
    status = written(decide(o))
    assert status["providerID"] == "p://1"
    assert status["conditions"]["Launched"]["reason"] == "InstanceFailed"  # type: ignore[index]
    failed = machine(
        conditions=[condition("Launched", "False", "InstanceFailed")],
        provider_id="p://1",
        failure=Failure("InstanceFailed", "no disk", "2025-12-31T00:00:00Z"),
    )
    assert decide(seen(failed, retries=True)) == CleanUp()
    assert written(decide(seen(failed, Memory(attempt=1, clean=True), retries=True)))["attempt"] == 2


def test_next_attempt_forgets_the_old_machine_and_waits_out_its_delay() -> None:
    failure = Failure("QuotaExceeded", "limit", "2026-01-01T00:00:00Z")
    failed = machine(conditions=[condition("Launched", "False", "QuotaExceeded")], failure=failure)
    waiting = decide(seen(failed, retries=True))
    assert isinstance(waiting, Wait)
    assert waiting.seconds == pytest.approx(retry_delay(failed.metadata.uid, 1))
    later = replace(seen(failed, retries=True), now=NOW + 60)
    status = written(decide(later))
    assert status["attempt"] == 2
    assert status["providerID"] is None
    assert status["conditions"]["Launched"]["status"] == "Unknown"  # type: ignore[index]


def test_failure_of_a_clock_that_is_ahead_counts_as_now() -> None:
    failure = Failure("QuotaExceeded", "limit", "2026-01-01T05:00:00Z")
    failed = machine(conditions=[condition("Launched", "False", "QuotaExceeded")], failure=failure)
    o = seen(failed, Memory(attempt=1, known_since=MOMENT), retries=True)
    assert decide(o) == Wait(retry_delay(failed.metadata.uid, 1))
    assert written(decide(replace(o, moment=MOMENT + 60, now=NOW + 60)))["attempt"] == 2


def test_failed_machine_of_the_autoscaler_rests() -> None:
    failed = machine(conditions=[condition("Launched", "False", "QuotaExceeded")])
    assert decide(replace(seen(failed, retries=False), now=NOW + 9999)) == Wait()


def test_delay_between_attempts_doubles_to_ten_minutes() -> None:
    delays = [retry_delay("uid", attempt) for attempt in range(1, 12)]
    assert 30 <= delays[0] <= 36
    assert delays == sorted(delays) or max(delays) <= RETRY_CAP_SECONDS * 1.2
    assert delays[-1] >= RETRY_CAP_SECONDS


def test_name_of_a_foreign_node_keeps_the_machine_from_booting() -> None:
    foreign = node(provider_id="other://9")
    status = written(decide(seen(node=foreign)))
    assert status["conditions"]["Launched"]["reason"] == "NodeNameTaken"  # type: ignore[index]
    shown = machine(conditions=[condition("Launched", "False", "NodeNameTaken")])
    assert decide(seen(shown, node=foreign)) == Wait()
    assert decide(seen(shown)) == Launch()
