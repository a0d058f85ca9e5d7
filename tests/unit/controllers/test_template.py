"""Merging, and what a template promises."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nodeset_provider.api.meta import ObjectMeta, Taint
from nodeset_provider.api.nodeclass import Join, KubeletSettings, NodeClass, NodeClassSpec
from nodeset_provider.api.nodeset import Autoscaling, NodeSet, NodeSetSpec
from nodeset_provider.controllers.asked import Asked, asked_by
from nodeset_provider.controllers.merge import diff_patch, merge_patch
from nodeset_provider.controllers.template import machine_template, node_labels, resolved_template, template_hash
from nodeset_provider.driverkit.contract import Offering

keys = st.sampled_from("abc")
values = st.recursive(
    st.one_of(st.integers(0, 3), st.text("xy", max_size=2), st.lists(st.integers(0, 2), max_size=2)),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(keys, values, max_size=3)

OFFERING = Offering(
    capacity={"cpu": "4", "memory": "8Gi", "ephemeral-storage": "40Gi"},
    labels={"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "a"},
    price_per_hour="0.2",
    gpu_type="tesla",
)


def node_class(**spec: Any) -> NodeClass:
    return NodeClass(metadata=ObjectMeta(name="gpu"), spec=NodeClassSpec(driver="faulty", **spec))


def nodeset(**spec: Any) -> Asked:
    return asked_by(NodeSet(metadata=ObjectMeta(name="web"), spec=NodeSetSpec(node_class_name="gpu", **spec)))


@given(before=documents, after=documents)
def test_difference_applied_gives_what_was_wanted(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert merge_patch(before, diff_patch(before, after)) == after


@given(document=documents)
def test_equal_documents_differ_in_nothing(document: dict[str, Any]) -> None:
    assert diff_patch(document, document) == {}


def test_merge_is_rfc_7386() -> None:
    # The examples of RFC 7386, appendix A.
    for original, patch, result in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, "bar", "bar"),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert merge_patch(original, patch) == result


def test_config_of_the_set_wins_over_the_classs() -> None:
    template = machine_template(
        node_class(config={"type": "a", "disk": {"size": 1, "kind": "ssd"}}),
        nodeset(config={"disk": {"size": 9}, "type": None}),
        OFFERING,
        "gpu-label",
    )
    assert template.config == {"disk": {"size": 9, "kind": "ssd"}}


def test_labels_are_those_that_the_node_will_carry() -> None:
    labels = node_labels(
        node_class(node_labels={"team": "a", "nodeset.dev/nodeset": "forged"}),
        nodeset(node_labels={"team": "b", "topology.kubernetes.io/zone": "told"}),
        OFFERING,
        "gpu-label",
    )
    assert labels == {
        "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "beta.kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": "told",
        "team": "b",
        "gpu-label": "tesla",
        "nodeset.dev/nodeset": "web",
        "nodeset.dev/node-class": "gpu",
    }


def test_template_promises_what_is_left_after_reservations() -> None:
    kubelet = KubeletSettings(
        max_pods=50, kube_reserved={"cpu": "500m"}, system_reserved={"memory": "1Gi"}, eviction_hard={}
    )
    resolved = resolved_template(node_class(join=Join(kubelet=kubelet)), nodeset(), OFFERING, "gpu-label")
    assert resolved.capacity["pods"] == resolved.allocatable["pods"] == "50"
    assert resolved.allocatable["cpu"] == "3500m"
    assert resolved.capacity["cpu"] == "4"


def test_template_has_the_sets_taints_and_startup_taints_but_not_ours() -> None:
    dedicated = Taint(key="dedicated", effect="NoSchedule")
    startup = Taint(key="cni", effect="NoExecute")
    resolved = resolved_template(
        node_class(), nodeset(taints=[dedicated], startup_taints=[startup]), OFFERING, "gpu-label"
    )
    assert resolved.taints == [dedicated, startup]


def test_price_of_the_set_wins_over_the_drivers() -> None:
    priced = nodeset(autoscaling=Autoscaling(max_replicas=3, price_per_hour="9"))
    assert resolved_template(node_class(), priced, OFFERING, "g").price_per_hour == "9"
    assert resolved_template(node_class(), nodeset(), OFFERING, "g").price_per_hour == "0.2"


def test_hash_follows_what_people_asked_for_and_nothing_else() -> None:
    same = template_hash(node_class(config={"a": 1, "b": 2}), nodeset(replicas=1))
    assert same == template_hash(node_class(config={"b": 2}), nodeset(replicas=7, config={"a": 1}))
    assert same != template_hash(node_class(config={"a": 1, "b": 3}), nodeset())
    assert same != template_hash(
        node_class(config={"a": 1, "b": 2}), nodeset(taints=[Taint(key="k", effect="NoSchedule")])
    )
