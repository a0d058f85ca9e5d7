"""Which Machines go and how many come: it converges, and takes nobody whom nobody named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed.objects import condition, machine, nodeset

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import Condition
from nodeset_provider.api.nodeset import Autoscaling
from nodeset_provider.controllers.nodeset_plan import active, decide

STATES = {
    "failed": [condition("Launched", "False", "InsufficientCapacity")],
    "new": [],
    "launched": [condition("Launched")],
    "registered": [condition("Launched"), condition("Registered")],
    "running": [condition("Launched"), condition("Registered"), condition("Initialized")],
}

states = st.sampled_from(sorted(STATES))
machine_lists = st.lists(st.tuples(states, st.booleans(), st.booleans()), max_size=8)


def build(described: list[tuple[str, bool, bool]]) -> tuple[list[Machine], list[str]]:
    machines = [
        machine(f"web-{number}", uid=f"uid-{number}", conditions=STATES[state], deleting=deleting)
        for number, (state, deleting, _) in enumerate(described)
    ]
    return machines, [f"web-{number}" for number, (_, _, named) in enumerate(described) if named]


@given(described=machine_lists, replicas=st.integers(0, 10), absent=st.lists(st.sampled_from(["x", "y"]), unique=True))
def test_what_stays_and_what_comes_add_up_to_replicas(
    described: list[tuple[str, bool, bool]], replicas: int, absent: list[str]
) -> None:
    machines, named = build(described)
    wanted = nodeset(replicas=replicas, remove_first=[*named, *absent])
    plan = decide(wanted, machines, template_hash="hash")
    going = {m.metadata.name for m in plan.delete}
    staying = [m for m in active(wanted, machines) if m.metadata.name not in going]
    assert len(staying) + plan.create == replicas
    assert not (plan.create and len(going - set(named))), "nothing is made and taken away at once"


@given(described=machine_lists, replicas=st.integers(0, 10))
def test_only_victims_and_surplus_go(described: list[tuple[str, bool, bool]], replicas: int) -> None:
    machines, named = build(described)
    wanted = nodeset(replicas=replicas, remove_first=named)
    going = [m.metadata.name for m in decide(wanted, machines, template_hash="hash").delete]
    others = [name for name in going if name not in named]
    assert len(going) == len(set(going))
    assert len(others) == max(0, len(active(wanted, machines)) - replicas)
    assert not any(m.metadata.deleting for m in machines if m.metadata.name in going)


@given(described=machine_lists, replicas=st.integers(0, 10))
def test_it_settles_in_one_step_and_then_rests(described: list[tuple[str, bool, bool]], replicas: int) -> None:
    machines, named = build(described)
    wanted = nodeset(replicas=replicas, remove_first=named)
    plan = decide(wanted, machines, template_hash="hash")
    going = {m.metadata.name for m in plan.delete}
    after = [machine(m.metadata.name, deleting=m.metadata.deleting or m.metadata.name in going) for m in machines]
    after += [machine(f"web-new-{number}") for number in range(plan.create)]
    again = decide(wanted, after, template_hash="hash")
    assert not again.delete
    assert not again.create
    assert set(again.prune) == set(named)


def test_surplus_goes_in_the_order_of_how_little_it_gives_then_the_youngest() -> None:
    machines = [machine(state, conditions=conditions) for state, conditions in STATES.items()]
    machines.append(machine("younger", conditions=STATES["running"], created="2026-01-02T00:00:00Z"))
    order = [m.metadata.name for m in decide(nodeset(replicas=0), machines).delete]
    assert order == ["failed", "new", "launched", "registered", "younger", "running"]


def test_removed_first_is_replaced_when_replicas_stay() -> None:
    plan = decide(nodeset(replicas=2, remove_first=["a"]), [machine("a"), machine("b")], template_hash="hash")
    assert [m.metadata.name for m in plan.delete] == ["a"]
    assert plan.create == 1


def test_without_a_template_nothing_is_made_but_surplus_still_goes() -> None:
    assert decide(nodeset(replicas=3), []).create == 0
    assert len(decide(nodeset(replicas=0), [machine("a")]).delete) == 1


def test_nodeset_that_is_being_deleted_is_left_to_the_garbage_collector() -> None:
    plan = decide(nodeset(replicas=3, deleting=True, remove_first=["a"]), [machine("a")], template_hash="hash")
    assert not plan.delete
    assert not plan.create


def test_entry_of_an_unknown_machine_is_pruned_only_when_confirmed() -> None:
    plan = decide(nodeset(replicas=1, remove_first=["gone", "going"]), [machine("going", deleting=True)])
    assert plan.prune == ("going",)
    assert plan.confirm == ("gone",)


@pytest.mark.parametrize(
    "conditions",
    [
        STATES["failed"],
        [condition("Launched", "False", "InstanceFailed")],
        [condition("Launched", "False", "SecretNotFound")],
        [condition("Launched"), condition("Registered", "False", "RegistrationTimeout")],
    ],
    ids=["refused", "never runs", "no credentials", "never joined"],
)
def test_machine_that_failed_by_a_template_that_was_mended_is_replaced_unless_the_autoscaler_does_it(
    conditions: list[Condition],
) -> None:
    failed = machine("a", conditions=conditions, template_hash="old")
    assert decide(nodeset(replicas=1), [failed], template_hash="new").delete == (failed,)
    assert decide(nodeset(replicas=1), [failed], template_hash="old").delete == ()
    autoscaled = nodeset(replicas=1, autoscaling=Autoscaling(max_replicas=3))
    assert decide(autoscaled, [failed], template_hash="new").delete == ()


@pytest.mark.parametrize("reason", ["Transient", "Throttled", "NotSettled", "BootstrapTokenNotWritten"])
def test_machine_that_time_may_still_help_is_not_replaced_for_an_edit(reason: str) -> None:
    waiting = machine("a", conditions=[condition("Launched", "False", reason)], template_hash="old")
    assert decide(nodeset(replicas=1), [waiting], template_hash="new").delete == ()


@pytest.mark.parametrize("state", ["new", "launched", "registered", "running"])
def test_healthy_machine_of_an_old_template_stays(state: str) -> None:
    healthy = machine("a", conditions=STATES[state], template_hash="old")
    assert decide(nodeset(replicas=1), [healthy], template_hash="new").delete == ()
