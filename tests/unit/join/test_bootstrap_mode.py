"""What the mode Bootstrap puts on a machine, read back from the rendered bytes by a real YAML parser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeset_provider.api.meta import Taint
from nodeset_provider.api.nodeclass import File, Join, KubeletSettings, Provisioning, User
from nodeset_provider.join import BootstrapToken, Delivery, InvalidJoin, JoinRequest, render_user_data

MakeRequest = Callable[..., JoinRequest]

ANYWHERE = Delivery(formats=("CloudInit", "Ignition"), limit=1 << 20, gzip=False)

GOLDEN = Path(__file__).parent / "golden" / "bootstrap.cloud-config.yaml"
FULL = Provisioning(
    users=[User(name="ops", ssh_authorized_keys=["ssh-ed25519 AAAAC3Nza ops@example.org"], sudo=True), User(name="ro")],
    files=[
        File(path="/etc/motd", content="a machine of big\n"),
        File(path="/home/ops/.netrc", content="machine x\n", owner="ops:ops", permissions="600"),
    ],
    commands=["modprobe br_netfilter", "sysctl -w net.ipv4.ip_forward=1\necho done"],
)


def parse(user_data: bytes) -> dict[str, Any]:
    return yaml.safe_load(user_data.decode())


def file(user_data: bytes, path: str) -> dict[str, Any]:
    return next(entry for entry in parse(user_data)["write_files"] if entry["path"] == path)


def test_user_data_is_byte_for_byte_the_golden_one(make_request: MakeRequest) -> None:
    request = make_request(provisioning=FULL, provider_id="simulated://zone-a/1234")
    assert render_user_data(request, ANYWHERE) == GOLDEN.read_bytes()


def test_equal_requests_give_equal_bytes_whatever_the_order_of_their_maps(make_request: MakeRequest) -> None:
    labels = {"a": "1", "b": "2", "c": "3"}
    settings = {
        "kube_reserved": {"cpu": "1", "memory": "1Gi"},
        "feature_gates": {"NodeSwap": True, "CPUManagerPolicyAlphaOptions": False},
    }
    turned = {name: dict(reversed(value.items())) for name, value in settings.items()}
    one = make_request(labels=labels, join=Join(kubelet=KubeletSettings(**settings)))
    two = make_request(labels=dict(reversed(labels.items())), join=Join(kubelet=KubeletSettings(**turned)))
    assert render_user_data(one, ANYWHERE) == render_user_data(two, ANYWHERE)


def test_bootstrap_kubeconfig_holds_token_endpoint_and_ca_and_only_root_reads_it(make_request: MakeRequest) -> None:
    request = make_request()
    entry = file(render_user_data(request, ANYWHERE), "/etc/kubernetes/bootstrap-kubelet.conf")
    assert entry["permissions"] == "0600"
    assert entry["owner"] == "root:root"
    config = yaml.safe_load(entry["content"])
    assert config["users"][0]["user"] == {"token": request.token.value}
    assert config["clusters"][0]["cluster"] == {
        "server": "https://api.example.org:6443",
        "certificate-authority": "/etc/kubernetes/pki/ca.crt",
    }
    assert config["current-context"] == config["contexts"][0]["name"]
    assert (
        file(render_user_data(request, ANYWHERE), "/etc/kubernetes/pki/ca.crt")["content"].encode()
        == request.cluster.ca_bundle
    )


@pytest.mark.parametrize(
    ("token_id", "secret"), [("123456", "0" * 16), ("88e123", "1" * 16), ("0x1234", "nullnullnullnull")]
)
def test_token_that_looks_like_a_number_stays_a_string_for_every_reader(
    make_request: MakeRequest, token_id: str, secret: str
) -> None:
    request = make_request(token=BootstrapToken(id=token_id, secret=secret))
    content = file(render_user_data(request, ANYWHERE), "/etc/kubernetes/bootstrap-kubelet.conf")["content"]
    assert f'token: "{token_id}.{secret}"' in content


def test_kubelet_configuration_is_closed_to_strangers_and_carries_the_settings(make_request: MakeRequest) -> None:
    settings = KubeletSettings(
        max_pods=42,
        kube_reserved={"memory": "1Gi"},
        system_reserved={"cpu": "100m"},
        eviction_hard={"memory.available": "200Mi"},
        feature_gates={"NodeSwap": True},
    )
    request = make_request(join=Join(kubelet=settings), provider_id="simulated://1")
    entry = file(render_user_data(request, ANYWHERE), "/var/lib/kubelet/config.yaml")
    assert entry["permissions"] == "0644"
    assert yaml.safe_load(entry["content"]) == {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "systemd",
        "rotateCertificates": True,
        "serverTLSBootstrap": True,
        "maxPods": 42,
        "kubeReserved": {"memory": "1Gi"},
        "systemReserved": {"cpu": "100m"},
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "15%",
            "imagefs.inodesFree": "5%",
        },
        "featureGates": {"NodeSwap": True},
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "registerWithTaints": [
            {"key": "startup-taint.cluster-autoscaler.kubernetes.io/nodeset-unregistered", "effect": "NoExecute"},
            {"key": "dedicated", "value": "88e123", "effect": "NoSchedule"},
            {"key": "example.org/agent-not-ready", "effect": "NoExecute"},
        ],
        "providerID": "simulated://1",
    }


def test_nothing_is_said_about_what_is_not_known(make_request: MakeRequest) -> None:
    request = make_request(taints=[], startup_taints=[])
    request = replace(request, cluster=replace(request.cluster, dns=()))
    config = yaml.safe_load(file(render_user_data(request, ANYWHERE), "/var/lib/kubelet/config.yaml")["content"])
    assert config.keys().isdisjoint({"providerID", "clusterDNS", "clusterDomain", "kubeReserved", "featureGates"})
    assert len(config["registerWithTaints"]) == 1


def test_taint_given_twice_registers_once(make_request: MakeRequest) -> None:
    taint = Taint(key="a", effect="NoSchedule", value="1")
    request = make_request(taints=[taint], startup_taints=[taint, Taint(key="a", effect="NoExecute")])
    config = yaml.safe_load(file(render_user_data(request, ANYWHERE), "/var/lib/kubelet/config.yaml")["content"])
    assert [(entry["key"], entry["effect"]) for entry in config["registerWithTaints"][1:]] == [
        ("a", "NoSchedule"),
        ("a", "NoExecute"),
    ]


def test_unit_starts_the_kubelet_with_only_the_labels_that_it_may_set(make_request: MakeRequest) -> None:
    content = file(render_user_data(make_request(), ANYWHERE), "/etc/systemd/system/kubelet.service.d/20-nodeset.conf")[
        "content"
    ]
    section, reset, start = content.splitlines()
    assert (section, reset) == ("[Service]", "ExecStart=")
    assert start.startswith("ExecStart=kubelet ")
    arguments = dict(argument.removeprefix("--").split("=", 1) for argument in start.split()[1:])
    assert arguments["hostname-override"] == "big-x1abc"
    assert arguments["bootstrap-kubeconfig"] == "/etc/kubernetes/bootstrap-kubelet.conf"
    assert arguments["config"] == "/var/lib/kubelet/config.yaml"
    assert arguments["node-labels"] == (
        "node.kubernetes.io/instance-type=c8.large,nodeset.dev/nodeset=big,team=data,topology.kubernetes.io/zone=zone-a"
    )


def test_kubelet_starts_last_and_nothing_waits_for_it(make_request: MakeRequest) -> None:
    commands = parse(render_user_data(make_request(provisioning=FULL), ANYWHERE))["runcmd"]
    assert commands == [
        ["sh", "-c", FULL.commands[0]],
        ["sh", "-c", FULL.commands[1]],
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "kubelet.service"],
        ["systemctl", "restart", "--no-block", "kubelet.service"],
    ]


def test_class_endpoint_wins_over_the_clusters(make_request: MakeRequest) -> None:
    request = make_request(join=Join(endpoint="https://10.0.0.1:443/prefix"))
    assert (
        "https://10.0.0.1:443/prefix"
        in file(render_user_data(request, ANYWHERE), "/etc/kubernetes/bootstrap-kubelet.conf")["content"]
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://a:1",
        "a:6443",
        "https://",
        "https://u:p@a",
        "https://a?x",
        "https://a#x",
        "https://a:99999",
        "https://a\nb",
        "https://[",
    ],
)
def test_endpoint_that_is_none_is_refused_with_its_field(make_request: MakeRequest, endpoint: str) -> None:
    with pytest.raises(InvalidJoin, match=r"spec\.join\.endpoint: .*write https://host"):
        render_user_data(make_request(join=Join(endpoint=endpoint)), ANYWHERE)
    request = make_request()
    with pytest.raises(InvalidJoin, match=r"join\.endpoint: .*write https://host"):
        render_user_data(replace(request, cluster=replace(request.cluster, endpoint=endpoint)), ANYWHERE)


def test_ca_that_is_no_certificate_is_refused(make_request: MakeRequest) -> None:
    request = make_request()
    with pytest.raises(InvalidJoin, match=r"join\.caFile: holds no PEM certificate"):
        render_user_data(
            replace(request, cluster=replace(request.cluster, ca_bundle=b"-----BEGIN PRIVATE KEY-----")), ANYWHERE
        )


@pytest.mark.parametrize("name", ["", "UPPER", "a.b", "a" * 64, "-a", "a b", "$(reboot)", "a\n"])
def test_node_name_that_is_none_is_refused(make_request: MakeRequest, name: str) -> None:
    with pytest.raises(InvalidJoin, match="nodeName"):
        render_user_data(make_request(node_name=name), ANYWHERE)


def test_no_secret_is_in_the_text_of_a_request(make_request: MakeRequest) -> None:
    request = make_request()
    assert request.token.secret not in repr(request)
    assert request.token.secret.encode() in render_user_data(request, ANYWHERE)
