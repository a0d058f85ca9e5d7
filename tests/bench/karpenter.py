"""The peer: Karpenter with a static NodePool on its kwok provider, on the same control plane, ramped the same way.

Karpenter's ``kwok`` command is built once from its Go module (``tools/karpenter``) into the cache that the control
plane's programs are in. ``spec.replicas`` of a NodePool (feature gate StaticCapacity) is the nearest thing to a
NodeSet anywhere. Its machines are made Ready by kwok, at about 11 a second on two cores: compare writes, CPU and memory
rather than seconds. May touch: the control plane that it is given, processes.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from rich.console import Console
from testbed.binaries import TOOLS, Binary
from testbed.build import build
from testbed.controlplane import ControlPlane
from testbed.kwok import Kwok
from testbed.metering import WriteMeter
from testbed.processes import Process, process_cpu_seconds, process_peak_mib

KARPENTER = Binary(
    "karpenter", "sigs.k8s.io/karpenter/kwok", "sigs.k8s.io/karpenter", "karpenter", "karpenter", usual_seconds=84
)
_USER = "karpenter"
_INITIALIZED = b'"message":"initialized nodeclaim"'
_MAKES_READY = Path("kustomize/stage/node/fast/node-initialize.yaml")
_POOL = {
    "apiVersion": "karpenter.sh/v1",
    "kind": "NodePool",
    "metadata": {"name": "static"},
    "spec": {
        "replicas": 0,
        "template": {
            "spec": {
                "expireAfter": "Never",
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
                "requirements": [
                    {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["c-2x-amd64-linux"]},
                ],
            }
        },
    },
}
_CLASS = {"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": "default"}}
_BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "karpenter"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": _USER}],
}


def karpenter_program() -> Path:
    """Where Karpenter with simulated machines is; built the first time.

    Raises:
        BuildError: Go is missing or too old, or the build failed.
    """
    build([KARPENTER], Console(stderr=True, highlight=False, soft_wrap=True))
    return KARPENTER.located() or KARPENTER.cached()


def ramp(count: int, *, timeout: float) -> dict[str, float]:
    """0 → ``count`` initialised nodes: seconds, API writes per machine, CPU seconds, peak MiB of Karpenter alone.

    Raises:
        TimeoutError: not all were initialised in ``timeout`` seconds.
    """
    with (
        # Karpenter waits for the not-ready taint to go, which only the node lifecycle controller takes off.
        ControlPlane(flags={"kube-controller-manager": ["--node-monitor-grace-period=1h"]}) as control_plane,
        Kwok(control_plane, lease_seconds=3600, more_stages=[_module("kwok", "sigs.k8s.io/kwok") / _MAKES_READY]),
    ):
        _install(control_plane)
        writes = WriteMeter(control_plane, _USER)
        with _start(control_plane) as process:
            deadline = time.monotonic() + timeout
            _scale(control_plane, 1)
            _wait(process.log, 1, deadline)
            before = writes.count()
            cpu, started = process_cpu_seconds(process.pid), time.monotonic()
            _scale(control_plane, count + 1)
            _wait(process.log, count + 1, deadline)
            return {
                "seconds": round(time.monotonic() - started, 1),
                "writes_per_machine": round((writes.count() - before) / count, 2),
                "cpu_seconds": round(process_cpu_seconds(process.pid) - cpu, 1),
                "peak_mib": round(process_peak_mib(process.pid)),
            }


def _module(folder: str, name: str) -> Path:
    """Where Go keeps the source of that module, as ``tools/<folder>/go.mod`` pins it."""
    found = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", name],
        cwd=TOOLS / folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(found.stdout.strip())


def _install(control_plane: ControlPlane) -> None:
    module = _module("karpenter", KARPENTER.module)
    for folder in (module / "pkg/apis/crds", module / "kwok/apis/crds"):
        control_plane.kubectl("apply", "--server-side", "-f", folder)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    for manifest in (_BINDING, _CLASS, _POOL):
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(manifest))


def _start(control_plane: ControlPlane) -> Process:
    return Process(
        "karpenter",
        [karpenter_program()],
        log=control_plane.logs / "karpenter.log",
        env={
            "KUBECONFIG": str(control_plane.kubeconfig_for(_USER)),
            "KUBERNETES_MIN_VERSION": "1.19.0-0",
            "KARPENTER_SERVICE": "karpenter",
            "SYSTEM_NAMESPACE": "kube-system",
            "DISABLE_LEADER_ELECTION": "true",
            "FEATURE_GATES": "StaticCapacity=true",
            "METRICS_PORT": "0",
            "HEALTH_PROBE_PORT": "0",
        },
    )


def _scale(control_plane: ControlPlane, replicas: int) -> None:
    control_plane.kubectl("scale", "nodepool/static", f"--replicas={replicas}")


def _wait(log: Path, count: int, deadline: float) -> None:
    """By Karpenter's own log: lists of all NodeClaims would take their time from what is measured."""
    while log.read_bytes().count(_INITIALIZED) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Karpenter has not initialised {count} nodes in time")
        time.sleep(1)
