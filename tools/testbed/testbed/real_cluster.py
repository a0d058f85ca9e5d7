"""A cluster whose machines are real: libvirt, the node image, a control plane that kubelets reach, and the provider.

The simulated cloud and its kubelets are there, too: one cluster may have machines of every kind. May touch: what its
parts touch. It runs in a network of the testbed's own (`testbed.netns`); leaving the ``with`` block stops all of it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed import netns, node_image
from testbed.binaries import Assets
from testbed.cluster import DEPLOY, Cluster
from testbed.controlplane import ControlPlane
from testbed.libvirtd import GATEWAY, Libvirtd
from testbed.node_image import NodeImage

DISK, KERNEL, INITRD = "node.qcow2", "node-vmlinuz", "node-initrd"
"""Volumes of the pool: the node image."""

_KUBEADM_CONFIGURATION = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: []
nodeRegistration: {{name: control-plane, criSocket: "unix:///run/containerd/containerd.sock"}}
localAPIEndpoint: {{advertiseAddress: {host}, bindPort: {port}}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
controlPlaneEndpoint: "{host}:{port}"
networking: {{serviceSubnet: 10.96.0.0/16}}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
serverTLSBootstrap: true
"""


class RealCluster:
    """``with RealCluster(assets, image) as real:``.

    Attributes:
        control_plane: reached by machines at ``control_plane.machine_endpoint``.
        libvirt: with the image's files as volumes of its pool.
        cluster: our kinds, simulated cloud and provider; see `Cluster`.
    """

    def __init__(self, assets: Assets, image: NodeImage) -> None:
        self._assets = assets
        self.image = image
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.control_plane = stack.enter_context(ControlPlane(assets=self._assets, machines_at=GATEWAY))
            folder = self.control_plane.folder / "libvirt"
            folder.mkdir()
            self.libvirt = stack.enter_context(Libvirtd(folder, netns=netns.current()))
            for file, name in ((self.image.disk, DISK), (self.image.kernel, KERNEL), (self.image.initrd, INITRD)):
                _put(file, self.libvirt.pool_folder / name)
            self.libvirt.virsh("pool-refresh", self.libvirt.pool)
            self.cluster = stack.enter_context(
                Cluster(
                    control_plane=self.control_plane,
                    provider_configuration={"join": {"endpoint": self.control_plane.machine_endpoint}},
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.control_plane.failed or kind is not None:
            self.keep_consoles()
        self._stack.__exit__(kind, error, traceback)

    @property
    def machine_config(self) -> dict[str, Any]:
        """``NodeClass.spec.config`` of driver libvirt: the smallest machine that runs pods of the tests."""
        return {
            "uri": self.libvirt.uri,
            "image": DISK,
            "kernel": KERNEL,
            "initrd": INITRD,
            "kernelCommandLine": self.image.command_line,
            "memory": "1200Mi",
            "vcpus": 2,
            "disk": "6Gi",
            "overcommitDisk": True,
        }

    def prepare_kubeadm(self) -> None:
        """What `kubeadm init` leaves in a cluster for `kubeadm join`, written by kubeadm itself, and our part of it."""
        server = self.control_plane.machine_endpoint
        host, _, port = server.removeprefix("https://").rpartition(":")
        version = json.loads(self.control_plane.get("/version"))["gitVersion"]
        configuration = self.control_plane.folder / "kubeadm.yaml"
        configuration.write_text(_KUBEADM_CONFIGURATION.format(host=host, port=port, version=version))
        admin = self.control_plane.kubeconfig_for("kubeadm-init", ["system:masters"], server=server)
        for phase in (("upload-config", "kubeadm"), ("upload-config", "kubelet"), ("bootstrap-token",)):
            arguments = ["init", "phase", *phase, f"--config={configuration}", f"--kubeconfig={admin}"]
            subprocess.run(  # noqa: S603
                [self._assets["kubeadm"], *arguments], check=True, timeout=120, capture_output=True, text=True
            )
        self.control_plane.apply(DEPLOY / "components" / "kubeadm")

    def domains(self) -> list[str]:
        """Names of the domains that are there, running or not."""
        return self.libvirt.virsh("list", "--all", "--name").split()

    def volumes(self) -> list[str]:
        """Names of the pool's volumes but the image's."""
        self.libvirt.virsh("pool-refresh", self.libvirt.pool)
        listed = [line.split()[0] for line in self.libvirt.virsh("vol-list", self.libvirt.pool).splitlines() if line]
        return sorted(set(listed) - {DISK, KERNEL, INITRD})

    def console(self, machine: str) -> str:
        """What the serial console of a Machine has said so far; empty where there is none."""
        token = self._tokens().get(machine)
        found = sorted(self.libvirt.pool_folder.glob(f"*{token}*console*")) if token else []
        return "".join(path.read_text(errors="replace") for path in found)

    def power_on(self, machine: str) -> str:
        """The line of QEMU's log about the start of a Machine; empty where it never started."""
        logs = (self.libvirt.pool_folder.parent / "log" / "qemu").glob(f"{machine}.*.log")
        return next((line for log in logs for line in log.read_text(errors="replace").splitlines()), "")

    def keep_consoles(self) -> None:
        """Copy all consoles, and the logs of libvirt, to where the logs of a failed run are kept."""
        target = self.control_plane.logs / "libvirt"
        target.mkdir(parents=True, exist_ok=True)
        folder = self.libvirt.pool_folder.parent
        for log in (*folder.rglob("*console*"), *folder.glob("*.log"), *(folder / "log" / "qemu").glob("*.log")):
            with contextlib.suppress(OSError):  # a machine may go at any time
                shutil.copy(log, target / log.name)

    def _tokens(self) -> Mapping[str, str]:
        """Domains are called <machine>.<token>."""
        return dict(name.split(".", 1) for name in self.domains() if "." in name)


def missing(assets: Assets | None) -> str:
    """Why no such cluster can run here, as the reason of a skipped test; empty where it can."""
    if reason := Libvirtd.missing():
        return reason
    if importlib.util.find_spec("libvirt") is None:
        return "the Python package libvirt-python is not installed: run tools/install-libvirt.sh, then `make setup`"
    if netns.current() is None:
        return "needs a network of its own: run it by `make e2e`"
    if assets is None:
        return "the control plane is not built: run `make controlplane`"
    if node_image.located(assets) is None:
        return node_image.missing() or "the node image is not built: run it by `make e2e`"
    return ""


def _put(file: Path, target: Path) -> None:
    """The same file under another name where that is possible: an image is only read, and large."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
