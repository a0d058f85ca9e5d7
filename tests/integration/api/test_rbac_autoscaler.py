"""The real Cluster Autoscaler, as the account of deploy/autoscaler, misses no permission in a full round."""

import json
import os
import time
from collections.abc import Callable

import pytest
from testbed.autoscaler import VARIABLE, ClusterAutoscaler, real_autoscaler
from testbed.cluster import CREDENTIALS, DEPLOY, Cluster

NAMESPACE = "nodeset-provider"
SECONDS = 120
FLAGS = (
    "--leader-elect=true",
    "--write-status-configmap=true",
    f"--namespace={NAMESPACE}",
    "--expander=priority",
)


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.5)


def names(cluster: Cluster, *query: str) -> list[str]:
    return cluster.kubectl("get", *query, "-oname").split()


def apply(cluster: Cluster, *items: dict[str, object]) -> None:
    cluster.kubectl("apply", "-f-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def deployment(name: str, cpu: str) -> dict[str, object]:
    """Two pods that would rather not share a node."""
    labels = {"app": name}
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    preferred = [{"weight": 100, "podAffinityTerm": apart}]
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": cpu}}}
    pod = {
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def node_group() -> list[dict[str, object]]:
    api = {"apiVersion": "nodeset.dev/v1alpha1", "metadata": {"name": "small"}}
    reference = {"namespace": NAMESPACE, "name": CREDENTIALS}
    spec = {"driver": "simulated", "config": {"instanceType": "small-2"}, "credentialsRef": reference}
    return [
        {**api, "kind": "NodeClass", "spec": spec},
        {**api, "kind": "NodeSet", "spec": {"nodeClassName": "small", "autoscaling": {"maxReplicas": 3}}},
    ]


@pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"{VARIABLE} does not name a Cluster Autoscaler")
def test_it_scales_up_evicts_and_scales_down_without_being_refused_anything(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", DEPLOY / "autoscaler" / "access.yaml")
    apply(cluster, *node_group(), deployment("large", "1500m"))
    binary = real_autoscaler()
    assert binary is not None
    account = cluster.control_plane.kubeconfig_for_service_account(NAMESPACE, "cluster-autoscaler")

    def running(app: str) -> list[str]:
        return names(cluster, "pods", f"--selector=app={app}", "--field-selector=status.phase=Running")

    with ClusterAutoscaler(
        cluster.control_plane, cluster.provider, binary, kubeconfig=account, flags=FLAGS
    ) as autoscaler:
        until("a node for each large pod", lambda: len(running("large")) == 2)
        apply(cluster, deployment("little", "50m"))
        until("little pods beside them", lambda: len(running("little")) == 2)
        cluster.kubectl("delete", "deployment", "large")
        # Both little pods fit on one node: the other one is emptied by an eviction.
        until("one node left", lambda: len(names(cluster, "nodes")) == 1)
        until("the evicted pod has moved", lambda: len(running("little")) == 2)
        cluster.kubectl("delete", "deployment", "little")
        until("no node left", lambda: not names(cluster, "nodes") and not names(cluster, "machines"))
        assert names(cluster, "leases", "-n", NAMESPACE, "cluster-autoscaler")
        # It takes its status away when it stops.
        assert names(cluster, "configmaps", "-n", NAMESPACE, "cluster-autoscaler-status")
    log = autoscaler.log.read_text()
    assert "forbidden" not in log.lower()
    assert not names(cluster, "configmaps", "-n", NAMESPACE, "--field-selector=metadata.name=cluster-autoscaler-status")
    assert names(cluster, "events", "--field-selector=reason=TriggeredScaleUp,involvedObject.kind=Pod")
    assert names(cluster, "events", "--field-selector=reason=ScaleDown,involvedObject.kind=Pod"), "nothing was evicted"
