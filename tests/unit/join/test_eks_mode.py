"""What the mode EKS puts into user-data: nodeadm's part, and everything else for cloud-init."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeset_provider.api.nodeclass import EksJoin, Join, KubeletSettings, Provisioning, Proxy, RegistryMirror, Unit
from nodeset_provider.join import InvalidJoin, JoinRequest
from nodeset_provider.join.cloud_init import render
from nodeset_provider.join.modes import eks

MakeRequest = Callable[..., JoinRequest]

GOLDEN = Path(__file__).parent / "golden" / "eks.multipart.txt"
EKS = EksJoin(cluster_name="production", cidr="10.100.0.0/16")
KUBELET = KubeletSettings(max_pods=29, kube_reserved={"cpu": "70m", "memory": "574Mi"})


def with_settings(make_request: MakeRequest, **changes: Any) -> JoinRequest:
    settings = {"eks": EKS, "kubelet": KUBELET, **changes}
    return make_request(join=Join(mode="EKS", **settings), provider_id="aws:///eu-central-1a/i-1")


def spec(request: JoinRequest) -> dict[str, Any]:
    config = yaml.safe_load(eks.document(request).parts[0].content)
    assert (config["apiVersion"], config["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    return config["spec"]


def test_user_data_is_byte_for_byte_the_golden_one(make_request: MakeRequest) -> None:
    join = Join(mode="EKS", eks=EKS, kubelet=KUBELET, proxy=Proxy(https="http://proxy:3128"))
    request = make_request(join=join, provisioning=Provisioning(commands=["true"], commands_after_join=["echo 'a b'"]))
    assert render(eks.document(request)) == GOLDEN.read_bytes()


def test_no_token_and_no_name_of_ours_is_in_it(make_request: MakeRequest) -> None:
    request = with_settings(make_request)
    document = eks.document(request)
    user_data = render(document)
    assert document.hostname == ""
    for secret in (request.token.secret, request.token.id, request.node_name):
        assert secret.encode() not in user_data
        assert base64.b64encode(secret.encode()).rstrip(b"=") not in user_data


def test_cluster_is_as_nodeadm_wants_it(make_request: MakeRequest) -> None:
    request = with_settings(make_request)
    assert spec(request)["cluster"] == {
        "name": "production",
        "apiServerEndpoint": "https://api.example.org:6443",
        "certificateAuthority": base64.b64encode(request.cluster.ca_bundle).decode(),
        "cidr": "10.100.0.0/16",
    }


def test_reservations_that_nodeadm_makes_by_itself_are_overruled(make_request: MakeRequest) -> None:
    config = spec(with_settings(make_request))["kubelet"]["config"]
    assert config["kubeReserved"] == {"cpu": "70m", "memory": "574Mi", "ephemeral-storage": "0"}
    assert config["maxPods"] == 29
    assert config["evictionHard"]["imagefs.available"] == "15%"


def test_what_is_nodeadms_is_left_to_it(make_request: MakeRequest) -> None:
    config = spec(with_settings(make_request))["kubelet"]["config"]
    assert config.keys().isdisjoint(
        {"providerID", "serverTLSBootstrap", "cgroupDriver", "containerRuntimeEndpoint", "clusterDNS"}
    )


def test_labels_are_a_flag_and_taints_are_configuration(make_request: MakeRequest) -> None:
    kubelet = spec(with_settings(make_request))["kubelet"]
    (labels,) = kubelet["flags"]
    assert labels.startswith("--node-labels=")
    assert "team=data" in labels
    assert "node-role" not in labels
    assert [taint["key"] for taint in kubelet["config"]["registerWithTaints"]] == [
        "startup-taint.cluster-autoscaler.kubernetes.io/nodeset-unregistered",
        "dedicated",
        "example.org/agent-not-ready",
    ]


def test_proxy_is_nodeadms_environment_and_never_of_the_metadata(make_request: MakeRequest) -> None:
    request = with_settings(make_request, proxy=Proxy(http="http://proxy:3128"))
    environment = spec(request)["instance"]["environment"]["default"]
    assert environment["HTTP_PROXY"] == environment["http_proxy"] == "http://proxy:3128"
    direct = environment["NO_PROXY"].split(",")
    assert {"169.254.169.254", "10.100.0.0/16", "api.example.org", "localhost"} <= set(direct)
    assert "instance" not in spec(with_settings(make_request))


def test_commands_after_the_join_wait_for_nodeadm_in_a_unit(make_request: MakeRequest, tmp_path: Path) -> None:
    marks = [tmp_path / "it's one", tmp_path / 'two "quoted" $HOME']
    commands = [f'touch "{marks[0]}"', "exit 3", f"touch '{marks[1]}'"]
    provisioning = Provisioning(commands_after_join=commands, units=[Unit(name="a.service")])
    document = eks.document(make_request(join=Join(mode="EKS", eks=EKS, kubelet=KUBELET), provisioning=provisioning))
    assert document.commands_after == ()
    unit = document.units[-1]
    assert (unit.name, unit.start, unit.enabled) == (eks.AFTER_JOIN_UNIT, True, False), "at the first boot only"
    assert b"After=nodeadm-run.service" in (unit.content or b"")
    script = tmp_path / "script"
    script.write_bytes(next(file.content for file in document.files if file.path == eks.AFTER_JOIN))
    subprocess.run(["sh", str(script)], check=True)
    assert all(mark.exists() for mark in marks)


def test_mirrors_are_containerds_and_the_runtime_is_not_started_by_us(make_request: MakeRequest) -> None:
    mirrors = [RegistryMirror(registry="docker.io", endpoints=["https://m"])]
    document = eks.document(with_settings(make_request, registry_mirrors=mirrors, proxy=Proxy(http="http://p:1")))
    assert "/etc/containerd/certs.d/docker.io/hosts.toml" in {file.path for file in document.files}
    assert document.units == ()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"eks": None}, "spec.join.eks"),
        ({"eks": EksJoin(cluster_name="a", cidr="10.100.0.1/16")}, "spec.join.eks.cidr"),
        ({"eks": EksJoin(cluster_name="a", cidr="all")}, "spec.join.eks.cidr"),
        ({"endpoint": "https://a/b"}, "spec.join.endpoint"),
    ],
)
def test_setting_that_cannot_work_is_refused_with_its_field(
    make_request: MakeRequest, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidJoin) as caught:
        eks.document(with_settings(make_request, **changes))
    assert caught.value.field == field


def test_unit_of_ours_is_not_the_classs(make_request: MakeRequest) -> None:
    provisioning = Provisioning(units=[Unit(name=eks.AFTER_JOIN_UNIT, content="[Service]\n")])
    with pytest.raises(InvalidJoin, match=r"units\[0\]\.name"):
        eks.document(make_request(join=Join(mode="EKS", eks=EKS, kubelet=KUBELET), provisioning=provisioning))
