"""An autoscaler beside the provider: the real Cluster Autoscaler where there is one, else our stand-in.

May touch: one process, its cloud-config file. The real one is in no package registry: its path comes from the variable
``CLUSTER_AUTOSCALER``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from testbed.controlplane import ControlPlane
from testbed.ports import HOST, ClaimedPort
from testbed.provider import Provider
from testbed.service import Service, http_ok

VARIABLE = "CLUSTER_AUTOSCALER"

_FAST = (
    "--leader-elect=false",
    "--write-status-configmap=false",
    "--scan-interval=2s",
    "--frequent-loops-enabled=false",
    "--scale-down-delay-after-add=0s",
    "--scale-down-delay-after-failure=2s",
    "--scale-down-unneeded-time=4s",
    "--unremovable-node-recheck-timeout=1s",
    "--node-delete-delay-after-taint=0s",
    "--max-node-provision-time=30s",
    "--initial-node-group-backoff-duration=30s",
    "--max-bulk-soft-taint-count=0",
)
"""What takes minutes in production takes seconds here. A release, or the stand-in, that lacks a flag goes without."""


def real_autoscaler(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The real one's path as ``CLUSTER_AUTOSCALER`` says, None when it is not set.

    Raises:
        FileNotFoundError: it is set, and there is no such program.
    """
    path = environment.get(VARIABLE)
    if not path:
        return None
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{VARIABLE}={path}: no such program")
    return Path(path)


class ClusterAutoscaler(Service):
    """The real Cluster Autoscaler, of any release since 1.25, with ``--cloud-provider=externalgrpc``.

    Args:
        control_plane: whose pods and nodes it looks at, as an administrator unless ``kubeconfig`` says otherwise.
        provider: whose front door it asks, with the provider's client certificate where that has one.
        binary: path of the program.
        flags: more arguments; they win over ours.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        provider: Provider,
        binary: Path,
        *,
        kubeconfig: Path | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        super().__init__("cluster-autoscaler", folder=control_plane.folder, logs=control_plane.logs)
        self._binary = binary
        self._kubeconfig = kubeconfig or control_plane.kubeconfig_for("cluster-autoscaler", ["system:masters"])
        self._flags = flags
        self._http = ClaimedPort()
        self._cloud_config = control_plane.folder / "cloud-config.yaml"
        self._cloud_config.write_text(yaml.safe_dump(provider.client_options))

    def _argv(self) -> Sequence[str | Path]:
        return [
            self._binary,
            "--cloud-provider=externalgrpc",
            f"--cloud-config={self._cloud_config}",
            f"--kubeconfig={self._kubeconfig}",
            f"--address={HOST}:{self._http.number}",
            *_known([self._binary], _FAST),
            *self._flags,
        ]

    def _ready(self) -> bool:
        return http_ok(self._http.number, "/metrics")


class StandInAutoscaler(Service):
    """``nodeset-provider rehearse autoscale``: a small stand-in for the real one, for the demo and the tests.

    Attributes:
        events: file of what it decided, one JSON object a line.
    """

    _COMMAND = (Path(sys.executable).with_name("nodeset-provider"), "rehearse", "autoscale")

    def __init__(self, control_plane: ControlPlane, provider: Provider, *, flags: Sequence[str] = ()) -> None:
        super().__init__("stand-in-autoscaler", folder=control_plane.folder, logs=control_plane.logs)
        self.events = self.log.with_suffix(".events.jsonl")
        self._arguments = [
            *(f"--{name}={value}" for name, value in provider.client_options.items()),
            f"--kubeconfig={control_plane.kubeconfig_for('stand-in-autoscaler', ['system:masters'])}",
            f"--events={self.events}",
            *_known(self._COMMAND, _FAST),
            *flags,
        ]

    def _argv(self) -> Sequence[str | Path]:
        return [*self._COMMAND, *self._arguments]


def _known(command: Sequence[str | Path], flags: Sequence[str]) -> list[str]:
    """Those of the flags that this program has: it refuses to start with any other."""
    usage = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)  # noqa: S603
    words = set((usage.stdout + usage.stderr).split())
    return [flag for flag in flags if flag.partition("=")[0] in words]
