"""A real Kubernetes control plane for one test run: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

May touch: processes, ports of the loopback interface, a temporary folder. Nothing of it is left when it has stopped,
except the logs of a run that failed. Any number of them run side by side.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import itertools
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from testbed import components, pki
from testbed.binaries import Assets
from testbed.metrics import Metrics
from testbed.ports import HOST, ReservedPort
from testbed.processes import Process
from testbed.service import http_ok

_READY_SECONDS = 90
"""Ready takes 4 s on an idle machine; this is for one that is busy with something else."""


class KubectlError(RuntimeError):
    """kubectl ended with an error; the message is what it said."""


class ControlPlane:
    """``with ControlPlane() as cp:`` or ``async with ControlPlane() as cp:``.

    Attributes:
        folder: temporary folder of this run; other processes of the run may keep their files in it.
        logs: folder of the log files; kept when the run failed (an exception left the ``with``, or ``failed`` was set).
        kubeconfig: of an administrator (``system:masters``).
        server: URL of the API server.
        machine_endpoint: its URL for real machines; the same without ``machines_at``.
        ca: the cluster's CA certificate, PEM.
        failed: set it when something went wrong that no exception tells.

    Args:
        assets: where the programs are; found by `Assets.locate` by default.
        node_lifecycle: without the node lifecycle controller Nodes that nobody plays stay as they are. But only that
            controller takes the not-ready taint off a Node that has become Ready: pods need it.
        machines_at: address of this computer by which real machines reach the API server. It listens everywhere then
            (in a network of the testbed's own, see `testbed.netns`), and trusts only kubelets with a certificate of its
            CA.
        flags: more arguments by program, as ``{"kube-apiserver": ["--v=4"]}``; they win over ours.
    """

    def __init__(
        self,
        *,
        assets: Assets | None = None,
        node_lifecycle: bool = True,
        machines_at: str = "",
        flags: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.assets = assets or Assets.locate()
        self._node_lifecycle = node_lifecycle
        self._machines_at = machines_at
        self._flags = flags or {}
        self.failed = False
        self._processes: list[Process] = []
        self._cleanup = contextlib.ExitStack()
        self._numbers = itertools.count(1)
        self._authority = pki.Authority()

    # --- life ---------------------------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="nodeset-testbed-"))
        self.logs = self.folder / "logs"
        self._cleanup.callback(self._remove_files)
        try:
            self._start()
        except BaseException:
            self.failed = True
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Ctrl-C is not a failure: nobody looks for logs after it.
        self.failed = self.failed or (kind is not None and not issubclass(kind, KeyboardInterrupt))
        self._stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, traceback)

    @property
    def pids(self) -> dict[str, int]:
        """Process id by program name, to account CPU and memory."""
        return {process.name: process.pid for process in self._processes}

    def _start(self) -> None:
        reserved = [self._cleanup.enter_context(contextlib.closing(ReservedPort())) for _ in range(5)]
        self._ports = ports = components.Ports(*(port.number for port in reserved))
        self.server = f"https://{HOST}:{ports.api_server}"
        self.machine_endpoint = f"https://{self._machines_at or HOST}:{ports.api_server}"
        self._write_pki()
        self.kubeconfig = self.kubeconfig_for("admin", ["system:masters"])
        keys = self.folder / "pki"
        etcd = self._launch("etcd", components.etcd(self.folder / "etcd", ports))
        etcd.wait_until(lambda: http_ok(ports.etcd_client, "/health"), timeout=_READY_SECONDS, what="it answered")
        api_server = self._launch(
            "kube-apiserver", components.kube_apiserver(keys, ports, real_machines=bool(self._machines_at))
        )
        api_server.wait_until(
            lambda: self._healthy(ports.api_server, "/readyz"), timeout=_READY_SECONDS, what="it was ready"
        )
        manager = self._launch(
            "kube-controller-manager",
            components.kube_controller_manager(
                keys,
                self.kubeconfig_for("system:kube-controller-manager"),
                ports,
                node_lifecycle=self._node_lifecycle,
            ),
        )
        scheduler = self._launch(
            "kube-scheduler", components.kube_scheduler(keys, self.kubeconfig_for("system:kube-scheduler"), ports)
        )
        # The default ServiceAccount shows that the controllers run; no pod can be made without it.
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        manager.wait_until(
            lambda: self._healthy(ports.api_server, account), timeout=_READY_SECONDS, what="its controllers worked"
        )
        scheduler.wait_until(
            lambda: self._healthy(ports.scheduler, "/healthz"), timeout=_READY_SECONDS, what="it was healthy"
        )

    def _launch(self, name: str, arguments: Sequence[str]) -> Process:
        argv: list[str | Path] = [self.assets[name], *arguments, *self._flags.get(name, [])]
        process = Process(name, argv, log=self.logs / f"{name}.log", cwd=self.folder)
        self._processes.append(process)
        # An API server that is asked nicely waits for its watchers; it has nothing that is worth waiting for.
        self._cleanup.callback(process.stop, 2.0)
        return process

    def _stop(self) -> None:
        self._cleanup.close()
        self._processes.clear()

    def _remove_files(self) -> None:
        if not self.failed:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for entry in self.folder.iterdir():
            if entry != self.logs:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        sys.stderr.write(f"The run failed; its logs are kept in {self.logs}\n")

    # --- identities ---------------------------------------------------------------------------------------------------
    def _write_pki(self) -> None:
        folder = self.folder / "pki"
        folder.mkdir(mode=0o700)
        self._authority.pair.write(folder, "ca")
        self.ca = self._authority.pair.certificate
        names = [*components.SERVER_NAMES, *([self._machines_at] if self._machines_at else [])]
        self._authority.issue("kube-apiserver", hosts=names).write(folder, "server")
        certificate, key = self._authority.issue("admin", organizations=["system:masters"]).write(folder, "admin")
        private, public = pki.signing_key()
        pki.write_private(folder / "service-accounts.key", private)
        (folder / "service-accounts.pub").write_bytes(public)
        self._tls = ssl.create_default_context(cadata=self.ca.decode())
        self._tls.load_cert_chain(certificate, key)

    def issue(self, common_name: str, *, organizations: Sequence[str] = (), hosts: Sequence[str] = ()) -> pki.KeyPair:
        """A certificate of the cluster's CA; with ``hosts`` one that a server can show."""
        return self._authority.issue(common_name, organizations=organizations, hosts=hosts)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = (), *, server: str = "") -> Path:
        """A new kubeconfig file with a client certificate of this user in these groups, for `server` or another URL."""
        pair = self._authority.issue(user, organizations=groups)
        credentials = {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)}
        return self._write_kubeconfig(user, credentials, server=server)

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """A new kubeconfig file with a token of a ServiceAccount that exists (TokenRequest, valid for a day)."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}", "--duration=24h").strip()
        return self._write_kubeconfig(f"{namespace}-{name}", {"token": token})

    def _write_kubeconfig(self, user: str, credentials: Mapping[str, str], *, server: str = "") -> Path:
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "testbed",
                    "cluster": {"server": server or self.server, "certificate-authority-data": _base64(self.ca)},
                }
            ],
            "users": [{"name": user, "user": dict(credentials)}],
            "contexts": [{"name": user, "context": {"cluster": "testbed", "user": user}}],
            "current-context": user,
        }
        slug = re.sub(r"[^A-Za-z0-9]+", "-", user)
        path = self.folder / "kubeconfigs" / f"{slug}-{next(self._numbers)}.yaml"
        path.parent.mkdir(exist_ok=True)
        pki.write_private(path, yaml.safe_dump(content).encode())
        return path

    # --- use ----------------------------------------------------------------------------------------------------------
    def kubectl(
        self,
        *arguments: str | Path,
        input: str | None = None,  # noqa: A002 -- as in subprocess.run
        kubeconfig: Path | None = None,
        timeout: float = 60,
    ) -> str:
        """Run kubectl and say what it wrote. ``kubeconfig`` makes it somebody else than the administrator.

        Raises:
            KubectlError: it ended with an error or took longer than ``timeout`` seconds.
        """
        argv = [
            str(self.assets["kubectl"]),
            f"--kubeconfig={kubeconfig or self.kubeconfig}",
            f"--cache-dir={self.folder / 'kubectl-cache'}",
            *(str(argument) for argument in arguments),
        ]
        try:
            done = subprocess.run(  # noqa: S603
                argv,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env={**os.environ, "KUBECTL_KUBERC": "false"},
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl {' '.join(argv[3:])}: no answer within {timeout:g} s") from None
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(argv[3:])}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, folder: Path) -> None:
        """``kubectl apply -k`` and wait until the API server serves every kind that it defines."""
        applied = self.kubectl("apply", "--server-side", "--force-conflicts", "-k", folder, "--output=name").split()
        definitions = [name for name in applied if name.startswith("customresourcedefinition.")]
        if definitions:
            self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *definitions)

    def get(self, path: str) -> str:
        """GET of a path of the API server as the administrator.

        Raises:
            http.client.HTTPException: any answer but 200.
        """
        status, body = self._request(self._ports.api_server, path)
        if status != http.client.OK:
            raise http.client.HTTPException(f"GET {path}: {status} {body}")
        return body

    def metrics(self) -> Metrics:
        """The API server's metrics now."""
        return Metrics(self.get("/metrics"))

    def _healthy(self, port: int, path: str) -> bool:
        try:
            return self._request(port, path)[0] == http.client.OK
        except OSError:
            return False

    def _request(self, port: int, path: str) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(HOST, port, context=self._tls, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
