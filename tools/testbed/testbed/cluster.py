"""Everything together: control plane, our kinds and accounts, simulated cloud, kubelets played by kwok, provider.

May touch: what its parts touch. Leaving the ``with`` block stops all of it, in reverse order.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.autoscaler import ClusterAutoscaler, StandInAutoscaler, real_autoscaler
from testbed.binaries import TOOLS, Assets
from testbed.controlplane import ControlPlane
from testbed.kwok import Kwok
from testbed.provider import NAMESPACE, SERVICE_ACCOUNT, Provider
from testbed.simulated_cloud import SimulatedCloud

DEPLOY = TOOLS.parent / "deploy"
CREDENTIALS = "simulated-cloud"
"""Name of the Secret with the cloud's endpoint and token, in the provider's namespace: for ``spec.credentialsRef``."""


class Cluster:
    """``with Cluster() as cluster:``.

    Attributes:
        control_plane: etcd, API server, controller-manager, scheduler.
        cloud: the simulated cloud; the Secret `CREDENTIALS` holds its endpoint and token.
        kwok: plays kubelets of machines that have joined.
        provider: runs as the ServiceAccount of deploy/base/access.

    Args:
        control_plane: one that runs already, with our kinds applied or not; it is not stopped. By default a new one.
        assets: see `ControlPlane`.
        cloud_settings: see `SimulatedCloud`.
        provider_configuration: see `Provider`.
        tls: the front door is served with mutual TLS.
        lease_seconds: see `Kwok`.
        kubelets: False lets machines join and then leaves their Nodes alone: no pods run, no leases are renewed.
        start_provider: False leaves it to ``cluster.provider.start()``.
    """

    def __init__(
        self,
        *,
        control_plane: ControlPlane | None = None,
        assets: Assets | None = None,
        cloud_settings: Mapping[str, Any] | None = None,
        provider_configuration: Mapping[str, Any] | None = None,
        tls: bool = False,
        lease_seconds: int = 40,
        kubelets: bool = True,
        start_provider: bool = True,
    ) -> None:
        self._borrowed = control_plane
        self._assets = assets
        self._cloud_settings = cloud_settings
        self._provider_configuration = provider_configuration
        self._tls = tls
        self._lease_seconds = lease_seconds
        self._kubelets = kubelets
        self._start_provider = start_provider
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.control_plane = self._borrowed or stack.enter_context(ControlPlane(assets=self._assets))
            install(self.control_plane)
            folder = Path(tempfile.mkdtemp(prefix="cloud-", dir=self.control_plane.folder))
            self.kwok = Kwok(self.control_plane, lease_seconds=self._lease_seconds)
            if self._kubelets:
                stack.enter_context(self.kwok)
            self.cloud = stack.enter_context(
                SimulatedCloud(folder, self.control_plane.logs, settings=self._cloud_settings)
            )
            grant_credentials(self.control_plane, CREDENTIALS, self.cloud)
            self.provider = Provider(self.control_plane, tls=self._tls, configuration=self._provider_configuration)
            # Registered even when it is not started yet: whoever starts it need not stop it.
            stack.push(self.provider)
            if self._start_provider:
                self.provider.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def kubectl(self, *arguments: str | Path, input: str | None = None, timeout: float = 60) -> str:  # noqa: A002
        """See `ControlPlane.kubectl`."""
        return self.control_plane.kubectl(*arguments, input=input, timeout=timeout)

    def start_autoscaler(
        self, *, binary: Path | None = None, flags: Sequence[str] = ()
    ) -> ClusterAutoscaler | StandInAutoscaler:
        """Start the real one (``binary``, else ``CLUSTER_AUTOSCALER``) or the stand-in; the cluster stops it."""
        binary = binary or real_autoscaler()
        autoscaler: ClusterAutoscaler | StandInAutoscaler = (
            ClusterAutoscaler(self.control_plane, self.provider, binary, flags=flags)
            if binary
            else StandInAutoscaler(self.control_plane, self.provider, flags=flags)
        )
        self._stack.enter_context(autoscaler)
        return autoscaler


def install(control_plane: ControlPlane) -> None:
    """Apply our kinds and accounts; again has no effect."""
    control_plane.apply(DEPLOY / "base" / "crds")
    control_plane.apply(DEPLOY / "base" / "access")


def grant_credentials(control_plane: ControlPlane, name: str, cloud: SimulatedCloud) -> None:
    """Make the Secret of a cloud account, and let the provider read it."""
    grant_secret(control_plane, name, {"endpoint": cloud.endpoint, "token": cloud.token})


def grant_secret(control_plane: ControlPlane, name: str, content: Mapping[str, str]) -> None:
    """Make a Secret for ``spec.credentialsRef``, and let the provider read this one: each is granted by its name."""
    metadata = {"name": name, "namespace": NAMESPACE}
    rbac = "rbac.authorization.k8s.io"
    items: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(content)},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get"]}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}],
        },
    ]
    manifest = {"apiVersion": "v1", "kind": "List", "items": items}
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f-", input=json.dumps(manifest))
