"""What the mode Kubeadm puts on a machine. That kubeadm takes it, tests/integration/join shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeset_provider.api.nodeclass import Argument, File, Join, KubeadmJoin, KubeletSettings, Patch, Provisioning, Unit
from nodeset_provider.join import InvalidJoin, JoinRequest
from nodeset_provider.join.cloud_init import render
from nodeset_provider.join.document import Document
from nodeset_provider.join.modes import kubeadm

MakeRequest = Callable[..., JoinRequest]

GOLDEN = Path(__file__).parent / "golden" / "kubeadm.cloud-config.yaml"


def with_settings(make_request: MakeRequest, *, kubelet: KubeletSettings | None = None, **settings: Any) -> JoinRequest:
    join = Join(mode="Kubeadm", kubeadm=KubeadmJoin(**settings), kubelet=kubelet or KubeletSettings())
    return make_request(join=join, provider_id="simulated://1")


def content(document: Document, path: str) -> Any:  # noqa: ANN401
    return yaml.safe_load(next(file.content for file in document.files if file.path == path))


def refused(request: JoinRequest) -> str:
    with pytest.raises(InvalidJoin) as caught:
        kubeadm.document(request)
    return caught.value.field


def test_user_data_is_byte_for_byte_the_golden_one(make_request: MakeRequest) -> None:
    request = with_settings(
        make_request,
        kubelet=KubeletSettings(max_pods=50, kube_reserved={"memory": "1Gi"}, feature_gates={"NodeSwap": True}),
        discovery="File",
        cri_socket="unix:///run/crio/crio.sock",
        kubelet_extra_args=[Argument("v", "4")],
        patches=[Patch(target="kubeletconfiguration", content="maxOpenFiles: 7\n", type="merge")],
        ignore_preflight_errors=["Swap"],
    )
    assert render(kubeadm.document(request)) == GOLDEN.read_bytes()


def test_every_file_with_the_token_is_for_root_only(make_request: MakeRequest) -> None:
    for discovery in ("Token", "File"):
        request = with_settings(make_request, discovery=discovery)
        holders = [file for file in kubeadm.document(request).files if request.token.secret.encode() in file.content]
        assert holders
        assert {(file.mode, file.owner) for file in holders} == {(0o600, "root:root")}


def test_token_discovery_pins_the_ca_and_file_discovery_brings_it(make_request: MakeRequest) -> None:
    request = with_settings(make_request)
    discovery = content(kubeadm.document(request), kubeadm.CONFIGURATION)["discovery"]
    assert discovery["tlsBootstrapToken"] == discovery["bootstrapToken"]["token"] == request.token.value
    assert discovery["bootstrapToken"]["apiServerEndpoint"] == "api.example.org:6443"
    assert discovery["bootstrapToken"]["caCertHashes"][0].startswith("sha256:")

    document = kubeadm.document(with_settings(make_request, discovery="File"))
    assert content(document, kubeadm.CONFIGURATION)["discovery"] == {
        "file": {"kubeConfigPath": kubeadm.DISCOVERY},
        "tlsBootstrapToken": request.token.value,
    }
    cluster = content(document, kubeadm.DISCOVERY)["clusters"][0]["cluster"]
    assert cluster.keys() == {"server", "certificate-authority-data"}


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [("https://a", "a:443"), ("https://[2001:db8::1]:7443", "[2001:db8::1]:7443"), ("https://A/", "a:443")],
)
def test_endpoint_becomes_host_and_port(make_request: MakeRequest, endpoint: str, host: str) -> None:
    request = make_request(join=Join(mode="Kubeadm", endpoint=endpoint))
    discovery = content(kubeadm.document(request), kubeadm.CONFIGURATION)["discovery"]
    assert discovery["bootstrapToken"]["apiServerEndpoint"] == host


def test_endpoint_with_a_path_needs_file_discovery(make_request: MakeRequest) -> None:
    join = Join(mode="Kubeadm", endpoint="https://a/clusters/1")
    assert refused(make_request(join=join)) == "spec.join.endpoint"
    kubeadm.document(
        make_request(join=Join(mode="Kubeadm", endpoint="https://a/x", kubeadm=KubeadmJoin(discovery="File")))
    )


def test_registration_has_the_name_taints_and_the_labels_that_a_kubelet_may_set(make_request: MakeRequest) -> None:
    request = with_settings(make_request, kubelet_extra_args=[Argument("v", "4"), Argument("v", "5")])
    registration = content(kubeadm.document(request), kubeadm.CONFIGURATION)["nodeRegistration"]
    assert registration["name"] == "big-x1abc"
    assert registration["taints"][0] == {
        "key": "startup-taint.cluster-autoscaler.kubernetes.io/nodeset-unregistered",
        "effect": "NoExecute",
    }
    assert registration["taints"][1] == {"key": "dedicated", "value": "88e123", "effect": "NoSchedule"}
    labels, *rest = registration["kubeletExtraArgs"]
    assert labels["name"] == "node-labels"
    assert "team=data" in labels["value"]
    assert "node-role" not in labels["value"]
    assert rest == [{"name": "v", "value": "4"}, {"name": "v", "value": "5"}]


def test_runtime_socket_is_kubeadms_wherever_the_class_names_it(make_request: MakeRequest) -> None:
    socket = "unix:///run/containerd/containerd.sock"
    for request in (
        with_settings(make_request, cri_socket=socket),
        with_settings(make_request, kubelet=KubeletSettings(container_runtime_endpoint=socket)),
    ):
        document = kubeadm.document(request)
        assert content(document, kubeadm.CONFIGURATION)["nodeRegistration"]["criSocket"] == socket
        assert "containerRuntimeEndpoint" not in content(document, f"{kubeadm.PATCHES}/kubeletconfiguration+merge.yaml")


def test_patch_takes_out_what_only_the_cluster_keeps_back(make_request: MakeRequest) -> None:
    kubelet = KubeletSettings(
        kube_reserved={"cpu": "1"}, eviction_hard={"pid.available": "10%"}, serving_certificate=False
    )
    patch = kubeadm.kubelet_patch(with_settings(make_request, kubelet=kubelet))
    assert patch["kubeReserved"] == {"cpu": "1", "memory": None, "ephemeral-storage": None, "pid": None}
    assert patch["systemReserved"] == {"cpu": None, "memory": None, "ephemeral-storage": None, "pid": None}
    assert patch["evictionHard"]["pid.available"] == "10%"
    assert patch["evictionHard"]["containerfs.available"] is None
    assert patch["serverTLSBootstrap"] is False
    assert patch["providerID"] == "simulated://1"
    assert patch.keys().isdisjoint({"cgroupDriver", "clusterDNS", "featureGates", "registerWithTaints"})


def test_patches_are_applied_ours_first_and_the_classs_in_their_order(make_request: MakeRequest) -> None:
    patches = [Patch(target="kubeletconfiguration", content=f"maxOpenFiles: {n}") for n in range(12)]
    paths = [file.path for file in kubeadm.document(with_settings(make_request, patches=patches)).files]
    applied = sorted(path for path in paths if path.startswith(kubeadm.PATCHES))
    assert applied[0] == f"{kubeadm.PATCHES}/kubeletconfiguration+merge.yaml"
    assert applied == [path for path in paths if path.startswith(kubeadm.PATCHES)]


def test_join_comes_after_commands_and_units_and_before_what_follows_it(make_request: MakeRequest) -> None:
    provisioning = Provisioning(units=[Unit(name="a.service")], commands=["before"], commands_after_join=["after"])
    request = replace(
        with_settings(make_request),
        template=make_request(provisioning=provisioning, join=Join(mode="Kubeadm")).template,
    )
    document = kubeadm.document(request)
    assert document.commands_before == (("sh", "-c", "before"),)
    assert document.commands_after == (("kubeadm", "join", "--config", kubeadm.CONFIGURATION), ("sh", "-c", "after"))
    assert [(unit.name, unit.enabled, unit.start) for unit in document.units] == [
        ("a.service", True, True),
        ("kubelet.service", True, False),
    ]


def test_patience_of_kubeadm_is_the_launchs(make_request: MakeRequest) -> None:
    request = make_request(join=Join(mode="Kubeadm"), launch_timeout_seconds=77)
    timeouts = content(kubeadm.document(request), kubeadm.CONFIGURATION)["timeouts"]
    assert set(timeouts.values()) == {"77s"}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"kubelet_extra_args": [Argument("v", "1"), Argument("max-pods", "1")]}, "kubeletExtraArgs[1]"),
        ({"kubelet_extra_args": [Argument("provider-id", "x")]}, "kubeletExtraArgs[0]"),
        ({"patches": [Patch(target="../x", content="")]}, "patches[0].target"),
        ({"patches": [Patch(target="kubeletconfiguration", content="\ud800")]}, "patches[0].content"),
        ({"patches": [Patch(target="kubeletconfiguration", content="a: b: c")]}, "patches[0].content"),
        ({"patches": [Patch(target="kubeletconfiguration", content="[1]")]}, "patches[0].content"),
        ({"patches": [Patch(target="kubeletconfiguration", content="# nothing")]}, "patches[0].content"),
        ({"patches": [Patch(target="kubeletconfiguration", content="a: {}", type="json")]}, "patches[0].content"),
        ({"patches": [Patch(target="kubeletconfiguration", content="[" * 30000)]}, "patches[0].content"),
        ({"ignore_preflight_errors": ["a b"]}, "ignorePreflightErrors[0]"),
    ],
)
def test_setting_that_cannot_work_is_refused_with_its_field(
    make_request: MakeRequest, settings: dict[str, Any], field: str
) -> None:
    assert refused(with_settings(make_request, **settings)) == f"spec.join.kubeadm.{field}"


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("json", '[{"op": "remove", "path": "/maxOpenFiles"}]'),
        ("merge", '{"maxOpenFiles": 7}'),
        ("strategic", "---\nmaxOpenFiles: 2001-99-99\n---\n"),
    ],
)
def test_patch_is_brought_as_it_is_written(make_request: MakeRequest, type_: Any, text: str) -> None:  # noqa: ANN401
    patch = Patch(target="kubeletconfiguration", type=type_, content=text)
    files = {file.path: file.content for file in kubeadm.document(with_settings(make_request, patches=[patch])).files}
    assert files[f"{kubeadm.PATCHES}/kubeletconfiguration00+{type_}.yaml"] == text.encode()


@pytest.mark.parametrize(
    "path", [kubeadm.CONFIGURATION, "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"]
)
def test_class_cannot_write_over_what_kubeadm_writes(make_request: MakeRequest, path: str) -> None:
    request = make_request(join=Join(mode="Kubeadm"), provisioning=Provisioning(files=[File(path=path)]))
    assert refused(request) == "spec.provisioning.files[0].path"
