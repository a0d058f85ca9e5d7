"""Developers scale NodeSets, see them and their Machines, and do nothing else."""

from collections.abc import Iterator

import pytest
from testbed.api import API, Object
from testbed.controlplane import ControlPlane, KubectlError

OURS = "/apis/nodeset.dev/v1alpha1"


@pytest.fixture(scope="module")
def bound(installed: ControlPlane) -> Iterator[ControlPlane]:
    """A group of developers, bound as the manual says."""
    installed.kubectl(
        "create", "clusterrolebinding", "developers", "--clusterrole=nodeset-developer", "--group=developers"
    )
    yield installed
    installed.kubectl("delete", "clusterrolebinding", "developers")


@pytest.fixture(scope="module")
def developer(bound: ControlPlane) -> API:
    return API(bound.kubeconfig_for("dora", ["developers"]))


def test_a_developer_scales_with_kubectl(bound: ControlPlane, node_set: Object) -> None:
    dora = bound.kubeconfig_for("dora", ["developers"])
    bound.kubectl("scale", f"nodeset/{node_set.name}", "--replicas=3", kubeconfig=dora)
    assert node_set.now["spec"]["replicas"] == 3
    bound.kubectl("scale", f"nset/{node_set.name}", "--replicas=1", "--current-replicas=3", kubeconfig=dora)
    assert node_set.now["spec"]["replicas"] == 1


def test_a_developer_sees_sets_and_machines(bound: ControlPlane, node_set: Object, machine: Object) -> None:
    dora = bound.kubeconfig_for("dora", ["developers"])
    assert node_set.name in bound.kubectl("get", "nodesets", kubeconfig=dora)
    assert machine.name in bound.kubectl("get", "machines", kubeconfig=dora)


def test_a_developer_changes_nothing_but_replicas(developer: API, node_set: Object, machine: Object) -> None:
    before = node_set.now
    for path, body in (
        (node_set.path, {"spec": {"replicas": 5}}),
        (node_set.path, {"spec": {"config": {"instanceType": "huge"}}}),
        (node_set.path, {"metadata": {"labels": {"a": "b"}}}),
        (f"{node_set.path}/status", {"status": {"replicas": 5}}),
        (machine.path, {"metadata": {"finalizers": []}}),
        (f"{machine.path}/status", {"status": {"providerID": "sim://x"}}),
    ):
        assert developer.patch(path, body).status == 403, path
    assert developer.delete(node_set.path).status == 403
    assert developer.delete(machine.path).status == 403
    scale = developer.patch(f"{node_set.path}/scale", {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 2}})
    assert scale.status == 200
    after = node_set.now
    assert after["spec"] == {**before["spec"], "replicas": 2}
    assert "labels" not in after["metadata"]


@pytest.mark.parametrize(
    "path",
    [
        f"{OURS}/nodeclasses",
        "/api/v1/nodes",
        "/api/v1/pods",
        "/api/v1/secrets",
        "/api/v1/namespaces/nodeset-provider/secrets/nodeset-provider-bootstrap-key",
        "/api/v1/namespaces/kube-system/secrets",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    ],
)
def test_a_developer_sees_nothing_else(developer: API, path: str) -> None:
    assert developer.get(path).status == 403


def test_a_developer_makes_no_set(developer: API) -> None:
    body = {"apiVersion": "nodeset.dev/v1alpha1", "kind": "NodeSet", "metadata": {"name": "x"}, "spec": {}}
    assert developer.create(f"{OURS}/nodesets", body).status == 403


def test_somebody_who_is_no_developer_scales_nothing(bound: ControlPlane, node_set: Object) -> None:
    stranger = bound.kubeconfig_for("sam", ["others"])
    with pytest.raises(KubectlError, match="forbidden"):
        bound.kubectl("scale", f"nodeset/{node_set.name}", "--replicas=3", kubeconfig=stranger)
    assert node_set.now["spec"]["replicas"] == 0
