"""All parts together: a pending pod becomes a machine and runs, through a front door with mutual TLS.

With ``CLUSTER_AUTOSCALER=/path`` that autoscaler asks, else our stand-in.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from testbed.autoscaler import ClusterAutoscaler, real_autoscaler
from testbed.binaries import Assets
from testbed.cluster import CREDENTIALS, Cluster
from testbed.provider import NAMESPACE

from nodeset_provider.protocol import externalgrpc_pb2, externalgrpc_pb2_grpc

KINDS = [
    {
        "apiVersion": "nodeset.dev/v1alpha1",
        "kind": "NodeClass",
        "metadata": {"name": "small"},
        "spec": {
            "driver": "simulated",
            "config": {"instanceType": "small-2"},
            "credentialsRef": {"namespace": NAMESPACE, "name": CREDENTIALS},
        },
    },
    {
        "apiVersion": "nodeset.dev/v1alpha1",
        "kind": "NodeSet",
        "metadata": {"name": "small"},
        "spec": {"nodeClassName": "small", "autoscaling": {"maxReplicas": 3}},
    },
]
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "waits"},
    "spec": {"containers": [{"name": "main", "image": "any", "resources": {"requests": {"cpu": "1"}}}]},
}


@pytest.fixture(scope="module")
def secured(assets: Assets) -> Iterator[Cluster]:
    with Cluster(assets=assets, tls=True) as cluster:
        cluster.kubectl("apply", "--server-side", "-f-", input=_list(KINDS))
        yield cluster


def _list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def test_pending_pod_becomes_a_machine_and_runs(secured: Cluster) -> None:
    autoscaler = secured.start_autoscaler()
    secured.kubectl("create", "-f-", input=json.dumps(POD))
    secured.kubectl("wait", "pod/waits", "--for=jsonpath={.status.phase}=Running", "--timeout=120s", timeout=130)
    machines = json.loads(secured.kubectl("get", "machines", "-ojson"))["items"]
    pod = json.loads(secured.kubectl("get", "pod/waits", "-ojson"))
    assert [machine["spec"]["nodeName"] for machine in machines] == [pod["spec"]["nodeName"]]
    assert isinstance(autoscaler, ClusterAutoscaler) == (real_autoscaler() is not None)
    autoscaler.stop()


def test_front_door_is_closed_to_clients_without_a_certificate(secured: Cluster) -> None:
    options = secured.provider.client_options
    request = externalgrpc_pb2.NodeGroupsRequest()
    read = {name: Path(path).read_bytes() for name, path in options.items() if name != "address"}
    known = grpc.ssl_channel_credentials(read["cacert"], read["key"], read["cert"])
    with grpc.secure_channel(options["address"], known) as channel:
        answer = externalgrpc_pb2_grpc.CloudProviderStub(channel).NodeGroups(request, timeout=30, wait_for_ready=True)
        assert [group.id for group in answer.nodeGroups] == ["small"]
    with grpc.secure_channel(options["address"], grpc.ssl_channel_credentials(read["cacert"])) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            externalgrpc_pb2_grpc.CloudProviderStub(channel).NodeGroups(request, timeout=30)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
