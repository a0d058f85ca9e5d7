"""The command lines of a control plane's programs. Pure: paths and ports in, arguments out.

Every port is shared by SO_REUSEPORT with the socket that reserves it (`testbed.ports.ReservedPort`), so that no
other program can get it between the choice and the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed.ports import HOST

SERVER_NAMES = (HOST, "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
"""Names and addresses in the API server's certificate."""

_CLIENT_RATE = ("--kube-api-qps=1000", "--kube-api-burst=2000")
"""The default of 20 requests a second would make CSR signing and scheduling the slow part of every measurement."""


@dataclass(frozen=True, slots=True)
class Ports:
    """One port for each listener."""

    etcd_client: int
    etcd_peer: int
    api_server: int
    controller_manager: int
    scheduler: int


def etcd(data: Path, ports: Ports) -> list[str]:
    """No fsync: nobody needs the data after a crash of the machine."""
    client, peer = f"http://{HOST}:{ports.etcd_client}", f"http://{HOST}:{ports.etcd_peer}"
    return [
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--socket-reuse-port=true",
        "--unsafe-no-fsync",
        f"--quota-backend-bytes={8 << 30}",
        "--log-level=warn",
    ]


def kube_apiserver(pki: Path, ports: Ports, *, real_machines: bool = False) -> list[str]:
    """Node authorizer, NodeRestriction and bootstrap tokens as in production; nothing that needs a network.

    ``real_machines``: these reach it by another address than ours, and it reaches their kubelets, whose certificates it
    checks.
    """
    return [
        f"--etcd-servers=http://{HOST}:{ports.etcd_client}",
        *([f"--bind-address={HOST}"] if not real_machines else _real_machines(pki)),
        f"--advertise-address={HOST}",
        "--endpoint-reconciler-type=none",
        f"--secure-port={ports.api_server}",
        "--permit-port-sharing=true",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'server.crt'}",
        f"--tls-private-key-file={pki / 'server.key'}",
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-bootstrap-token-auth=true",
        "--max-requests-inflight=2000",
        "--max-mutating-requests-inflight=1000",
        "--profiling=false",
    ]


def _real_machines(pki: Path) -> list[str]:
    """Kubelets are reached by address: no DNS knows their names."""
    return [
        "--bind-address=0.0.0.0",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
    ]


def kube_controller_manager(pki: Path, kubeconfig: Path, ports: Ports, *, node_lifecycle: bool) -> list[str]:
    """Signs the certificates of kubelets, removes the not-ready taint of Ready nodes, deletes expired tokens."""
    controllers = ["*", "bootstrapsigner", "tokencleaner", *([] if node_lifecycle else ["-node-lifecycle-controller"])]
    return [
        *_client(kubeconfig, pki, ports.controller_manager),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        f"--controllers={','.join(controllers)}",
    ]


def kube_scheduler(pki: Path, kubeconfig: Path, ports: Ports) -> list[str]:
    """The default scheduler."""
    return _client(kubeconfig, pki, ports.scheduler)


def _client(kubeconfig: Path, pki: Path, port: int) -> list[str]:
    """What every component has that is a client of the API server."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={HOST}",
        f"--secure-port={port}",
        "--permit-port-sharing=true",
        f"--tls-cert-file={pki / 'server.crt'}",
        f"--tls-private-key-file={pki / 'server.key'}",
        "--leader-elect=false",
        "--profiling=false",
        *_CLIENT_RATE,
    ]
