"""The end of a machine: cloud, Node, token, finalizer, in that order, and nothing of anybody else's."""

from dataclasses import replace
from random import Random

import pytest
from testbed.objects import NOW, UNREGISTERED, condition, machine, node

from nodeset_provider.api.machine import Machine, MachineTemplate, client_token
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.machine.actions import (
    DeleteNode,
    Destroy,
    DropToken,
    FindNode,
    Release,
    Wait,
    WriteStatus,
)
from nodeset_provider.controllers.machine.controller import decide
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.controllers.machine.terminate import POLL_CAP_SECONDS, after_destroy
from nodeset_provider.driverkit.contract import Deletion
from nodeset_provider.driverkit.errors import Transient, Unauthorized

MOMENT = 5000.0


def seen(it: Machine, node: Node | None = None, memory: Memory | None = None) -> Observed:
    return Observed(
        machine=it,
        node=node,
        memory=memory or Memory(attempt=1),
        cluster="cluster",
        now=NOW + 3600,
        moment=MOMENT,
    )


def going(*, node_uid: str = "", **more: object) -> Machine:
    conditions = [condition("Launched"), *([condition("Registered")] if node_uid else [])]
    return machine(
        deleting=True,
        conditions=conditions,
        provider_id="p://1",
        node_uid=node_uid,
        **more,  # type: ignore[arg-type]
    )


GONE = Memory(attempt=1, gone=True)


def test_the_cloud_comes_first() -> None:
    assert decide(seen(going(node_uid="node-uid"), node(provider_id="p://1"))) == Destroy()


def test_then_the_node_by_its_uid_then_the_finalizer() -> None:
    it = going(node_uid="node-uid")
    assert decide(seen(it, node(provider_id="p://1"), GONE)) == DeleteNode("web-a1b2c", "node-uid")
    assert decide(seen(it, node(provider_id="p://1"), replace(GONE, node_deleted="node-uid"))) == Release()
    assert decide(seen(it, None, GONE)) == Release()


def test_machine_that_never_registered_has_its_token_taken_and_its_node_sought() -> None:
    it = going()
    assert decide(seen(it, None, GONE)) == FindNode()
    sought = replace(GONE, node_sought=True)
    assert decide(seen(it, None, sought)) == DropToken()
    assert decide(seen(it, None, replace(sought, token_dropped=True))) == Release()


@pytest.mark.parametrize(
    "foreign",
    [node(provider_id="other://2"), node(provider_id=""), node(uid="another", provider_id="other://2")],
    ids=["another provider id", "no provider id, not our taint", "same name, another machine"],
)
def test_node_of_somebody_else_is_left_alone(foreign: Node) -> None:
    sought = replace(GONE, node_sought=True, token_dropped=True)
    assert decide(seen(going(), foreign, sought)) == Release()


def test_node_without_provider_id_is_ours_by_the_taint_that_only_we_give() -> None:
    assert decide(seen(going(), node(taints=[UNREGISTERED]), GONE)) == DeleteNode("web-a1b2c", "node-uid")


def test_node_of_a_machine_whose_launch_was_never_heard_of_is_ours_by_the_id_that_it_was_given() -> None:
    template = MachineTemplate(driver="faulty", node_class_name="small", provider_id_format="p://{token}")
    it = machine(deleting=True, template=template)
    given = f"p://{client_token(it.metadata.uid, 1)}"
    assert decide(seen(it, node(provider_id=given), GONE)) == DeleteNode("web-a1b2c", "node-uid")
    former = f"p://{client_token(it.metadata.uid, 2)}"
    assert decide(seen(it, node(provider_id=former), GONE)) == FindNode()
    assert decide(seen(it, None, GONE)) == FindNode(), "it may have registered, and the cache be behind"


def test_no_cloud_is_asked_for_an_attempt_that_made_nothing() -> None:
    failed = machine(deleting=True, conditions=[condition("Launched", "False", "QuotaExceeded")])
    assert decide(seen(failed)) == DropToken()
    assert decide(seen(machine(deleting=True))) == DropToken()


@pytest.mark.parametrize(
    "it",
    [
        machine(deleting=True, conditions=[condition("Launched", "False", "InstanceFailed")], provider_id="p://1"),
        machine(deleting=True, conditions=[condition("Launched", "False", "InstanceGone")], provider_id="p://1"),
        going(),
    ],
    ids=["failed to boot", "vanished", "launched"],
)
def test_the_cloud_is_asked_wherever_something_may_be_left(it: Machine) -> None:
    assert decide(seen(it)) == Destroy()


def test_the_cloud_is_asked_after_a_doubt() -> None:
    assert decide(seen(machine(deleting=True), memory=Memory(attempt=1, last_create=MOMENT))) == Destroy()


def test_the_cloud_is_asked_after_a_doubt_that_a_look_up_did_not_confirm() -> None:
    slow = Memory(attempt=1, doubted_at=MOMENT - 3)
    o = seen(machine(deleting=True), memory=slow)
    assert decide(o) == Destroy()
    assert not after_destroy(slow, Deletion.GONE, o, delay=10, random=Random(0)).gone


def test_gone_is_believed_only_after_the_consistency_delay() -> None:
    o = seen(machine(deleting=True), memory=Memory(attempt=1, last_create=MOMENT - 3))
    early = after_destroy(o.memory, Deletion.GONE, o, delay=10, random=Random(0))
    assert not early.gone
    assert early.not_before == MOMENT + 7
    late = after_destroy(o.memory, Deletion.GONE, replace(o, moment=MOMENT + 7), delay=10, random=Random(0))
    assert late.gone


def test_gone_is_believed_only_after_the_delay_whatever_fraction_of_a_second_the_launch_time_lacks() -> None:
    o = replace(seen(going()), now=NOW + 10.9)
    early = after_destroy(o.memory, Deletion.GONE, o, delay=10, random=Random(0))
    assert not early.gone, "written down as NOW, it may have been made at NOW + 0.999"
    assert early.not_before == pytest.approx(MOMENT + 0.1)
    assert after_destroy(o.memory, Deletion.GONE, replace(o, now=NOW + 11), delay=10, random=Random(0)).gone


def test_gone_of_a_machine_launched_long_ago_is_believed_at_once() -> None:
    o = seen(going())
    assert after_destroy(o.memory, Deletion.GONE, o, delay=10, random=Random(0)).gone


def test_deletion_in_progress_is_asked_after_ever_more_slowly() -> None:
    memory, delays = Memory(attempt=1), []
    o = seen(going())
    for _ in range(12):
        memory = after_destroy(memory, Deletion.IN_PROGRESS, o, delay=0, random=Random(0))
        delays.append(memory.not_before - MOMENT)
    assert delays[0] == 1.0
    assert delays == sorted(delays)
    assert delays[-1] == POLL_CAP_SECONDS
    assert isinstance(decide(seen(going(), memory=memory)), Wait)


def test_deletion_that_lasts_is_shown_once_and_asked_after_all_the_same() -> None:
    o, memory = seen(going()), Memory(attempt=1)
    for second in range(0, 300, 10):
        memory = after_destroy(
            memory, Deletion.IN_PROGRESS, replace(o, moment=MOMENT + second), delay=0, random=Random(0)
        )
        assert isinstance(decide(replace(o, memory=memory, moment=MOMENT + second)), Wait)
    late = replace(o, memory=memory, moment=MOMENT + 300)
    action = decide(late)
    assert isinstance(action, WriteStatus)
    deleted = next(c for c in action.status["conditions"] if c["type"] == "Deleted")
    assert (deleted["status"], deleted["reason"]) == ("False", "StillDeleting")
    shown = machine(
        deleting=True,
        conditions=[condition("Launched"), condition("Deleted", "False", "StillDeleting")],
        provider_id="p://1",
    )
    assert decide(replace(late, machine=shown)) == Destroy()
    again = after_destroy(memory, Deletion.IN_PROGRESS, replace(late, machine=shown), delay=0, random=Random(0))
    assert isinstance(decide(replace(late, machine=shown, memory=again)), Wait)


def test_hiccup_between_does_not_make_a_deletion_look_young() -> None:
    o = seen(going())
    memory = after_destroy(Memory(attempt=1), Deletion.IN_PROGRESS, o, delay=0, random=Random(0))
    memory = after_destroy(memory, Transient("away"), replace(o, moment=MOMENT + 200), delay=0, random=Random(0))
    late = replace(o, moment=MOMENT + 301)
    memory = after_destroy(memory, Deletion.IN_PROGRESS, late, delay=0, random=Random(0))
    assert isinstance(decide(replace(late, memory=memory)), WriteStatus)


def test_error_is_shown_and_never_drops_the_machine() -> None:
    o = seen(going())
    memory = after_destroy(o.memory, Unauthorized("the token expired"), o, delay=0, random=Random(0))
    action = decide(replace(o, memory=memory))
    assert isinstance(action, WriteStatus)
    deleted = next(c for c in action.status["conditions"] if c["type"] == "Deleted")
    assert (deleted["status"], deleted["reason"]) == ("False", "Unauthorized")
    for _ in range(50):
        memory = after_destroy(memory, Transient("away"), o, delay=0, random=Random(0))
    assert not memory.gone
    shown = machine(
        deleting=True,
        conditions=[condition("Launched"), condition("Deleted", "False", "Transient")],
        provider_id="p://1",
    )
    assert decide(replace(seen(shown, memory=memory), moment=memory.not_before)) == Destroy()


def test_machine_without_our_finalizer_is_none_of_our_business() -> None:
    assert decide(seen(going(finalizers=()))) == Wait()
