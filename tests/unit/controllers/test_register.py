"""What becomes of a Node that joined, and of one that does not, or goes."""

from dataclasses import replace
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from testbed.objects import NOW, UNREGISTERED, condition, machine, node

from nodeset_provider.api.machine import Machine, MachineTemplate
from nodeset_provider.api.meta import Taint
from nodeset_provider.api.names import FINALIZER_NODE
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.machine import initialize, register, watch
from nodeset_provider.controllers.machine.actions import (
    Action,
    CleanUp,
    DeleteNode,
    Diagnose,
    LookUp,
    SyncNode,
    Wait,
    WriteStatus,
)
from nodeset_provider.controllers.machine.controller import decide
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.driverkit.contract import Instance, InstanceState
from nodeset_provider.driverkit.errors import NotFound, Transient
from nodeset_provider.kube.codec import codec_for
from nodeset_provider.kube.resources import NODES

MOMENT = 5000.0
STARTUP = Taint(key="cni", effect="NoSchedule")
DEDICATED = Taint(key="dedicated", effect="NoSchedule", value="web")
TEMPLATE = MachineTemplate(
    driver="faulty",
    node_class_name="small",
    labels={"nodeset.dev/nodeset": "web", "node-role.kubernetes.io/web": "", "kubernetes.io/arch": "amd64"},
    annotations={"team": "a"},
    taints=[DEDICATED],
    startup_taints=[STARTUP],
    capacity={"cpu": "2", "example.com/gpu": "1"},
)
LAUNCHED = condition("Launched")
REGISTERED = condition("Registered")


def silent(o: Observed) -> Observed:
    """Its machine was asked for its last words and had none."""
    return replace(o, memory=replace(o.memory, diagnosis=""))


def seen(it: Machine, node: Node | None = None, **more: object) -> Observed:
    return Observed(
        machine=it,
        node=node,
        memory=Memory(attempt=1, known_since=MOMENT - 30, token_ensured=True),
        cluster="cluster",
        now=NOW + 30,
        moment=MOMENT,
        **more,  # type: ignore[arg-type]
    )


def joining(**more: object) -> Machine:
    return machine(conditions=[LAUNCHED], provider_id="p://1", template=TEMPLATE, **more)  # type: ignore[arg-type]


def conditions(action: Action) -> dict[str, dict[str, str]]:
    assert isinstance(action, WriteStatus)
    return {c["type"]: c for c in action.status["conditions"]}


def complete_node(**more: object) -> Node:
    return node(
        provider_id="p://1",
        labels=dict(TEMPLATE.labels),
        annotations={"team": "a"},
        taints=[DEDICATED],
        finalizers=(FINALIZER_NODE,),
        **more,  # type: ignore[arg-type]
    )


def test_first_sync_brings_everything_and_takes_our_taint_in_one_patch() -> None:
    fresh = node(labels={"kubernetes.io/arch": "arm64"}, taints=[UNREGISTERED])
    action = decide(seen(joining(), fresh))
    assert isinstance(action, SyncNode)
    assert action.patch["metadata"]["resourceVersion"] == fresh.metadata.resource_version
    assert action.patch["metadata"]["labels"] == {"nodeset.dev/nodeset": "web", "node-role.kubernetes.io/web": ""}
    assert action.patch["metadata"]["annotations"] == {"team": "a"}
    assert [taint["key"] for taint in action.patch["spec"]["taints"]] == ["dedicated", "cni"]
    assert action.patch["spec"]["providerID"] == "p://1"
    assert action.patch["metadata"]["finalizers"] == [FINALIZER_NODE]


def test_finalizers_of_others_stay() -> None:
    fresh = node(taints=[UNREGISTERED], finalizers=("example.com/other",))
    patch = register.node_patch(seen(joining(), fresh), fresh)
    assert patch["metadata"]["finalizers"] == ["example.com/other", FINALIZER_NODE]


def test_startup_taint_that_somebody_took_away_does_not_come_back() -> None:
    without_ours = node(provider_id="p://1", labels=dict(TEMPLATE.labels), annotations={"team": "a"})
    action = decide(seen(joining(), without_ours))
    assert isinstance(action, SyncNode)
    assert [taint["key"] for taint in action.patch["spec"]["taints"]] == ["dedicated"]


@given(
    foreign=st.lists(st.sampled_from([Taint(key="a", effect="NoSchedule"), Taint(key="b", effect="NoExecute")])),
    ours=st.booleans(),
)
def test_foreign_taints_stay_and_the_patch_is_final(foreign: list[Taint], ours: bool) -> None:  # noqa: FBT001
    present = [*foreign, *([UNREGISTERED] if ours else [])]
    before = node(provider_id="p://1", taints=present)
    o = seen(joining(), before)
    patch = register.node_patch(o, before)
    after = [Taint(**{"value": "", **taint}) for taint in patch["spec"]["taints"] or []]
    assert [taint for taint in foreign if taint not in after] == []
    assert UNREGISTERED not in after
    synced = node(
        provider_id="p://1",
        labels=dict(TEMPLATE.labels),
        annotations={"team": "a"},
        taints=after,
        finalizers=(FINALIZER_NODE,),
    )
    assert register.node_patch(o, synced) == {}


def test_foreign_taints_keep_the_time_at_which_they_were_added() -> None:
    unreachable = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
    body = {
        "metadata": {"name": "web-a1b2c", "resourceVersion": "9"},
        "spec": {"providerID": "p://1", "taints": [unreachable, {"key": UNREGISTERED.key, "effect": "NoExecute"}]},
    }
    fresh = codec_for(NODES).object(msgspec.json.encode(body))
    patch = register.node_patch(seen(joining(), fresh), fresh)
    assert patch["spec"]["taints"][0] == unreachable
    assert all("timeAdded" not in taint for taint in patch["spec"]["taints"][1:])


def test_new_node_is_left_to_its_kubelet_for_a_moment() -> None:
    raw = node(provider_id="p://1", ready=False, taints=[UNREGISTERED])
    fresh = replace(seen(joining(), raw), memory=Memory(attempt=1, token_ensured=True, node_seen_at=MOMENT))
    assert decide(fresh) == Wait(register.QUIET_SECONDS)
    assert isinstance(decide(replace(fresh, moment=MOMENT + register.QUIET_SECONDS)), SyncNode)
    ready = node(provider_id="p://1", taints=[UNREGISTERED])
    assert isinstance(decide(replace(fresh, node=ready)), SyncNode)
    nearly = node(
        provider_id="p://1", taints=[UNREGISTERED, Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule")]
    )
    assert isinstance(decide(replace(fresh, node=nearly)), Wait)


def test_registration_is_written_when_the_node_is_ready_or_after_a_moment() -> None:
    unready = replace(
        seen(joining(), complete_node(ready=False)), memory=Memory(attempt=1, token_ensured=True, synced_at=MOMENT)
    )
    assert decide(unready) == Wait(register.READY_SECONDS)
    assert isinstance(decide(replace(unready, moment=MOMENT + register.READY_SECONDS)), WriteStatus)
    complete = complete_node(allocatable={"example.com/gpu": "1"})
    assert isinstance(decide(replace(unready, node=complete)), WriteStatus)


def test_complete_node_is_registered_and_the_token_goes() -> None:
    action = decide(seen(joining(), complete_node(ready=False)))
    assert isinstance(action, WriteStatus)
    assert action.drop_token
    assert action.status["nodeRef"] == {"name": "web-a1b2c", "uid": "node-uid"}
    assert conditions(action)["Registered"]["status"] == "True"
    assert "Initialized" not in conditions(action)


def test_node_that_is_ready_already_is_registered_and_initialized_in_one_write() -> None:
    action = decide(seen(joining(), complete_node(allocatable={"example.com/gpu": "1"})))
    assert conditions(action)["Initialized"]["status"] == "True"


def test_node_with_a_foreign_provider_id_is_left_untouched_and_said_once() -> None:
    foreign = node(provider_id="other://2", taints=[UNREGISTERED])
    action = decide(seen(joining(), foreign))
    assert conditions(action)["Registered"]["reason"] == "ProviderIDMismatch"
    told = machine(
        conditions=[LAUNCHED, condition("Registered", "False", "ProviderIDMismatch")],
        provider_id="p://1",
        template=TEMPLATE,
    )
    assert isinstance(decide(seen(told, foreign)), (Wait, LookUp))


def test_kubelet_under_another_name_is_told() -> None:
    action = decide(seen(joining(), namesake=node("ip-10-0-0-1", provider_id="p://1")))
    assert conditions(action)["Registered"]["reason"] == "NodeNameMismatch"
    assert "ip-10-0-0-1" in conditions(action)["Registered"]["message"]


def running() -> Machine:
    return machine(
        conditions=[LAUNCHED, REGISTERED, condition("Initialized")],
        provider_id="p://1",
        node_uid="node-uid",
        template=TEMPLATE,
    )


def test_node_that_vanished_is_told_and_nothing_is_destroyed() -> None:
    action = decide(seen(running()))
    assert conditions(action)["Registered"]["reason"] == "NodeGone"
    assert conditions(action)["Initialized"]["status"] == "False"
    told = machine(
        conditions=[LAUNCHED, condition("Registered", "False", "NodeGone")],
        provider_id="p://1",
        node_uid="node-uid",
        template=TEMPLATE,
    )
    later = replace(seen(told, retries=True), now=NOW + 10_000)
    assert decide(later) == LookUp()
    assert isinstance(decide(replace(later, memory=Memory(attempt=1, checked_at=MOMENT))), Wait)


def test_node_that_comes_back_with_the_right_provider_id_is_adopted_again() -> None:
    told = machine(
        conditions=[LAUNCHED, condition("Registered", "False", "NodeGone")],
        provider_id="p://1",
        node_uid="old-uid",
        template=TEMPLATE,
    )
    action = decide(seen(told, complete_node(uid="new-uid")))
    assert isinstance(action, WriteStatus)
    assert action.status["nodeRef"]["uid"] == "new-uid"


def test_running_machine_needs_nothing() -> None:
    assert decide(seen(running(), complete_node(allocatable={"example.com/gpu": "1"}))) == Wait()


def test_registration_time_out_is_shown_then_cleaned_up_then_tried_again() -> None:
    late = replace(seen(joining(), retries=True), now=NOW + 901, moment=MOMENT + 871)
    assert decide(late) == Diagnose()
    action = decide(silent(late))
    assert conditions(action)["Registered"]["reason"] == "RegistrationTimeout"
    given_up = machine(
        conditions=[LAUNCHED, condition("Registered", "False", "RegistrationTimeout")],
        provider_id="p://1",
        template=TEMPLATE,
    )
    assert decide(seen(given_up, retries=True)) == CleanUp()
    ghost = node(provider_id="p://1", taints=[UNREGISTERED])
    cleaned = replace(seen(given_up, ghost, retries=True), memory=Memory(attempt=1, clean=True))
    assert decide(cleaned) == DeleteNode("web-a1b2c", "node-uid")
    free = replace(seen(given_up, retries=True), memory=Memory(attempt=1, clean=True), now=NOW + 5000)
    action = decide(free)
    assert isinstance(action, WriteStatus)
    assert action.status["attempt"] == 2
    assert action.drop_token


def test_host_whose_clock_is_ahead_gives_no_machine_up_that_boots() -> None:
    ahead = replace(seen(joining()), now=NOW + 30 + 3600)
    just_taken_over = replace(ahead, memory=Memory(attempt=1, token_ensured=True, known_since=MOMENT))
    waiting = decide(replace(just_taken_over, memory=replace(just_taken_over.memory, checked_at=MOMENT)))
    assert waiting == Wait(watch.GRACE_SECONDS)
    seen_launching = replace(
        ahead, memory=Memory(attempt=1, token_ensured=True, known_since=MOMENT - 100, made_at=MOMENT - 99)
    )
    assert decide(replace(seen_launching, memory=replace(seen_launching.memory, checked_at=MOMENT))) == Wait(60)
    over = replace(seen_launching, moment=MOMENT + 801)
    assert conditions(decide(silent(over)))["Registered"]["reason"] == "RegistrationTimeout"


def test_host_whose_clock_is_behind_gives_a_machine_up_after_its_own_time() -> None:
    behind = replace(
        seen(joining()),
        now=NOW - 7200,
        memory=Memory(attempt=1, token_ensured=True, known_since=MOMENT, checked_at=MOMENT),
    )
    assert decide(behind) == Wait(60)
    over = replace(behind, moment=MOMENT + 900)
    assert conditions(decide(silent(over)))["Registered"]["reason"] == "RegistrationTimeout"


def test_machine_that_another_process_launched_long_ago_is_given_up_after_a_grace() -> None:
    inherited = replace(
        seen(joining()),
        now=NOW + 5000,
        memory=Memory(attempt=1, token_ensured=True, known_since=MOMENT, checked_at=MOMENT),
    )
    assert isinstance(decide(inherited), Wait)
    later = replace(inherited, now=NOW + 5060, moment=MOMENT + 60)
    assert conditions(decide(silent(later)))["Registered"]["reason"] == "RegistrationTimeout"


def test_machine_that_joins_after_its_time_is_taken_when_the_autoscaler_has_not_given_it_up() -> None:
    given_up = machine(
        conditions=[LAUNCHED, condition("Registered", "False", "RegistrationTimeout")],
        provider_id="p://1",
        template=TEMPLATE,
    )
    action = decide(seen(given_up, complete_node(), retries=False))
    assert conditions(action)["Registered"]["status"] == "True"


def test_machine_that_does_not_join_is_looked_at_every_minute() -> None:
    early = decide(seen(joining()))
    assert isinstance(early, Wait)
    assert early.seconds == 30
    assert decide(replace(seen(joining()), now=NOW + 60)) == LookUp()


def test_machine_that_died_before_joining_is_told() -> None:
    dead = Instance(
        provider_id="p://1", token="t", cluster="c", machine="m", state=InstanceState.FAILED, message="no boot disk"
    )
    memory = watch.after_check(Memory(attempt=1), dead, moment=MOMENT, launched=0, delay=5, random=Random(0))
    action = decide(replace(seen(joining()), memory=memory))
    assert conditions(action)["Launched"]["reason"] == "InstanceFailed"
    assert "no boot disk" in conditions(action)["Launched"]["message"]


def test_absence_of_a_young_machine_is_not_believed_and_an_unreachable_cloud_says_nothing() -> None:
    def check(outcome: NotFound | Transient, moment: float) -> Memory:
        return watch.after_check(Memory(attempt=1), outcome, moment=moment, launched=MOMENT, delay=5, random=Random(0))

    assert not check(NotFound("no"), MOMENT + 1).vanished
    assert check(NotFound("no"), MOMENT + 6).vanished == "InstanceGone"
    assert not check(Transient("?"), MOMENT + 60).vanished


def test_initialized_waits_for_ready_startup_taints_and_extended_resources() -> None:
    assert initialize.missing(TEMPLATE, complete_node(allocatable={"example.com/gpu": "1"})) == []
    assert len(initialize.missing(TEMPLATE, complete_node(ready=False))) == 2
    tainted = node(taints=[STARTUP], allocatable={"example.com/gpu": "1"})
    assert initialize.missing(TEMPLATE, tainted) == ["the taint cni to go"]


def test_long_wait_for_a_device_is_explained_once() -> None:
    waiting = machine(conditions=[LAUNCHED, REGISTERED], provider_id="p://1", node_uid="node-uid", template=TEMPLATE)
    o = replace(seen(waiting, complete_node()), now=NOW + 61)
    action = decide(o)
    assert "resource example.com/gpu" in conditions(action)["Initialized"]["message"]
    explained = machine(
        conditions=[
            LAUNCHED,
            REGISTERED,
            condition("Initialized", "False", "Waiting", "waits for resource example.com/gpu"),
        ],
        provider_id="p://1",
        node_uid="node-uid",
        template=TEMPLATE,
    )
    assert decide(replace(o, machine=explained)) == Wait()
