"""In a cluster that kubeadm made, ``kubeadm join`` reads what it needs with a token of ours, which approves nothing.

kubeadm itself makes its Roles and ConfigMaps here, and runs the part of the join that only reads (phase ``preflight``):
it finds cluster-info signed with the token, and reads kubeadm-config, kubelet-config and kube-proxy.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from testbed.api import API
from testbed.binaries import Assets
from testbed.certificate_requests import manifest, request_pem
from testbed.cluster import DEPLOY, install
from testbed.controlplane import ControlPlane
from testbed.processes import wait_until

from nodeset_provider.api.names import BOOTSTRAP_GROUP
from nodeset_provider.join.bootstrap_token import BootstrapToken, secret_manifest

KUBEADM = "kubeadm.k8s.io/v1beta4"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_numbers = itertools.count(1)


class KubeadmCluster:
    """A control plane with all that ``kubeadm init`` leaves in the API server."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self.endpoint = control_plane.server.removeprefix("https://")
        self._kubeadm = control_plane.assets["kubeadm"]
        self._folder = control_plane.folder / "kubeadm"
        self._folder.mkdir()

    def init(self) -> None:
        """The phases that write to the API server only."""
        documents: list[dict[str, Any]] = [
            {
                "kind": "InitConfiguration",
                "localAPIEndpoint": {"advertiseAddress": "192.0.2.1"},
                "nodeRegistration": {"name": "control-plane", "criSocket": "unix:///nowhere"},
            },
            {
                "kind": "ClusterConfiguration",
                "kubernetesVersion": "v1.36.1",
                "controlPlaneEndpoint": self.endpoint,
                "certificatesDir": str(self.control_plane.folder / "pki"),
            },
        ]
        configuration = self._write("init.yaml", *documents)
        for phase in ("upload-config kubeadm", "upload-config kubelet", "bootstrap-token", "addon kube-proxy"):
            kubeconfig = f"--kubeconfig={self.control_plane.kubeconfig}"
            done = self._run("init", "phase", *phase.split(), f"--config={configuration}", kubeconfig)
            assert done.returncode == 0, (phase, done.stderr)

    def make_token(self, *, groups: str = "", signs_cluster_info: bool = True) -> BootstrapToken:
        """A token as the provider makes them, or one in other groups."""
        token = BootstrapToken(f"{next(_numbers):06}", "7890123456789012")
        expires = datetime.now(UTC) + timedelta(minutes=30)
        body = secret_manifest(token, machine="web-1", expires=expires, signs_cluster_info=signs_cluster_info)
        if groups:
            body["stringData"]["auth-extra-groups"] = groups
        self.control_plane.kubectl("create", "-f-", input=json.dumps(body))
        return token

    def join(self, token: BootstrapToken) -> subprocess.CompletedProcess[str]:
        """``kubeadm join`` up to the point where it would write to the machine."""
        authority = x509.load_pem_x509_certificate(self.control_plane.ca).public_key()
        der = authority.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        discovery = {
            "apiServerEndpoint": self.endpoint,
            "token": token.value,
            "caCertHashes": [f"sha256:{hashlib.sha256(der).hexdigest()}"],
        }
        registration = {"name": "web-1", "criSocket": "unix:///nowhere", "ignorePreflightErrors": ["all"]}
        document = {
            "kind": "JoinConfiguration",
            "caCertPath": str(self._folder / "ca.crt"),
            "discovery": {"bootstrapToken": discovery},
            "nodeRegistration": registration,
            "timeouts": {"discovery": "10s", "kubernetesAPICall": "10s"},
        }
        configuration = self._write(f"join-{next(_numbers)}.yaml", document)
        return self._run("join", "phase", "preflight", f"--config={configuration}", "-v=1")

    def asks(self, token: BootstrapToken, common_name: str) -> str:
        """Whoever has the token asks for a client certificate; name of the request."""
        content = yaml.safe_load(self.control_plane.kubeconfig.read_text())
        content["users"][0]["user"] = {"token": token.value}
        kubeconfig = self._folder / f"kubeconfig-{next(_numbers)}"
        kubeconfig.write_text(yaml.safe_dump(content))
        name = f"request-{next(_numbers)}"
        answer = API(kubeconfig).create(REQUESTS, manifest(name, request_pem(common_name)))
        assert answer.status == 201, answer
        return name

    def conditions(self, request: str) -> list[str]:
        """What was decided about it."""
        body = API(self.control_plane.kubeconfig).get(f"{REQUESTS}/{request}").body
        return [condition["type"] for condition in body["status"].get("conditions", [])]

    def _write(self, name: str, *documents: dict[str, Any]) -> Path:
        path = self._folder / name
        path.write_text(yaml.safe_dump_all([{"apiVersion": KUBEADM, **document} for document in documents]))
        return path

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [str(self._kubeadm), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def bare(assets: Assets) -> Iterator[KubeadmCluster]:
    """kubeadm's cluster with deploy/base/access, without the component."""
    with ControlPlane(assets=assets, flags={"kube-apiserver": ["--allow-privileged=true"]}) as control_plane:
        cluster = KubeadmCluster(control_plane)
        cluster.init()
        install(control_plane)
        yield cluster


@pytest.fixture
def cluster(bare: KubeadmCluster) -> Iterator[KubeadmCluster]:
    """With the component."""
    folder = DEPLOY / "components" / "kubeadm"
    bare.control_plane.apply(folder)
    yield bare
    bare.control_plane.kubectl("delete", "-k", folder)


def test_without_the_component_kubeadm_is_refused_what_it_reads(bare: KubeadmCluster) -> None:
    done = bare.join(bare.make_token())
    assert done.returncode != 0
    assert 'configmaps "kubeadm-config" is forbidden' in done.stderr


def test_kubeadm_join_reads_all_that_it_needs_with_a_token_of_ours(cluster: KubeadmCluster) -> None:
    done = cluster.join(cluster.make_token())
    assert done.returncode == 0, done.stderr
    assert "forbidden" not in (done.stdout + done.stderr).lower()
    assert "Cluster info signature and contents are valid" in done.stderr
    assert _allowed(cluster, {"verb": "get", "resource": "nodes", "name": "web-1"}), "phase kubelet-start looks for it"


def test_a_token_that_does_not_sign_cluster_info_is_no_token_for_discovery(cluster: KubeadmCluster) -> None:
    done = cluster.join(cluster.make_token(signs_cluster_info=False))
    assert done.returncode != 0
    assert "could not find a JWS signature in the cluster-info ConfigMap" in done.stderr


@pytest.mark.parametrize(
    ("verb", "resource", "namespace", "name"),
    [
        pytest.param("list", "configmaps", "kube-system", "", id="list-configmaps"),
        pytest.param("get", "configmaps", "kube-system", "extension-apiserver-authentication", id="another-configmap"),
        pytest.param("get", "secrets", "kube-system", "kubeadm-certs", id="kubeadms-certificates"),
        pytest.param("list", "nodes", "", "", id="list-nodes"),
        pytest.param("create", "nodes", "", "", id="make-a-node"),
    ],
)
def test_a_token_of_ours_reads_nothing_else(
    cluster: KubeadmCluster, verb: str, resource: str, namespace: str, name: str
) -> None:
    attributes = {"verb": verb, "resource": resource, "namespace": namespace, "name": name}
    assert not _allowed(cluster, attributes)


def test_the_controller_manager_approves_any_name_for_kubeadms_own_tokens_and_none_for_ours(
    cluster: KubeadmCluster,
) -> None:
    """Why our machines are in a group of their own; no provider runs here."""
    nodeclient = {
        "verb": "create",
        "group": "certificates.k8s.io",
        "resource": "certificatesigningrequests",
        "subresource": "nodeclient",
    }
    assert not _allowed(cluster, nodeclient)
    ours = cluster.asks(cluster.make_token(), "system:node:web-1")
    theirs = cluster.asks(
        cluster.make_token(groups="system:bootstrappers:kubeadm:default-node-token"), "system:node:anybody"
    )
    wait_until(lambda: cluster.conditions(theirs) == ["Approved"], timeout=60, what="kubeadm's own is approved")
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert cluster.conditions(ours) == []
        time.sleep(0.2)


def _allowed(cluster: KubeadmCluster, attributes: dict[str, str]) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "system:bootstrap:000001",
            "groups": ["system:bootstrappers", BOOTSTRAP_GROUP, f"{BOOTSTRAP_GROUP}:web-1", "system:authenticated"],
            "resourceAttributes": attributes,
        },
    }
    answer = API(cluster.control_plane.kubeconfig).create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.status == 201, answer
    allowed: bool = answer.body["status"]["allowed"]
    return allowed
