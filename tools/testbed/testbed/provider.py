"""``nodeset-provider serve`` as a process, with an account of the cluster: to be asked, killed and started again.

May touch: one process, its configuration file, the loopback interface.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from testbed.controlplane import ControlPlane
from testbed.ports import HOST, ClaimedPort
from testbed.service import Service, http_ok

NAMESPACE = "nodeset-provider"
SERVICE_ACCOUNT = "nodeset-provider"
"""As deploy/base/access makes them."""

_SHORT_LEASE = {"leaseDurationSeconds": 6, "renewDeadlineSeconds": 4, "retryPeriodSeconds": 1}
"""Another replica leads within seconds, and a busy machine does not lose the Lease."""


class Provider(Service):
    """``with Provider(control_plane) as provider:``; `start` after `stop` or `kill` uses the same addresses.

    Attributes:
        address: ``host:port`` of the gRPC front door, plaintext, or mutual TLS with ``tls``.
        metrics_url: of its Prometheus metrics.
        client_certificate: with ``tls``, folder with ``ca.crt``, ``client.crt`` and ``client.key`` for its clients.

    Args:
        control_plane: whose API server it works on; CRDs and accounts have been applied.
        name: of the process and its log; give the second of two replicas another one.
        kubeconfig: whom it acts as; by default the ServiceAccount of deploy/base/access.
        tls: serve with certificates of the cluster's CA, and ask clients for one.
        configuration: merged over what is needed here, section by section.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        *,
        name: str = "provider",
        kubeconfig: Path | None = None,
        tls: bool = False,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, folder=control_plane.folder, logs=control_plane.logs)
        self._kubeconfig = kubeconfig or control_plane.kubeconfig_for_service_account(NAMESPACE, SERVICE_ACCOUNT)
        self._grpc, self._http = ClaimedPort(), ClaimedPort()
        self.address = f"{HOST}:{self._grpc.number}"
        self.metrics_url = f"http://{HOST}:{self._http.number}/metrics"
        self._tls = tls
        self.client_certificate = control_plane.folder / f"{name}-tls"
        content: dict[str, Any] = {
            "kubeconfig": str(self._kubeconfig),
            "namespace": NAMESPACE,
            "grpc": {"listen": self.address, **(self._tls_files(control_plane) if tls else {})},
            "http": {"listen": f"{HOST}:{self._http.number}"},
            # With the same identity the next life need not wait until the Lease of the one before has run out.
            "leaderElection": {"identity": name, **_SHORT_LEASE},
        }
        for key, value in (configuration or {}).items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, Mapping) else value
        self._configuration = control_plane.folder / f"{name}.yaml"
        self._configuration.write_text(yaml.safe_dump(content))

    @property
    def client_options(self) -> dict[str, str]:
        """How a client reaches the front door, in the words of the autoscaler's cloud-config."""
        folder = self.client_certificate
        files = {"cacert": folder / "ca.crt", "cert": folder / "client.crt", "key": folder / "client.key"}
        return {"address": self.address, **({name: str(path) for name, path in files.items()} if self._tls else {})}

    def _tls_files(self, control_plane: ControlPlane) -> dict[str, Any]:
        folder = self.client_certificate
        folder.mkdir()
        (folder / "ca.crt").write_bytes(control_plane.ca)
        certificate, key = control_plane.issue("nodeset-provider", hosts=[HOST]).write(folder, "server")
        control_plane.issue("cluster-autoscaler").write(folder, "client")
        return {"certFile": str(certificate), "keyFile": str(key), "clientCAFile": str(folder / "ca.crt")}

    def _argv(self) -> Sequence[str | Path]:
        return [Path(sys.executable).with_name("nodeset-provider"), "serve", f"--config={self._configuration}"]

    def _ready(self) -> bool:
        return http_ok(self._http.number, "/readyz")
