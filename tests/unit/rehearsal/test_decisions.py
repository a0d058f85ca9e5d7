"""Which group grows, which node goes, who is left alone: the stand-in's decisions without any cluster."""

# Arguments are fixtures and parameters: their names say what they are.
# ruff: noqa: ANN001, ANN201

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rehearsal_objects import NOW, host, node, pod
from toy_provider import CREATING, DELETING, RUNNING

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.autoscale import scale_down, scale_up
from nodeset_provider.rehearsal.autoscale.expander import EXPANDERS, Option
from nodeset_provider.rehearsal.autoscale.fit import pack
from nodeset_provider.rehearsal.autoscale.groups import STARTUP_LIMIT, Backoff, Since, View

STARTUP = "startup-taint.cluster-autoscaler.kubernetes.io/x"


def instance(id_, state, code=""):
    error = pb.InstanceErrorInfo(errorCode=code) if code else None
    return pb.Instance(id=id_, status=pb.InstanceStatus(instanceState=state, errorInfo=error))


# --- groups
def test_a_node_that_is_booting_or_starting_is_still_coming():
    group = View("g", 0, 9, 4, nodes=(node("a"), node("b", ready=False), node("c", taints=(STARTUP,))))
    assert group.upcoming(NOW) == 3


def test_a_ready_node_that_kubernetes_has_not_opened_yet_is_still_coming():
    assert View("g", 0, 9, 1, nodes=(node("a", taints=("node.kubernetes.io/not-ready",)),)).upcoming(NOW) == 1


def test_a_node_that_never_gets_ready_stops_being_one_that_comes():
    group = View("g", 0, 9, 1, nodes=(node("a", ready=False),))
    assert group.upcoming(NOW + STARTUP_LIMIT + timedelta(seconds=1)) == 0


def test_failed_instances_are_those_being_made_with_an_error():
    group = View(
        "g",
        0,
        9,
        2,
        (instance("a", CREATING, "Quota"), instance("b", RUNNING, "Broken"), instance("c", DELETING, "Gone")),
    )
    assert [it.id for it in group.failed] == ["a"]
    assert [it.id for it in group.unregistered(frozenset())] == ["b"]
    assert group.unregistered(frozenset({"b"})) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_back_off_doubles_to_its_maximum_and_machines_of_one_failure_count_once(pauses):
    backoff = Backoff(10, 60)
    now, expected = 0.0, 10.0
    for pause in pauses:
        length = backoff.fail("g", now)
        assert length == expected
        assert backoff.fail("g", now + length / 2) == pytest.approx(length / 2)
        assert backoff.blocked("g", now + length - 0.1)
        assert not backoff.blocked("g", now + length)
        now += length + pause
        expected = min(60.0, expected * 2)
    backoff.succeed("g")
    assert backoff.fail("g", now) == 10


def test_time_counts_from_the_last_break():
    since = Since()
    since.update(["a", "b"], 0)
    assert since.update(["a"], 5) == {"a": 5}
    assert since.update(["a", "b"], 7) == {"a": 7, "b": 0}


# --- scale-up
def test_pods_that_upcoming_nodes_will_take_ask_for_nothing():
    pending = [pod(cpu="1", pending=True) for _ in range(4)]
    wanted = scale_up.demand(pending, [host("now", cpu="1")], [host("soon", cpu="2")])
    assert len(wanted.left) == 1
    assert wanted.needed == {"now", "soon"}


def test_a_group_grows_by_what_the_pods_need_and_not_beyond_its_maximum():
    pending = [pod(cpu="1", pending=True) for _ in range(9)]
    groups = [View("small", 0, 2, 1), View("big", 0, 99, 0), View("full", 0, 3, 3), View("blind", 0, 3, 0)]
    templates = {name: host(name, cpu="2") for name in ("small", "big", "full")}
    options, reasons = scale_up.options(pending, groups, templates, {}, {})
    assert {it.group: len(it.hosts) for it in options} == {"small": 1, "big": 5}
    assert reasons == {}


def test_a_pod_that_no_group_helps_is_told_why_by_each():
    huge = pod("huge", cpu="64", pending=True)
    groups = [View("a", 0, 3, 0), View("b", 0, 3, 3), View("c", 0, 3, 0), View("d", 0, 3, 0)]
    templates = {name: host(name, cpu="2") for name in "abd"}
    options, reasons = scale_up.options([huge], groups, templates, {}, {"d": "backed off"})
    assert options == []
    assert reasons == {
        "default/huge": {
            "a": "not enough cpu",
            "b": "max node group size reached",
            "c": "no template",
            "d": "backed off",
        }
    }


def option(name, cpu, pods, price=None):
    template = host(name, cpu=cpu, memory="4Gi")
    crowd = [pod(f"p{i}", cpu="1", memory="1Gi") for i in range(pods)]
    return Option(name, template, tuple(pack(crowd, template, 9)), price)


def test_expanders_choose_as_their_names_say():
    options = [option("wide", "16", 2, price=0.5), option("tight", "1", 2, price=0.4), option("free", "2", 2)]
    choose = {name: expander(options, Random(1)) for name, expander in EXPANDERS.items()}
    assert choose["first"] is options[0]
    assert choose["least-waste"] is options[2]
    assert choose["price"] is options[0]
    assert choose["random"] in options


@pytest.mark.parametrize("name", EXPANDERS)
def test_no_option_is_no_choice(name):
    assert EXPANDERS[name]([], Random(1)) is None


def test_a_group_without_a_price_is_never_chosen_by_price():
    assert EXPANDERS["price"]([option("free", "2", 1)], Random(1)) is None


# --- scale-down
@pytest.mark.parametrize(
    ("on_it", "empty"),
    [
        ([], True),
        ([pod(owner="DaemonSet")], True),
        ([pod(phase="Succeeded")], True),
        ([pod(owner="ReplicaSet")], False),
        ([pod()], False),
    ],
)
def test_a_node_is_empty_without_pods_that_would_be_missed(on_it, empty):
    group = View("g", 0, 9, 1, nodes=(node("n"),))
    assert scale_down.is_empty(on_it) is empty
    assert scale_down.idle_nodes([group], {"n": on_it}, ()) == (["n"] if empty else [])


def test_a_node_that_a_pending_pod_is_about_to_use_or_that_is_starting_is_not_idle():
    group = View("g", 0, 9, 3, nodes=(node("wanted"), node("starting", taints=(STARTUP,)), node("idle")))
    assert scale_down.idle_nodes([group], {}, {"wanted"}) == ["idle"]


@settings(deadline=None)
@given(
    st.integers(0, 5),
    st.integers(0, 8),
    st.dictionaries(st.sampled_from([f"n{i}" for i in range(6)]), st.floats(0, 100)),
)
def test_no_group_shrinks_below_its_minimum_and_only_ripe_nodes_go(minimum, target, idle):
    nodes = tuple(node(f"n{i}") for i in range(min(6, target)))
    group = View("g", minimum, 9, target, nodes=nodes)
    gone = scale_down.victims([group], idle, unneeded_time=50)
    assert target - len(gone) >= minimum or not gone
    assert all(it.idle_seconds >= 50 for it in gone)
    ripe = [n for n in nodes if idle.get(n.metadata.name, -1) >= 50]
    assert len(gone) == min(len(ripe), max(0, target - minimum))
    assert [it.idle_seconds for it in gone] == sorted((it.idle_seconds for it in gone), reverse=True)
