"""What the mode K3s puts on a machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.nodeclass import File, Join, K3sJoin, KubeletSettings, Provisioning, Proxy, Unit
from nodeset_provider.join import ClusterAccess, InvalidJoin, JoinRequest
from nodeset_provider.join import bootstrap_token as tokens
from nodeset_provider.join.cloud_init import render
from nodeset_provider.join.document import Document
from nodeset_provider.join.modes import k3s

MakeRequest = Callable[..., JoinRequest]

GOLDEN = Path(__file__).parent / "golden" / "k3s.cloud-config.yaml"


def with_settings(make_request: MakeRequest, *, kubelet: KubeletSettings | None = None, **settings: Any) -> JoinRequest:
    join = Join(mode="K3s", k3s=K3sJoin(**settings), kubelet=kubelet or KubeletSettings())
    return make_request(join=join, provider_id="simulated://1")


def file(document: Document, path: str) -> bytes:
    return next(file.content for file in document.files if file.path == path)


def configuration(request: JoinRequest) -> dict[str, Any]:
    return yaml.safe_load(file(k3s.document(request), k3s.CONFIGURATION))


def refused(request: JoinRequest) -> str:
    with pytest.raises(InvalidJoin) as caught:
        k3s.document(request)
    return caught.value.field


def test_user_data_is_byte_for_byte_the_golden_one(make_request: MakeRequest) -> None:
    request = with_settings(
        make_request,
        kubelet=KubeletSettings(max_pods=50, kube_reserved={"memory": "1Gi"}),
        version="v1.36.1+k3s1",
        install_command="curl -sfL https://get.k3s.io | sh -",
        config={"flannel-iface": "eth1", "kubelet-arg": ["v=2"], "debug": True},
    )
    assert render(k3s.document(request)) == GOLDEN.read_bytes()


def test_token_carries_the_cas_hash_and_only_root_reads_it(make_request: MakeRequest) -> None:
    request = with_settings(make_request)
    prefix, _, value = configuration(request)["token"].partition("::")
    assert (len(prefix), prefix[:3], value) == (3 + 64, "K10", request.token.value)
    holders = [entry for entry in k3s.document(request).files if request.token.secret.encode() in entry.content]
    assert [(entry.path, entry.mode) for entry in holders] == [(k3s.CONFIGURATION, 0o600)]


def test_agent_is_told_server_name_labels_and_taints(make_request: MakeRequest) -> None:
    agent = configuration(with_settings(make_request))
    assert (agent["server"], agent["node-name"]) == ("https://api.example.org:6443", "big-x1abc")
    assert "team=data" in agent["node-label"]
    assert not any(label.startswith("node-role") for label in agent["node-label"])
    assert agent["node-taint"] == [
        "startup-taint.cluster-autoscaler.kubernetes.io/nodeset-unregistered:NoExecute",
        "dedicated=88e123:NoSchedule",
        "example.org/agent-not-ready:NoExecute",
    ]


def test_kubelet_settings_are_a_drop_in_and_the_runtime_is_k3s_own(make_request: MakeRequest) -> None:
    socket = "unix:///run/containerd/containerd.sock"
    request = with_settings(make_request, kubelet=KubeletSettings(max_pods=7, container_runtime_endpoint=socket))
    drop_in = yaml.safe_load(file(k3s.document(request), k3s.KUBELET))
    assert (drop_in["kind"], drop_in["maxPods"], drop_in["providerID"]) == ("KubeletConfiguration", 7, "simulated://1")
    assert drop_in.keys().isdisjoint({"serverTLSBootstrap", "cgroupDriver", "containerRuntimeEndpoint", "clusterDNS"})
    assert configuration(request)["container-runtime-endpoint"] == socket


def test_keys_of_the_class_are_kept_as_they_are(make_request: MakeRequest) -> None:
    keys = {"node-ip": ["10.0.0.1", "2001:db8::1"], "selinux": True, "lb-server-port": 6444, "snapshotter": "native"}
    agent = configuration(with_settings(make_request, config=keys))
    assert {key: agent[key] for key in keys} == keys


@pytest.mark.parametrize(
    "key",
    [
        *("server", "token", "token-file", "node-name", "with-node-id", "node-label", "node-label+", "node-taint"),
        *("data-dir", "private-registry", "container-runtime-endpoint", "resolv-conf", "vpn-auth", "vpn-auth+"),
        *("t", "s", "d", "--debug", "a b", "a\nb", ""),
    ],
)
def test_key_that_is_ours_or_none_is_refused_by_name(make_request: MakeRequest, key: str) -> None:
    assert refused(with_settings(make_request, config={key: "x"})).startswith("spec.join.k3s.config[")


@pytest.mark.parametrize("value", [{"a": 1}, [["a"]], None, [None]])
def test_value_that_no_flag_takes_is_refused(make_request: MakeRequest, value: object) -> None:
    assert refused(with_settings(make_request, config={"node-ip": value})) == "spec.join.k3s.config[node-ip]"


@pytest.mark.parametrize("argument", ["max-pods=5", "provider-id=x", "config=/x", "--v=2", ""])
def test_kubelet_argument_that_is_said_elsewhere_is_refused(make_request: MakeRequest, argument: str) -> None:
    for key, value in (("kubelet-arg", [argument]), ("kubelet-arg+", argument)):
        assert refused(with_settings(make_request, config={key: value})) == f"spec.join.k3s.config[{key}]"


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.lists(st.text()), max_size=4))
def test_any_config_is_kept_or_refused_and_never_takes_the_place_of_ours(config: dict[str, Any]) -> None:
    access = ClusterAccess(endpoint="https://a", ca_bundle=(GOLDEN.parent / "ca.crt").read_bytes())
    join = Join(mode="K3s", k3s=K3sJoin(config=config))
    request = JoinRequest(
        cluster=access,
        template=MachineTemplate(driver="any", node_class_name="big", join=join),
        node_name="big-1",
        token=tokens.derive(b"k" * tokens.KEY_BYTES, "11111111-2222-3333-4444-555555555555", 1),
    )
    try:
        agent = configuration(request)
    except InvalidJoin as refusal:
        assert refusal.field.startswith("spec.join.k3s.config[")  # noqa: PT017
        return
    assert {key: agent[key] for key in config} == config
    assert (agent["server"], agent["node-name"]) == ("https://a", "big-1")


def test_agent_starts_after_commands_and_installation(make_request: MakeRequest) -> None:
    join = Join(mode="K3s", k3s=K3sJoin(install_command="install-it"))
    provisioning = Provisioning(commands=["first"], commands_after_join=["last"], units=[Unit(name="a.service")])
    document = k3s.document(make_request(join=join, provisioning=provisioning))
    assert document.commands_before[0] == ("sh", "-c", "first")
    assert document.commands_before[1][-1] == "install-it"
    assert [unit.name for unit in document.units if unit.start] == ["a.service", k3s.UNIT]
    assert document.commands_after == (("sh", "-c", "last"),)


@pytest.mark.parametrize("version", ["1.36.1", "latest", "v1.36.1+k3s1; reboot", "v1.36.1\n"])
def test_version_that_is_no_release_is_refused(make_request: MakeRequest, version: str) -> None:
    assert refused(with_settings(make_request, version=version)) == "spec.join.k3s.version"


@pytest.fixture
def path_with_k3s(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The environment of a machine whose k3s says that it is of this version; without a version there is none."""

    def make(version: str) -> dict[str, str]:
        if version:
            (tmp_path / "k3s").write_text(f"#!/bin/sh\necho 'k3s version {version} (abc)'\necho 'go version go1.26'\n")
            (tmp_path / "k3s").chmod(0o755)
        return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    return make


@pytest.mark.parametrize(
    ("wanted", "there", "installed"),
    [
        ("v1.36.1+k3s1", "v1.36.1+k3s1", ""),
        ("v1.36.1+k3s1", "v1.35.0+k3s1", "v1.36.1+k3s1 agent true"),
        ("v1.36.1+k3s1", "", "v1.36.1+k3s1 agent true"),
        ("", "v1.35.0+k3s1", ""),
        ("", "", "any agent true"),
    ],
)
def test_installation_runs_where_k3s_is_missing_or_of_another_release(
    make_request: MakeRequest, path_with_k3s: Callable[[str], dict[str, str]], wanted: str, there: str, installed: str
) -> None:
    command = 'echo "${INSTALL_K3S_VERSION:-any} $INSTALL_K3S_EXEC $INSTALL_K3S_SKIP_START"'
    request = with_settings(make_request, version=wanted, install_command=command)
    argv = k3s.document(request).commands_before[-1]
    done = subprocess.run(argv, env=path_with_k3s(there), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == installed


@pytest.mark.parametrize(("there", "code"), [("v1.36.1+k3s1", 0), ("v1.36.1+k3s2", 1), ("", 1)])
def test_agent_of_another_release_does_not_start_and_says_why(
    make_request: MakeRequest, path_with_k3s: Callable[[str], dict[str, str]], tmp_path: Path, there: str, code: int
) -> None:
    document = k3s.document(with_settings(make_request, version="v1.36.1+k3s1"))
    assert document.units[-1].drop_ins == (
        ("20-nodeset.conf", f"[Service]\nExecStartPre={k3s.VERSION_CHECK}\n".encode()),
    )
    script = tmp_path / "check"
    script.write_bytes(file(document, k3s.VERSION_CHECK))
    done = subprocess.run(["sh", str(script)], env=path_with_k3s(there), capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("its NodeClass wants v1.36.1+k3s1" in done.stderr) == bool(code)


def test_proxy_is_the_agents(make_request: MakeRequest) -> None:
    join = Join(mode="K3s", proxy=Proxy(http="http://proxy:3128"))
    document = k3s.document(make_request(join=join))
    assert [unit.name for unit in document.units] == [k3s.UNIT]
    assert b"EnvironmentFile=/etc/nodeset/proxy.env\n" in document.units[0].drop_ins[0][1]


def test_class_cannot_write_over_the_agents_files(make_request: MakeRequest) -> None:
    for path in (k3s.CONFIGURATION, k3s.KUBELET, "/etc/rancher/k3s/registries.yaml"):
        request = make_request(join=Join(mode="K3s"), provisioning=Provisioning(files=[File(path=path)]))
        assert refused(request) == "spec.provisioning.files[0].path"
