"""kwok plays the kubelets of simulated machines: it renews their leases, runs their pods and lets them go.

May touch: one process. A machine of the simulated cloud registers its Node by itself and posts its first status; from then
on the annotation `SELECTOR` on the Node gives it to kwok.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from testbed.controlplane import ControlPlane
from testbed.processes import Process

SELECTOR = "kwok.x-k8s.io/node=fake"
"""Annotation of the Nodes that kwok plays."""

STAGES = Path(__file__).with_name("kwok-stages.yaml")


class Kwok:
    """``with Kwok(control_plane):`` plays kubelets until the block is left.

    Args:
        lease_seconds: how long a node's lease is; it is renewed four times as often. The more nodes, the longer it should
            be: at 40 s a thousand nodes make 100 writes a second. Longer than the controller-manager's
            ``--node-monitor-grace-period`` (50 s) makes nodes Unknown unless that is raised, too.
    """

    def __init__(self, control_plane: ControlPlane, *, lease_seconds: int = 40) -> None:
        self._control_plane = control_plane
        self._lease_seconds = lease_seconds

    def __enter__(self) -> Self:
        cluster = self._control_plane
        argv = [
            cluster.assets["kwok"],
            f"--kubeconfig={cluster.kubeconfig_for('kwok', ['system:masters'])}",
            f"--config={STAGES}",
            f"--manage-nodes-with-annotation-selector={SELECTOR}",
            f"--node-lease-duration-seconds={self._lease_seconds}",
        ]
        self.process = Process("kwok", argv, log=cluster.logs / "kwok.log", cwd=cluster.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop(2.0)
