"""The kubelet's own loading of its configuration: decoding, drop-ins, feature gates, validation.

The kubelet is given a folder for its certificates that nobody can make: once it has loaded and validated its
configuration it ends there, or at its missing kubeconfig, and has touched nothing. It tells of unknown fields and goes
on, so what it logs counts.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from testbed.binaries import Assets

from nodeset_provider.api.nodeclass import KubeletSettings
from nodeset_provider.join import JoinRequest
from nodeset_provider.join.document import Document
from nodeset_provider.join.feature_gate_table import GATES, NEWEST
from nodeset_provider.join.kubelet import HEADER
from nodeset_provider.join.modes import bootstrap, eks, k3s, kubeadm

MakeRequest = Callable[..., JoinRequest]

EVERYTHING = KubeletSettings(
    max_pods=250,
    kube_reserved={"cpu": "100m", "memory": "1.5Gi", "ephemeral-storage": "1Gi", "pid": "1000"},
    system_reserved={"cpu": "500m", "memory": "200Mi"},
    eviction_hard={"memory.available": "5%", "pid.available": "10%", "imagefs.available": "0%"},
    eviction_soft={"memory.available": "10%", "nodefs.inodesFree": "7.5%"},
    eviction_soft_grace_period={"memory.available": "1m30s", "nodefs.inodesFree": "2h"},
    feature_gates={"GracefulNodeShutdown": True, "CPUManagerPolicyAlphaOptions": True},
    cluster_dns=["10.96.0.10", "2001:db8::a"],
    resolv_conf="/run/systemd/resolve/resolv.conf",
    container_runtime_endpoint="unix:///run/containerd/containerd.sock",
    cgroup_driver="systemd",
    cpu_manager_policy="static",
    topology_manager_policy="restricted",
    image_gc_high_threshold_percent=90,
    image_gc_low_threshold_percent=70,
    pod_pids_limit=4096,
    container_log_max_size="20Mi",
    shutdown_grace_period="1m30s",
    allowed_unsafe_sysctls=["net.core.somaxconn", "kernel.msg*"],
)
NO_FOLDER = "/proc/nowhere/pki"
ENDS = ("mkdir /proc/nowhere", "unable to load bootstrap kubeconfig")
"""What it ends at once it is content with its configuration."""
OF_THIS_HOST = {"failCgroupV1": False}
"""A kubelet refuses hosts with cgroup v1 by itself; this one runs nothing."""
K3S_DEFAULTS: Mapping[str, Any] = {
    **HEADER,
    **OF_THIS_HOST,
    "cgroupDriver": "systemd",
    "evictionHard": {"imagefs.available": "5%", "nodefs.available": "5%"},
    "shutdownGracePeriod": "0s",
}
NODEADM_DEFAULTS: Mapping[str, Any] = {
    **HEADER,
    **OF_THIS_HOST,
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
    "kubeReserved": {"cpu": "70m", "ephemeral-storage": "1Gi", "memory": "574Mi"},
    "shutdownGracePeriod": "2m30s",
    "shutdownGracePeriodCriticalPods": "30s",
}
KUBEADM_DEFAULTS: Mapping[str, Any] = {
    **HEADER,
    **OF_THIS_HOST,
    "clusterDNS": ["10.96.0.10"],
    "cgroupDriver": "systemd",
    "evictionHard": {"memory.available": "1Gi"},
    "kubeReserved": {"pid": "7"},
    "featureGates": {"NodeSwap": True},
    "serverTLSBootstrap": False,
}


def refusal(assets: Assets, folder: Path, main: Mapping[str, Any] | bytes, drop_in: bytes = b"") -> str:
    """What the kubelet has against these files; empty where it has nothing."""
    (folder / "config.yaml").write_bytes(main if isinstance(main, bytes) else json.dumps(main).encode())
    drop_ins = folder / "kubelet.conf.d"
    drop_ins.mkdir(exist_ok=True)
    if drop_in:
        (drop_ins / "50-nodeset.conf").write_bytes(drop_in)
    arguments = {
        "config": folder / "config.yaml",
        "config-dir": drop_ins,
        "bootstrap-kubeconfig": folder / "none",
        "kubeconfig": folder / "none",
        "cert-dir": NO_FOLDER,
        "root-dir": f"{NO_FOLDER}/root",
        "hostname-override": "nobody",
    }
    command = [str(assets["kubelet"]), *(f"--{name}={value}" for name, value in arguments.items())]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    said = done.stderr.decode()
    if not any(end in said for end in ENDS):
        return said
    return "".join(line for line in said.splitlines() if "strict decoding" in line)


def with_everything(make_request: MakeRequest, mode: str, **left_out: object) -> JoinRequest:
    join = make_request(mode, "CloudInit").template.join
    settings = msgspec.structs.replace(EVERYTHING, **left_out)
    return make_request(mode, "CloudInit", join=msgspec.structs.replace(join, kubelet=settings))


def file(document: Document, path: str) -> bytes:
    return next(entry.content for entry in document.files if entry.path == path)


def merged(target: Any, patch: Any) -> Any:  # noqa: ANN401
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def test_bootstrap_configuration_is_loaded(assets: Assets, make_request: MakeRequest, tmp_path: Path) -> None:
    content = file(bootstrap.document(with_everything(make_request, "Bootstrap")), bootstrap.CONFIGURATION)
    assert refusal(assets, tmp_path, content + json.dumps(OF_THIS_HOST).strip("{}").encode()) == ""


def test_kubeadm_patch_makes_a_configuration_that_is_loaded(
    assets: Assets, make_request: MakeRequest, tmp_path: Path
) -> None:
    patch = kubeadm.kubelet_patch(with_everything(make_request, "Kubeadm"))
    result = merged(KUBEADM_DEFAULTS, patch)
    assert refusal(assets, tmp_path, result) == ""
    assert result["evictionHard"]["memory.available"] == "5%"
    assert result["featureGates"] == {"NodeSwap": True, **EVERYTHING.feature_gates}


def test_k3s_drop_in_is_loaded_after_its_defaults(assets: Assets, make_request: MakeRequest, tmp_path: Path) -> None:
    drop_in = file(k3s.document(with_everything(make_request, "K3s", cgroup_driver="")), k3s.KUBELET)
    assert refusal(assets, tmp_path, K3S_DEFAULTS, drop_in) == ""


def test_eks_settings_are_loaded_after_nodeadms(assets: Assets, make_request: MakeRequest, tmp_path: Path) -> None:
    request = with_everything(make_request, "EKS", cgroup_driver="", container_runtime_endpoint="")
    config = yaml.safe_load(eks.document(request).parts[0].content)["spec"]["kubelet"]["config"]
    # as nodeadm writes it: 40-nodeadm.conf, JSON
    assert refusal(assets, tmp_path, NODEADM_DEFAULTS, json.dumps({**HEADER, **config}).encode()) == ""


def test_every_gate_of_the_table_is_one_of_this_kubelet(assets: Assets, tmp_path: Path) -> None:
    gates = {name: gate.default for name, gate in GATES.items() if gate.until == NEWEST and not name.startswith("All")}
    assert refusal(assets, tmp_path, {**HEADER, **OF_THIS_HOST, "featureGates": gates}) == ""


def test_every_gate_that_this_kubelet_offers_is_in_the_table(assets: Assets) -> None:
    done = subprocess.run([str(assets["kubelet"]), "--help"], capture_output=True, check=True, timeout=60)
    offered = {
        line.strip().removeprefix("kube:").partition("=")[0]
        for line in done.stdout.decode().splitlines()
        if "=true|false (" in line
    }
    assert len(offered) > 100
    assert offered <= GATES.keys()


def test_it_would_complain(assets: Assets, tmp_path: Path) -> None:
    for wrong, complaint in (
        ({"maxPodz": 3}, "unknown field"),
        ({"maxPods": "many"}, "cannot unmarshal"),
        ({"featureGates": {"NoSuchGate": True}}, "unrecognized feature gate"),
        ({"featureGates": {"NodeSwap": False}}, "locked"),
        ({"imageGCHighThresholdPercent": 10}, "must be less than"),
        ({"shutdownGracePeriodCriticalPods": "30s"}, "must be <="),
    ):
        assert complaint in refusal(assets, tmp_path, {**HEADER, **OF_THIS_HOST, **wrong})
