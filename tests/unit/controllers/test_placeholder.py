"""What is decided about a Node that asks for a machine, and about a Machine whose Node went. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from testbed.objects import NOW, TIME, condition, machine, node

from nodeset_provider.api.machine import Machine, MachineTemplate
from nodeset_provider.api.meta import ObjectMeta, Taint
from nodeset_provider.api.names import (
    ANNOTATION_EXCLUDED,
    ANNOTATION_HANDED_OVER,
    ANNOTATION_NODE_CLASS,
    ANNOTATION_PLACEHOLDER,
    ANNOTATION_PLACEHOLDER_HASH,
    ANNOTATION_PLACEHOLDER_LOST,
    FINALIZER_MACHINE,
    FINALIZER_NODE,
    LABEL_EXCLUDE_FROM_LOAD_BALANCERS,
    LABEL_NODESET,
    TAINT_UNINITIALIZED,
)
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import EksJoin, Join, NodeClass, NodeClassSpec, NodeClassStatus, ResolvedTemplate
from nodeset_provider.controllers.placeholder import lost
from nodeset_provider.controllers.placeholder.actions import (
    Annotate,
    AskWhoDeleted,
    Cancel,
    MakeMachine,
    Mark,
    Resolve,
    Tell,
    Wait,
)
from nodeset_provider.controllers.placeholder.decide import Observed, asked_by, decide, mark
from nodeset_provider.controllers.placeholder.recognise import (
    is_placeholder,
    is_placeholder_of,
    node_class_of,
    wish_hash,
    wish_of,
)
from nodeset_provider.controllers.resolver import Problem, Resolution

MARKED = Taint(key=TAINT_UNINITIALIZED, effect="NoExecute")
RESOLUTION = Resolution(
    MachineTemplate(driver="faulty", node_class_name="small", registration="Adopt"), "hash", ResolvedTemplate()
)
MOMENT = 5000.0


def wish(name: str = "dev-1", *, marked: bool = False, **changes: Any) -> Node:
    """A Node made with kubectl."""
    annotations = {ANNOTATION_NODE_CLASS: "small", **changes.pop("annotations", {})}
    taints = list(changes.pop("taints", []))
    labels = dict(changes.pop("labels", {}))
    if marked:
        annotations[ANNOTATION_EXCLUDED] = "true"
        labels[LABEL_EXCLUDE_FROM_LOAD_BALANCERS] = ""
        taints.append(MARKED)
    return node(name, annotations=annotations, taints=taints, labels=labels, kubelet="", **changes)


def made_for(placeholder: Node, *, lost_at: str = "", handed_over: bool = False, **changes: Any) -> Machine:
    """Its Machine."""
    annotations = {
        ANNOTATION_PLACEHOLDER: placeholder.metadata.uid,
        ANNOTATION_PLACEHOLDER_HASH: wish_hash(placeholder),
        **({ANNOTATION_PLACEHOLDER_LOST: lost_at} if lost_at else {}),
        **({ANNOTATION_HANDED_OVER: placeholder.metadata.uid} if handed_over else {}),
    }
    return machine(placeholder.metadata.name, nodeset="", annotations=annotations, **changes)


def small(valid: str = "True", **spec: Any) -> NodeClass:
    return NodeClass(
        metadata=ObjectMeta(name="small"),
        spec=NodeClassSpec(driver="faulty", **spec),
        status=NodeClassStatus(conditions=[condition("Valid", valid, message="why not")]),  # type: ignore[arg-type]
    )


def seen(placeholder: Node | None, its: Machine | None = None, **changes: Any) -> Observed:
    o = Observed(
        node=placeholder,
        machine=its,
        node_class=small(),
        resolution=RESOLUTION,
        answer=None,
        now=NOW,
        moment=MOMENT,
    )
    return replace(o, **changes)


# --- which Node it is -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", [ANNOTATION_NODE_CLASS, "nodeset.k8s.io/node-class", "node.k8s.io/node-class"])
def test_three_spellings_ask_for_a_class(key: str) -> None:
    asks = node(annotations={key: "small"}, kubelet="")
    assert node_class_of(asks) == "small"
    assert is_placeholder(asks)


@pytest.mark.parametrize(
    "other",
    [
        node(kubelet=""),
        node(annotations={ANNOTATION_NODE_CLASS: "small"}),
        wish(provider_id="p://1"),
        wish(finalizers=(FINALIZER_NODE,)),
    ],
    ids=["asks for nothing", "has a kubelet", "has a machine", "was registered once"],
)
def test_node_that_no_machine_is_needed_for_is_left_alone(other: Node) -> None:
    assert not is_placeholder(other)
    assert decide(seen(other)) == Wait()


def test_only_the_very_node_that_the_machine_was_made_for_is_its_placeholder() -> None:
    placeholder = wish(uid="a")
    its = made_for(placeholder)
    assert is_placeholder_of(placeholder, its)
    assert not is_placeholder_of(wish(uid="b"), its)
    assert not is_placeholder_of(wish("other", uid="a"), its)
    assert not is_placeholder_of(placeholder, machine("dev-1"))
    assert not is_placeholder_of(placeholder, made_for(placeholder, node_uid="a"))


def test_wish_is_what_a_person_wrote_and_not_what_the_cluster_added() -> None:
    person = wish(labels={"team": "a"}, annotations={"note": "x"}, taints=[Taint(key="gpu", effect="NoSchedule")])
    later = wish(
        marked=True,
        labels={"team": "a"},
        annotations={
            "note": "x",
            "kubectl.kubernetes.io/last-applied-configuration": "{…}",
            "node.alpha.kubernetes.io/ttl": "0",
        },
        taints=[
            Taint(key="gpu", effect="NoSchedule"),
            Taint(key="node.kubernetes.io/unreachable", effect="NoExecute"),
            Taint(key="node.cloudprovider.kubernetes.io/shutdown", effect="NoSchedule"),
        ],
    )
    assert wish_of(later) == wish_of(person)
    assert wish_hash(later) == wish_hash(person)
    assert wish_hash(wish(labels={"team": "b"})) != wish_hash(person)


def test_label_that_a_person_set_is_part_of_the_wish() -> None:
    own = wish(labels={LABEL_EXCLUDE_FROM_LOAD_BALANCERS: "mine"})
    marks = mark(own)
    assert marks is not None
    assert "labels" not in marks.patch["metadata"]
    assert "annotations" not in marks.patch["metadata"]
    assert wish_of(own).labels == {LABEL_EXCLUDE_FROM_LOAD_BALANCERS: "mine"}


# --- what is done for it ----------------------------------------------------------------------------------------------
def test_marks_come_first_in_one_patch_with_a_precondition() -> None:
    kept = Taint(key="gpu", effect="NoSchedule")
    action = decide(seen(wish(taints=[kept])))
    assert isinstance(action, Mark)
    assert action.patch["metadata"]["resourceVersion"] == "9"
    assert action.patch["metadata"]["labels"] == {LABEL_EXCLUDE_FROM_LOAD_BALANCERS: ""}
    assert [taint["key"] for taint in action.patch["spec"]["taints"]] == ["gpu", TAINT_UNINITIALIZED]
    assert not action.patch.keys() - {"metadata", "spec"}, "no status is faked"
    assert action.patch["spec"].keys() == {"taints"}, "no provider id either"
    assert "finalizers" not in action.patch["metadata"]


def test_machine_has_the_nodes_name_no_set_and_says_what_it_was_made_for() -> None:
    placeholder = wish(marked=True, uid="u")
    assert decide(seen(placeholder, resolution=None)) == Resolve()
    action = decide(seen(placeholder))
    assert isinstance(action, MakeMachine)
    metadata = action.body["metadata"]
    assert metadata["name"] == action.body["spec"].node_name == "dev-1"
    assert metadata["finalizers"] == [FINALIZER_MACHINE]
    assert LABEL_NODESET not in metadata["labels"]
    assert "ownerReferences" not in metadata
    assert metadata["annotations"][ANNOTATION_PLACEHOLDER] == "u"


def test_asked_carries_labels_annotations_and_taints() -> None:
    asked = asked_by(wish(marked=True, labels={"team": "a"}, taints=[Taint(key="gpu", effect="NoSchedule")]))
    assert asked.node_exists
    assert asked.labels == {"team": "a"}
    assert asked.taints == [Taint(key="gpu", effect="NoSchedule")]
    assert asked.annotations == {ANNOTATION_NODE_CLASS: "small"}


@pytest.mark.parametrize("name", ["ip-10-0-0-1.ec2.internal", "x" * 64])
def test_name_that_no_host_can_have_is_refused_with_a_remedy(name: str) -> None:
    action = decide(seen(wish(name)))
    assert isinstance(action, Tell)
    assert action.reason == "NodeNameUnusable"
    assert "63" in action.message


def test_name_of_another_machine_is_refused() -> None:
    action = decide(seen(wish("web-a1b2c"), machine("web-a1b2c")))
    assert isinstance(action, Tell)
    assert action.reason == "MachineNameTaken"


@pytest.mark.parametrize(
    ("node_class", "reason"),
    [
        (None, "NodeClassNotFound"),
        (small("False"), "NodeClassInvalid"),
        (small(join=Join(mode="EKS", eks=EksJoin(cluster_name="c", cidr="10.0.0.0/8"))), "NodeNameNotChosen"),
    ],
)
def test_class_that_cannot_serve_is_told_and_nothing_is_touched(node_class: NodeClass | None, reason: str) -> None:
    action = decide(seen(wish(), node_class=node_class))
    assert isinstance(action, Tell)
    assert action.reason == reason


def test_class_that_is_not_judged_yet_is_waited_for_in_silence() -> None:
    assert decide(seen(wish(), node_class=small("Unknown"))) == Wait()


def test_what_the_driver_refuses_is_told_and_tried_again() -> None:
    action = decide(seen(wish(marked=True), resolution=Problem("InvalidConfig", "spec.config.type: no such type")))
    assert isinstance(action, Tell)
    assert (action.reason, action.seconds) == ("InvalidConfig", 60.0)
    passing = decide(seen(wish(marked=True), resolution=Problem("Transient", "later", passing=True)))
    assert isinstance(passing, Tell)
    assert passing.seconds == 10.0


def test_node_that_is_being_deleted_gets_no_machine() -> None:
    assert decide(seen(wish(marked=True, deleting=True))) == Wait()


# --- its deletion before anything joined ------------------------------------------------------------------------------
LAUNCHED = condition("Launched")
PLACEHOLDER = wish(marked=True)


def test_machine_whose_placeholder_stands_needs_nothing() -> None:
    assert decide(seen(PLACEHOLDER, made_for(PLACEHOLDER))) == Wait()


def test_loss_is_written_down_then_the_events_are_asked() -> None:
    first = decide(seen(None, made_for(PLACEHOLDER)))
    assert isinstance(first, Annotate)
    assert first.annotations == {ANNOTATION_PLACEHOLDER_LOST: TIME}
    assert decide(seen(None, made_for(PLACEHOLDER, lost_at=TIME))) == AskWhoDeleted("dev-1", "node-uid")


@pytest.mark.parametrize("launched", [False, True], ids=["waiting", "booting"])
def test_deletion_by_the_cloud_hands_over(*, launched: bool) -> None:
    its = made_for(PLACEHOLDER, lost_at=TIME, conditions=[LAUNCHED] if launched else [])
    action = decide(seen(None, its, answer=lost.Answer(by_cloud=True, moment=MOMENT)))
    assert isinstance(action, Annotate)
    assert action.annotations == {ANNOTATION_HANDED_OVER: "node-uid", ANNOTATION_PLACEHOLDER_LOST: None}
    gone_on = made_for(PLACEHOLDER, handed_over=True)
    assert decide(seen(None, gone_on, now=NOW + 10_000)) == Wait()


@pytest.mark.parametrize(("launched", "grace"), [(False, lost.WAITING_SECONDS), (True, lost.BOOTING_SECONDS)])
def test_deletion_by_a_person_cancels_after_the_grace_and_never_on_an_old_answer(
    *, launched: bool, grace: float
) -> None:
    its = made_for(PLACEHOLDER, lost_at=TIME, conditions=[LAUNCHED] if launched else [])
    nobody = lost.Answer(by_cloud=False, moment=MOMENT)
    waiting = decide(seen(None, its, answer=nobody))
    assert isinstance(waiting, Wait)
    assert waiting.seconds is not None
    over = seen(None, its, answer=nobody, now=NOW + grace, moment=MOMENT + grace)
    assert isinstance(decide(over), AskWhoDeleted)
    assert isinstance(decide(replace(over, answer=replace(nobody, moment=MOMENT + grace))), Cancel)


def test_grace_is_not_lengthened_by_a_clock_that_is_behind() -> None:
    its = made_for(PLACEHOLDER, lost_at=TIME)
    waiting = decide(seen(None, its, answer=lost.Answer(by_cloud=False, moment=MOMENT), now=NOW - 7200))
    assert waiting == Wait(lost.ASK_SECONDS)


def test_node_made_again_with_the_same_wish_takes_the_machine_over() -> None:
    again = wish(marked=True, uid="again")
    action = decide(seen(again, made_for(PLACEHOLDER, lost_at=TIME, conditions=[LAUNCHED])))
    assert isinstance(action, Annotate)
    assert action.annotations == {ANNOTATION_PLACEHOLDER: "again", ANNOTATION_PLACEHOLDER_LOST: None}
    unmarked = decide(seen(wish(uid="again"), made_for(PLACEHOLDER)))
    assert isinstance(unmarked, Mark)


def test_node_made_again_with_another_wish_gets_a_machine_of_its_own_after_the_old_one() -> None:
    other = wish(marked=True, uid="again", labels={"team": "b"})
    assert isinstance(decide(seen(other, made_for(PLACEHOLDER))), Cancel)
    assert decide(seen(other, made_for(PLACEHOLDER, deleting=True))) == Wait()
    assert isinstance(decide(seen(other)), MakeMachine)


def test_kubelet_that_registered_within_the_grace_ends_the_doubt() -> None:
    fresh = node("dev-1", uid="fresh")
    action = decide(seen(fresh, made_for(PLACEHOLDER, lost_at=TIME, conditions=[LAUNCHED])))
    assert isinstance(action, Annotate)
    assert action.annotations == {ANNOTATION_PLACEHOLDER_LOST: None}


def test_machine_that_joined_once_is_none_of_this_business() -> None:
    assert decide(seen(None, made_for(PLACEHOLDER, node_uid="node-uid"))) == Wait()
