"""kwok plays the kubelets of simulated machines: it renews their leases, runs their pods and lets them go.

May touch: one process. A machine of the simulated cloud registers its Node by itself and posts its first status; from
then on the annotation `SELECTOR` on the Node gives it to kwok.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from testbed.controlplane import ControlPlane
from testbed.service import Service

SELECTOR = "kwok.x-k8s.io/node=fake"
"""Annotation of the Nodes that kwok plays."""

STAGES = Path(__file__).with_name("kwok-stages.yaml")


class Kwok(Service):
    """``with Kwok(control_plane):`` plays kubelets until the block is left.

    Args:
        control_plane: whose nodes it plays.
        lease_seconds: how long a node's lease is; it is renewed four times as often. The more nodes, the longer it
            should be: at 40 s a thousand nodes make 100 writes a second. Longer than the controller-manager's
            ``--node-monitor-grace-period`` (50 s) makes nodes Unknown unless that is raised, too.
        more_stages: files of further stages, for nodes that do not make themselves Ready.
    """

    def __init__(
        self, control_plane: ControlPlane, *, lease_seconds: int = 40, more_stages: Sequence[Path] = ()
    ) -> None:
        super().__init__("kwok", folder=control_plane.folder, logs=control_plane.logs)
        self._binary = control_plane.assets["kwok"]
        self._kubeconfig = control_plane.kubeconfig_for("kwok", ["system:masters"])
        self._lease_seconds = lease_seconds
        self._stages = [STAGES, *more_stages]

    def _argv(self) -> Sequence[str | Path]:
        return [
            self._binary,
            f"--kubeconfig={self._kubeconfig}",
            *(f"--config={stages}" for stages in self._stages),
            f"--manage-nodes-with-annotation-selector={SELECTOR}",
            f"--node-lease-duration-seconds={self._lease_seconds}",
        ]
