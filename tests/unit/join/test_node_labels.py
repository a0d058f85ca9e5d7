from __future__ import annotations

import pytest

from nodeset_provider.join import InvalidJoin
from nodeset_provider.join.node_labels import kubelet_labels, kubelet_may_set


@pytest.mark.parametrize(
    "key",
    [
        "team",
        "example.org/team",
        "nodeset.dev/nodeset",
        "notkubernetes.io/x",
        "node.kubernetes.io/instance-type",
        "node.kubernetes.io/anything",
        "sub.node.kubernetes.io/x",
        "kubelet.kubernetes.io/x",
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "kubernetes.io/hostname",
    ],
)
def test_node_restriction_lets_a_kubelet_set(key: str) -> None:
    assert kubelet_may_set(key)


@pytest.mark.parametrize(
    "key",
    [
        "kubernetes.io/role",
        "node-role.kubernetes.io/worker",
        "k8s.io/x",
        "example.k8s.io/x",
        "topology.kubernetes.io/rack",
        "xnode.kubernetes.io/x",
        "node-restriction.kubernetes.io/tenant",
        "sub.node-restriction.kubernetes.io/tenant",
    ],
)
def test_node_restriction_forbids_a_kubelet_to_set(key: str) -> None:
    assert not kubelet_may_set(key)


def test_flag_holds_the_allowed_ones_in_order_without_what_the_kubelet_knows_itself() -> None:
    labels = {"team": "data", "kubernetes.io/arch": "arm64", "node-role.kubernetes.io/worker": "", "a.b/c": ""}
    assert list(kubelet_labels(labels).items()) == [("a.b/c", ""), ("team", "data")]


@pytest.mark.parametrize(
    "key", ["", "/x", "a/b/c", "UPPER.org/x", "a..b/c", "x y", "x=y", "-x", "x" * 64, "a,b", "x\n", "%h", "$HOME", "é"]
)
def test_key_that_is_no_label_is_refused_before_a_kubelet_does(key: str) -> None:
    with pytest.raises(InvalidJoin, match=r"spec\.nodeLabels\[.*no label key"):
        kubelet_labels({key: "v"})


@pytest.mark.parametrize("value", ["a b", "a,b=c", "x" * 64, "-", 'a"b', "a\n", "a\\", "$x", "%i"])
def test_value_that_is_no_label_is_refused_before_a_kubelet_does(value: str) -> None:
    with pytest.raises(InvalidJoin, match=r"spec\.nodeLabels\[k\]: no label value"):
        kubelet_labels({"k": value})
