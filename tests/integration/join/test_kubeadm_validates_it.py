"""kubeadm itself reads the JoinConfiguration, with each way of discovery."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from testbed.binaries import Assets

from nodeset_provider.api.nodeclass import Argument, KubeadmJoin, Patch
from nodeset_provider.join import JoinRequest
from nodeset_provider.join.modes import kubeadm

MakeRequest = Callable[..., JoinRequest]

SETTINGS = KubeadmJoin(
    cri_socket="unix:///run/containerd/containerd.sock",
    kubelet_extra_args=[Argument("v", "4"), Argument("node-ip", "10.0.0.7"), Argument("v", "5")],
    patches=[Patch(target="kubeletconfiguration", content='{"maxOpenFiles": 1000}', type="merge")],
    ignore_preflight_errors=["Swap", "FileContent--proc-sys-net-ipv4-ip_forward"],
)


def said(assets: Assets, folder: Path, content: bytes) -> str:
    """What kubeadm says of it; empty where it is content."""
    path = folder / "join.yaml"
    path.write_bytes(content)
    done = subprocess.run(
        [str(assets["kubeadm"]), "config", "validate", "--config", str(path)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    answer = (done.stdout + done.stderr).decode().strip()
    return "" if (done.returncode, answer) == (0, "ok") else answer


def configuration(make_request: MakeRequest, folder: Path, settings: KubeadmJoin, **join_changes: object) -> bytes:
    """The file, with its paths in ``folder``: kubeadm looks whether the kubeconfig of File discovery is there."""
    request = make_request("Kubeadm", "CloudInit")
    join = msgspec.structs.replace(request.template.join, kubeadm=settings, **join_changes)
    document = kubeadm.document(make_request("Kubeadm", "CloudInit", join=join))
    files = {file.path: file.content for file in document.files}
    (folder / "discovery.yaml").write_bytes(files.get(kubeadm.DISCOVERY, b""))
    return files[kubeadm.CONFIGURATION].replace(kubeadm.DISCOVERY.encode(), bytes(folder / "discovery.yaml"))


@pytest.mark.parametrize("discovery", ["Token", "File"])
@pytest.mark.parametrize("settings", [KubeadmJoin(), SETTINGS], ids=["bare", "full"])
def test_it_takes_every_discovery(
    assets: Assets, make_request: MakeRequest, tmp_path: Path, discovery: str, settings: KubeadmJoin
) -> None:
    chosen = msgspec.structs.replace(settings, discovery=discovery)
    assert said(assets, tmp_path, configuration(make_request, tmp_path, chosen)) == ""


@pytest.mark.parametrize("endpoint", ["https://10.0.0.1", "https://[2001:db8::1]:6443", "https://api.example.org:6443"])
def test_it_takes_every_endpoint(assets: Assets, make_request: MakeRequest, tmp_path: Path, endpoint: str) -> None:
    content = configuration(make_request, tmp_path, KubeadmJoin(), endpoint=endpoint)
    assert said(assets, tmp_path, content) == ""


def test_it_would_complain(assets: Assets, make_request: MakeRequest, tmp_path: Path) -> None:
    content = configuration(make_request, tmp_path, KubeadmJoin())
    assert "unknown field" in said(assets, tmp_path, content.replace(b"criSocket:", b"x:") + b"nodeRegistrations: {}\n")
    assert "token" in said(assets, tmp_path, content.replace(b"  token: ", b"  token: x"))
