"""The testbed's control plane is a real one, is left without a trace, and does not disturb others."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from testbed.binaries import Assets
from testbed.controlplane import ControlPlane, KubectlError
from testbed.processes import ProcessFailedError, wait_until

POD = """
apiVersion: v1
kind: Pod
metadata: {name: waits}
spec:
  containers: [{name: main, image: any}]
"""


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_scheduler_and_controllers_work(control_plane: ControlPlane, namespace: str) -> None:
    """No node, so the scheduler says that the pod does not fit, and the pod got the ServiceAccount of a controller."""
    control_plane.kubectl("wait", f"-n={namespace}", "serviceaccount/default", "--for=create", "--timeout=30s")
    control_plane.kubectl("create", f"-n={namespace}", "-f-", input=POD)
    control_plane.kubectl("wait", f"-n={namespace}", "pod/waits", "--for=condition=PodScheduled=false", "--timeout=30s")
    pod = json.loads(control_plane.kubectl("get", f"-n={namespace}", "pod/waits", "-ojson"))
    assert "no nodes available" in pod["status"]["conditions"][0]["message"]
    assert pod["spec"]["serviceAccountName"] == "default"


def test_version_is_the_one_of_go_mod(control_plane: ControlPlane) -> None:
    version = json.loads(control_plane.get("/version"))
    assert version["gitVersion"].startswith("v1.")
    assert version["gitVersion"].removeprefix("v").startswith(f"{version['major']}.{version['minor']}.")


def test_users_and_service_accounts_may_do_what_rbac_says(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", f"-n={namespace}", "serviceaccount", "robot")
    control_plane.kubectl(
        "create",
        f"-n={namespace}",
        "rolebinding",
        "robot-reads",
        "--clusterrole=view",
        f"--serviceaccount={namespace}:robot",
    )
    robot = control_plane.kubeconfig_for_service_account(namespace, "robot")
    assert control_plane.kubectl("auth", "can-i", f"-n={namespace}", "list", "pods", kubeconfig=robot) == "yes\n"
    with pytest.raises(KubectlError, match='User "jane" cannot list resource "pods"'):
        control_plane.kubectl("get", "pods", kubeconfig=control_plane.kubeconfig_for("jane", ["developers"]))
    jane = json.loads(
        control_plane.kubectl(
            "auth", "whoami", "-ojson", kubeconfig=control_plane.kubeconfig_for("jane", ["developers"])
        )
    )
    assert jane["status"]["userInfo"]["groups"] == ["developers", "system:authenticated"]


def test_metrics_count_requests(control_plane: ControlPlane, namespace: str) -> None:
    labels = {"resource": "configmaps", "verb": "POST", "code": "201"}
    before = control_plane.metrics().total("apiserver_request_total", **labels)
    control_plane.kubectl("create", f"-n={namespace}", "configmap", "one")
    control_plane.kubectl("create", f"-n={namespace}", "configmap", "two")
    assert control_plane.metrics().total("apiserver_request_total", **labels) >= before + 2


async def test_two_side_by_side_do_not_see_each_other(control_plane: ControlPlane, assets: Assets) -> None:
    async with ControlPlane(assets=assets) as other:
        other.kubectl("create", "namespace", "only-here")
        assert other.server != control_plane.server
        with pytest.raises(KubectlError, match="NotFound"):
            control_plane.kubectl("get", "namespace", "only-here")
        with pytest.raises(KubectlError, match="certificate"):
            other.kubectl("get", "namespaces", f"--server={control_plane.server}")
        pids = list(other.pids.values())
    assert not [pid for pid in pids if _alive(pid)]
    assert not other.folder.exists()


def test_control_plane_that_cannot_start_says_why_and_keeps_its_logs(
    assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    control_plane = ControlPlane(assets=assets, flags={"kube-apiserver": ["--no-such-flag"]})
    with pytest.raises(ProcessFailedError, match=r"kube-apiserver ended with exit code 1(.|\n)*--no-such-flag"):
        control_plane.__enter__()
    assert [path.name for path in control_plane.folder.iterdir()] == ["logs"]
    assert "no-such-flag" in (control_plane.logs / "kube-apiserver.log").read_text()
    assert not control_plane.pids


def test_nothing_outlives_a_killed_parent(assets: Assets, tmp_path: Path) -> None:
    script = """
import json, sys, time
from testbed.controlplane import ControlPlane
with ControlPlane() as control_plane:
    print(json.dumps(control_plane.pids), flush=True)
    time.sleep(600)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "KUBEBUILDER_ASSETS": str(_folder_of(assets, tmp_path))}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        pids = list(json.loads(parent.stdout.readline()).values())
        assert all(_alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(_alive(pid) for pid in pids), timeout=30, what="all processes are gone")


def _folder_of(assets: Assets, tmp_path: Path) -> Path:
    """The programs of this run in one folder, wherever they come from."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name, path in assets.paths.items():
        (folder / name).symlink_to(path)
    return folder
