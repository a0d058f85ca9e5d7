"""kwok plays nodes that have made themselves Ready, and the API server counts who writes."""

import json
import time
from collections.abc import Iterator

import pytest
from testbed.controlplane import ControlPlane
from testbed.kwok import Kwok
from testbed.metering import WriteMeter


def _ready_node(name: str, annotations: dict[str, str]) -> str:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    capacity = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "annotations": annotations, "labels": {"kubernetes.io/hostname": name}},
            "status": {
                "phase": "Running",
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": [condition],
                "addresses": [{"type": "InternalIP", "address": "10.1.2.3"}],
            },
        }
    )


def _pod(node: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "main"},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": node},
                "containers": [{"name": "main", "image": "any"}],
                "terminationGracePeriodSeconds": 1,
            },
        }
    )


@pytest.fixture
def node(control_plane: ControlPlane, namespace: str) -> Iterator[str]:
    name = f"{namespace}-node"
    with Kwok(control_plane):
        control_plane.kubectl("create", "-f-", input=_ready_node(name, {"kwok.x-k8s.io/node": "fake"}))
        control_plane.kubectl("wait", f"-n={namespace}", "serviceaccount/default", "--for=create", "--timeout=30s")
        yield name
        control_plane.kubectl("delete", f"node/{name}")


def test_pod_on_a_played_node_runs_and_goes(control_plane: ControlPlane, namespace: str, node: str) -> None:
    control_plane.kubectl("create", f"-n={namespace}", "-f-", input=_pod(node))
    control_plane.kubectl(
        "wait", f"-n={namespace}", "pod/main", "--for=jsonpath={.status.phase}=Running", "--timeout=30s"
    )
    control_plane.kubectl("delete", f"-n={namespace}", "pod/main", "--timeout=30s")


def test_played_node_has_a_lease_that_is_renewed(control_plane: ControlPlane, node: str) -> None:
    where = ("-n=kube-node-lease", f"lease/{node}")
    control_plane.kubectl("wait", *where, "--for=create", "--timeout=30s")
    lease = json.loads(control_plane.kubectl("get", *where, "-ojson"))
    assert lease["spec"]["leaseDurationSeconds"] == 40
    assert lease["spec"]["renewTime"]


def test_write_meter_counts_writes_of_its_user_and_nothing_else(control_plane: ControlPlane, namespace: str) -> None:
    user = f"{namespace}-writer"
    control_plane.kubectl("create", f"-n={namespace}", "rolebinding", user, "--clusterrole=edit", f"--user={user}")
    kubeconfig = control_plane.kubeconfig_for(user)
    meter = WriteMeter(control_plane, user, name=user)
    for name in ("one", "two"):
        control_plane.kubectl("create", f"-n={namespace}", "configmap", name, kubeconfig=kubeconfig)
    control_plane.kubectl("create", f"-n={namespace}", "configmap", "of-somebody-else")
    control_plane.kubectl("get", f"-n={namespace}", "configmaps", kubeconfig=kubeconfig)
    control_plane.kubectl("delete", f"-n={namespace}", "configmap/one", kubeconfig=kubeconfig)
    assert meter.count() == 3
