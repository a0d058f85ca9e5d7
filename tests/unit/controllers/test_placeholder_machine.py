"""How the phases of a Machine treat a Node that was made ahead of it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from testbed.objects import NOW, UNREGISTERED, condition, machine, node

from nodeset_provider.api.machine import Machine, MachineTemplate
from nodeset_provider.api.meta import Taint
from nodeset_provider.api.names import (
    ANNOTATION_EXCLUDED,
    ANNOTATION_HANDED_OVER,
    ANNOTATION_NODE_CLASS,
    ANNOTATION_PLACEHOLDER,
    LABEL_EXCLUDE_FROM_LOAD_BALANCERS,
    TAINT_UNINITIALIZED,
)
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.machine import launch, register
from nodeset_provider.controllers.machine.actions import DeleteNode, HandOver, Launch, SyncNode, Wait, WriteStatus
from nodeset_provider.controllers.machine.failure import try_again
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.controllers.machine.terminate import decide as terminate

LAUNCHED = condition("Launched")
UNINITIALIZED = Taint(key=TAINT_UNINITIALIZED, effect="NoExecute")
MOMENT = 5000.0


def wish(**changes: Any) -> Node:
    """The placeholder, marked."""
    changes = {"kubelet": "", "taints": [UNINITIALIZED]} | changes
    annotations = {ANNOTATION_NODE_CLASS: "small", ANNOTATION_EXCLUDED: "true"}
    return node(annotations=annotations, labels={LABEL_EXCLUDE_FROM_LOAD_BALANCERS: ""}, **changes)


def its(registration: str = "Adopt", *, handed_over: bool = False, startup: bool = False, **changes: Any) -> Machine:
    """Its Machine."""
    template = MachineTemplate(
        driver="faulty",
        node_class_name="small",
        registration=registration,  # type: ignore[arg-type]
        startup_taints=[Taint(key="cni", effect="NoExecute")] if startup else [],
    )
    annotations = {ANNOTATION_PLACEHOLDER: "node-uid"}
    if handed_over:
        annotations[ANNOTATION_HANDED_OVER] = "node-uid"
    return machine(nodeset="", annotations=annotations, template=template, **changes)


def seen(machine: Machine, node: Node | None, **memory: Any) -> Observed:
    return Observed(
        machine=machine,
        node=node,
        memory=Memory(attempt=machine.status.attempt, **memory),
        cluster="cluster",
        now=NOW,
        moment=MOMENT,
        retries=True,
    )


# --- launch -----------------------------------------------------------------------------------------------------------
def test_adopted_placeholder_is_no_obstacle() -> None:
    assert launch.decide(seen(its(), wish())) == Launch()


def test_handover_is_written_down_then_the_placeholder_goes_then_the_machine_is_made() -> None:
    assert launch.decide(seen(its("Handover"), wish())) == HandOver("node-uid")
    told = its("Handover", handed_over=True)
    assert launch.decide(seen(told, wish())) == DeleteNode("web-a1b2c", "node-uid")
    assert launch.decide(seen(told, wish(), node_deleted="node-uid")) == Launch(), "the cache has not heard of it yet"
    assert launch.decide(seen(told, None)) == Launch()


@pytest.mark.parametrize("registration", ["Adopt", "Handover"])
def test_nothing_is_launched_while_the_placeholder_is_missing_or_going(registration: str) -> None:
    assert launch.decide(seen(its(registration), None)) == Wait()
    assert launch.decide(seen(its(registration), wish(deleting=True))) == Wait()
    going = seen(its(registration, handed_over=True), wish(deleting=True), node_deleted="node-uid")
    assert launch.decide(going) == Wait(), "somebody's finalizer holds it"


def test_node_that_was_made_again_is_waited_for_until_it_is_known_whose_the_machine_is() -> None:
    for handed_over in (False, True):
        assert launch.decide(seen(its(handed_over=handed_over), wish(uid="other"))) == Wait()


def test_node_of_another_uid_is_in_the_way() -> None:
    action = launch.decide(seen(its(handed_over=True), node(uid="other")))
    assert isinstance(action, WriteStatus)
    assert action.announcement is not None
    assert action.announcement.reason == "NodeNameTaken"


# --- registration -----------------------------------------------------------------------------------------------------
def joining(**changes: Any) -> Machine:
    return its(conditions=[LAUNCHED], provider_id="p://1", **changes)


def test_placeholder_is_not_registered_before_a_kubelet_has_taken_it_over() -> None:
    assert register.decide(seen(joining(), wish())) is None


def test_name_that_somebody_took_is_not_registered_either() -> None:
    assert register.decide(seen(joining(), node(uid="other", kubelet=""))) is None


def test_taken_over_placeholder_is_completed_in_one_patch() -> None:
    person = Taint(key="person", effect="NoSchedule")
    taken = wish(kubelet="v1.36.1", taints=[UNINITIALIZED, person])
    action = register.decide(seen(joining(startup=True), taken))
    assert isinstance(action, SyncNode)
    assert action.patch["spec"]["providerID"] == "p://1"
    assert [taint["key"] for taint in action.patch["spec"]["taints"]] == ["person", "cni"]
    assert action.patch["metadata"]["labels"][LABEL_EXCLUDE_FROM_LOAD_BALANCERS] is None
    assert action.patch["metadata"]["annotations"][ANNOTATION_EXCLUDED] is None


def test_startup_taint_that_went_after_the_first_sync_does_not_come_back() -> None:
    synced = node(provider_id="p://1", annotations={ANNOTATION_NODE_CLASS: "small"})
    assert "taints" not in register.node_patch(seen(joining(startup=True), synced), synced).get("spec", {})


def test_node_is_the_machines_from_the_moment_its_kubelet_runs_as_it() -> None:
    assert not seen(joining(), wish()).owns_node
    assert seen(joining(), wish(kubelet="v1.36.1")).owns_node
    assert not seen(joining(), wish(kubelet="v1.36.1", uid="other", taints=[])).owns_node
    assert seen(joining(), node(uid="fresh", taints=[UNREGISTERED])).owns_node


# --- failure and end --------------------------------------------------------------------------------------------------
def test_failed_attempt_leaves_the_placeholder_to_the_next_one() -> None:
    late = its(conditions=[LAUNCHED, condition("Registered", "False", "RegistrationTimeout")], provider_id="p://1")
    action = try_again(replace(seen(late, wish(), clean=True), now=NOW + 5000))
    assert isinstance(action, WriteStatus)
    assert action.status["attempt"] == 2


def test_placeholder_that_a_failed_machine_had_taken_over_goes_after_that_is_written_down() -> None:
    late = [LAUNCHED, condition("Registered", "False", "RegistrationTimeout")]
    taken = wish(kubelet="v1.36.1")
    o = seen(its(conditions=late, provider_id="p://1"), taken, clean=True)
    assert try_again(o) == HandOver("node-uid")
    told = its(conditions=late, provider_id="p://1", handed_over=True)
    assert try_again(replace(o, machine=told)) == DeleteNode("web-a1b2c", "node-uid")


def test_deleted_machine_takes_its_placeholder_along_and_nobody_elses() -> None:
    going = its(deleting=True)
    assert terminate(seen(going, wish())) == DeleteNode("web-a1b2c", "node-uid")
    assert not isinstance(terminate(seen(going, wish(uid="other"))), DeleteNode)
