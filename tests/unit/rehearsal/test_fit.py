"""A pod fits where kube-scheduler would put it; packing puts every pod that fits on as few nodes as first fit finds."""

# Arguments are fixtures and parameters: their names say what they are.
# ruff: noqa: ANN001, ANN002, ANN003, ANN201

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rehearsal_objects import host, node, pod

from nodeset_provider.rehearsal.autoscale import fit
from nodeset_provider.rehearsal.autoscale.kinds import DaemonSet, PodSpec, Taint, Toleration


def affinity(*expressions, fields=()):
    term = {"matchExpressions": list(expressions), "matchFields": list(fields)}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": required}


def expression(key, operator, *values):
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("why", "spec", "place"),
    [
        ("", {"cpu": "2"}, {"cpu": "2"}),
        ("not enough cpu", {"cpu": "2001m"}, {"cpu": "2"}),
        ("not enough memory", {"memory": "1Gi"}, {"cpu": "2", "memory": "1000Mi"}),
        ("not enough pods", {}, {"pods": "0"}),
        ("not enough nvidia.com/gpu", {"containers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}]}, {}),
        ("no label disk=ssd", {"nodeSelector": {"disk": "ssd"}}, {"labels": {"disk": "hdd"}}),
        ("", {"affinity": affinity(expression("z", "In", "a", "b"))}, {"labels": {"z": "b"}}),
        ("required", {"affinity": affinity(expression("z", "In", "a"))}, {}),
        ("", {"affinity": affinity(expression("z", "NotIn", "a"))}, {}),
        ("required", {"affinity": affinity(expression("z", "NotIn", "a"))}, {"labels": {"z": "a"}}),
        ("", {"affinity": affinity(expression("z", "Exists"))}, {"labels": {"z": ""}}),
        ("required", {"affinity": affinity(expression("z", "DoesNotExist"))}, {"labels": {"z": ""}}),
        ("", {"affinity": affinity(expression("n", "Gt", "3"))}, {"labels": {"n": "4"}}),
        ("required", {"affinity": affinity(expression("n", "Lt", "3"))}, {"labels": {"n": "3"}}),
        ("required", {"affinity": affinity(expression("n", "Gt", "3"))}, {"labels": {"n": "many"}}),
        ("required", {"affinity": affinity()}, {}),
        ("", {"affinity": affinity(fields=[expression("metadata.name", "In", "h")])}, {}),
        ("required", {"affinity": affinity(fields=[expression("metadata.name", "In", "x")])}, {}),
        ("taint t=v:NoSchedule", {}, {"taints": (Taint("t", "v", "NoSchedule"),)}),
        ("", {}, {"taints": (Taint("t", "v", "PreferNoSchedule"),)}),
    ],
)
def test_a_pod_fits_or_the_reason_is_said(why, spec, place):
    reason = fit.why_not(pod(**spec), host(**place))
    assert reason.startswith(why) if why else reason == ""


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration("t", "Equal", "v", "NoSchedule"), True),
        (Toleration("t", "", "v"), True),
        (Toleration("t", "Equal", "w"), False),
        (Toleration("t", "Exists"), True),
        (Toleration("", "Exists"), True),
        (Toleration("u", "Exists"), False),
        (Toleration("t", "Exists", effect="NoExecute"), False),
    ],
)
def test_tolerations_are_understood_as_the_scheduler_does(toleration, tolerated):
    assert fit.tolerates(toleration, Taint("t", "v", "NoSchedule")) is tolerated


def requests(**spec):
    return fit.requests_of(msgspec.convert(spec, PodSpec))


def container(cpu, **more):
    return {"resources": {"requests": {"cpu": cpu}}, **more}


def test_requests_are_the_most_that_a_pod_needs_at_a_time():
    sidecar = container("100m", restartPolicy="Always")
    together = requests(
        containers=[container("1"), container("500m")],
        initContainers=[sidecar, container("1400m")],
        overhead={"cpu": "10m"},
    )
    assert together["cpu"] == 1610
    big_init = requests(containers=[container("1")], initContainers=[container("3"), sidecar])
    assert big_init["cpu"] == 3000
    assert requests(containers=[container("1")], resources={"requests": {"cpu": "4"}})["cpu"] == 4000
    assert requests()["pods"] == 1000


def test_a_template_loses_startup_taints_and_the_room_of_daemon_sets_that_run_there():
    agent = msgspec.convert(
        {"spec": {"template": {"spec": {"containers": [container("200m")], "tolerations": [{"operator": "Exists"}]}}}},
        DaemonSet,
    )
    elsewhere = msgspec.convert(
        {"spec": {"template": {"spec": {"containers": [container("1")], "nodeSelector": {"gpu": "yes"}}}}}, DaemonSet
    )
    made = fit.host_of_template(
        node("t", taints=("startup-taint.cluster-autoscaler.kubernetes.io/x", "mine")), [agent, elsewhere]
    )
    assert [taint.key for taint in made.taints] == ["mine"]
    assert made.free["cpu"] == 1800
    assert made.free["pods"] == 9000


def test_finished_pods_hold_no_room():
    made = fit.host_of_node(node("n"), [pod(cpu="1", phase="Succeeded"), pod(cpu="500m")])
    assert made.free["cpu"] == 1500


crowds = st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 5000)), max_size=25).map(
    lambda sizes: [pod(f"p{i}", cpu=f"{c}m", memory=f"{m}Mi") for i, (c, m) in enumerate(sizes)]
)


@settings(deadline=None)
@given(crowds, st.integers(0, 30))
def test_packing_never_overfills_a_node_nor_exceeds_the_limit(crowd, limit):
    template = host("t", cpu="2", memory="4Gi")
    hosts = fit.pack(crowd, template, limit)
    assert len(hosts) <= limit
    assert all(value >= 0 for it in hosts for value in it.free.values())
    assert all(it.pods for it in hosts)
    packed = [it.key for h in hosts for it in h.pods]
    assert len(packed) == len(set(packed))
    assert template.free == host("t", cpu="2", memory="4Gi").free


@settings(deadline=None)
@given(crowds)
def test_without_a_limit_every_pod_that_fits_a_node_is_packed_and_no_two_nodes_could_be_one(crowd):
    template = host("t", cpu="2", memory="4Gi")
    hosts = fit.pack(crowd, template, len(crowd))
    fitting = {it.key for it in crowd if not fit.why_not(it, template)}
    assert {it.key for h in hosts for it in h.pods} == fitting
    for earlier, later in itertools.pairwise(hosts):
        assert any(fit.why_not(it, earlier) for it in later.pods)


@settings(deadline=None)
@given(crowds, st.integers(0, 5))
def test_placing_loses_no_pod_and_leaves_only_those_that_fit_nowhere(crowd, count):
    hosts = [host(f"h{i}", cpu="2", memory="4Gi") for i in range(count)]
    left = fit.place(crowd, hosts)
    assert {it.key for it in left} | {it.key for h in hosts for it in h.pods} == {it.key for it in crowd}
    assert all(fit.why_not(it, h) for it in left for h in hosts)
