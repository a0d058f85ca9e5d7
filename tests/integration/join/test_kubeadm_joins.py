"""kubeadm joins a real control plane as far as a dry run goes: discovery, what it reads with the token, the patch.

The roles are those of deploy/components/kubeadm and no others. A dry run writes into a folder that it is given; where
it may not read something it goes on with made-up objects, so the tests look for what only the cluster's own say.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed.cluster import DEPLOY
from testbed.controlplane import ControlPlane

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.meta import Taint
from nodeset_provider.api.nodeclass import Join, KubeadmJoin, KubeletSettings, Patch
from nodeset_provider.join import BootstrapToken, ClusterAccess, JoinRequest
from nodeset_provider.join import bootstrap_token as tokens
from nodeset_provider.join.modes import kubeadm

COMPONENT = DEPLOY / "components" / "kubeadm" / "join.yaml"
RBAC = "rbac.authorization.k8s.io"


def token(number: int) -> BootstrapToken:
    return tokens.derive(b"k" * tokens.KEY_BYTES, "11111111-2222-3333-4444-555555555555", number)


def component() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(COMPONENT.read_text()))


def config_map(name: str, namespace: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def as_kubeadm_leaves_it(access: ClusterAccess) -> list[dict[str, Any]]:
    """What ``kubeadm init`` leaves in a cluster, as far as a worker's join needs it."""
    authority = base64.b64encode(access.ca_bundle).decode()
    cluster = {"name": "", "cluster": {"server": access.endpoint, "certificate-authority-data": authority}}
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "maxOpenFiles": 4321,
        "kubeReserved": {"pid": "7"},
        "evictionHard": {"memory.available": "1Gi"},
    }
    of_cluster = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "kubernetesVersion": "v1.36.1",
        "controlPlaneEndpoint": access.endpoint.removeprefix("https://"),
    }
    reader = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"]}
    metadata = {"name": "kubeadm:bootstrap-signer-clusterinfo", "namespace": "kube-public"}
    return [
        config_map("cluster-info", "kube-public", kubeconfig=json.dumps({"clusters": [cluster]})),
        config_map("kubeadm-config", "kube-system", ClusterConfiguration=json.dumps(of_cluster)),
        config_map("kubelet-config", "kube-system", kubelet=json.dumps(kubelet)),
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [reader]},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": metadata["name"]},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "system:anonymous"}],
        },
    ]


@pytest.fixture(scope="module")
def access(control_plane: ControlPlane) -> ClusterAccess:
    cluster = yaml.safe_load(control_plane.kubeconfig.read_text())["clusters"][0]["cluster"]
    return ClusterAccess(endpoint=cluster["server"], ca_bundle=base64.b64decode(cluster["certificate-authority-data"]))


@pytest.fixture(scope="module")
def made_with_kubeadm(control_plane: ControlPlane, access: ClusterAccess) -> Iterator[None]:
    """The cluster with all that, and with a token for each discovery; gone afterwards."""
    expires = datetime.now(UTC) + timedelta(minutes=10)
    secrets = [
        tokens.secret_manifest(token(number), machine="big-1", expires=expires, signs_cluster_info=signs)
        for number, signs in ((1, True), (2, False))
    ]
    objects = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [*as_kubeadm_leaves_it(access), *component(), *secrets]}
    )
    control_plane.kubectl("apply", "-f", "-", input=objects)
    yield
    control_plane.kubectl("delete", "-f", "-", input=objects)


def dry_run(control_plane: ControlPlane, access: ClusterAccess, folder: Path, discovery: str) -> str:
    """What kubeadm says of a join with that discovery; what it would write is in ``folder/written``."""
    template = MachineTemplate(
        driver="any",
        node_class_name="big",
        labels={"team": "data", "node-role.kubernetes.io/worker": ""},
        taints=[Taint(key="dedicated", value="88e123", effect="NoSchedule")],
        join=Join(
            mode="Kubeadm",
            kubelet=KubeletSettings(max_pods=42, kube_reserved={"cpu": "100m"}),
            kubeadm=KubeadmJoin(
                discovery="File" if discovery == "File" else "Token",
                cri_socket="unix:///run/containerd/containerd.sock",
                patches=[Patch(target="kubeletconfiguration", content='{"registryBurst": 20}', type="merge")],
                ignore_preflight_errors=["all"],
            ),
        ),
        launch_timeout_seconds=30,
    )
    request = JoinRequest(
        cluster=access,
        template=template,
        node_name="big-1",
        token=token(2 if discovery == "File" else 1),
        provider_id="any://1",
    )
    ours = str(Path(kubeadm.CONFIGURATION).parent).encode()
    for file in kubeadm.document(request).files:
        path = folder / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content.replace(ours, bytes(folder) + ours))
    written = folder / "written"
    written.mkdir()
    done = subprocess.run(
        [
            str(control_plane.assets["kubeadm"]),
            "join",
            "--dry-run",
            "-v=1",
            f"--config={folder}{kubeadm.CONFIGURATION}",
        ],
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "KUBEADM_JOIN_DRYRUN_DIR": str(written)},
    )
    said = (done.stdout + done.stderr).decode()
    return said if done.returncode == 0 else f"exit code {done.returncode}\n{said}"


@pytest.mark.usefixtures("made_with_kubeadm")
@pytest.mark.parametrize("discovery", ["Token", "File"])
def test_it_joins_with_the_roles_of_the_component_only(
    control_plane: ControlPlane, access: ClusterAccess, tmp_path: Path, discovery: str
) -> None:
    said = dry_run(control_plane, access, tmp_path, discovery)
    assert "This node has joined the cluster" in said, said
    if discovery == "Token":
        assert "TLS certificate validates against pinned roots" in said
    written = yaml.safe_load((tmp_path / "written" / "config.yaml").read_text())
    assert written["maxOpenFiles"] == 4321, "kubeadm could not read the cluster's kubelet-config"
    assert written["kubeReserved"] == {"cpu": "100m"}
    assert written["evictionHard"]["memory.available"] == "100Mi"
    assert (written["maxPods"], written["registryBurst"], written["providerID"]) == (42, 20, "any://1")
    flags = (tmp_path / "written" / "kubeadm-flags.env").read_text()
    assert "--hostname-override=big-1" in flags
    assert "--node-labels=team=data" in flags
    assert "nodeset-unregistered:NoExecute,dedicated=88e123:NoSchedule" in flags


@pytest.mark.usefixtures("made_with_kubeadm")
def test_it_does_not_trust_another_ca(
    control_plane: ControlPlane, access: ClusterAccess, authority: str, tmp_path: Path
) -> None:
    stranger = replace(access, ca_bundle=authority.encode())
    assert "none of the public keys" in dry_run(control_plane, stranger, tmp_path, "Token")
