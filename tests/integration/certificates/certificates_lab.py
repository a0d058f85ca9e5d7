"""Machines that were launched and never boot, and whoever holds their tokens: for the tests of this folder."""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from testbed.api import API, Answer
from testbed.certificate_requests import CLIENT, CLIENT_USAGES, key_pem, manifest, new_key, request_pem
from testbed.cluster import Cluster
from testbed.world import World

from nodeset_provider.api.names import TAINT_UNREGISTERED
from nodeset_provider.join.bootstrap_token import BootstrapToken, secret_manifest
from nodeset_provider.join.bootstrap_token import groups as token_groups

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_SECRETS = "/api/v1/namespaces/kube-system/secrets"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Holder:
    """Somebody with credentials, who asks for certificates. What was asked for is told by name."""

    lab: Lab
    api: API

    def asks(
        self,
        pem: bytes,
        *,
        signer: str = CLIENT,
        usages: Sequence[str] = CLIENT_USAGES,
        name: str = "",
        **metadata: Any,
    ) -> Request:
        """Post a request that the API server accepts."""
        answer, name = self.tries(pem, signer=signer, usages=usages, name=name, **metadata)
        assert answer.status == 201, answer
        return Request(self.lab, name)

    def tries(
        self,
        pem: bytes,
        *,
        signer: str = CLIENT,
        usages: Sequence[str] = CLIENT_USAGES,
        name: str = "",
        **metadata: Any,
    ) -> tuple[Answer, str]:
        """Post a request, and what the API server said to it."""
        name = name or f"request-{next(_numbers)}"
        return self.api.create(REQUESTS, manifest(name, pem, signer=signer, usages=usages, **metadata)), name


@dataclass(frozen=True)
class Request:
    """A request that was made."""

    lab: Lab
    name: str

    @property
    def now(self) -> dict[str, Any]:
        """As the API server has it."""
        return self.lab.admin.get(f"{REQUESTS}/{self.name}").body

    @property
    def decision(self) -> dict[str, Any]:
        """The condition Approved or Denied; empty until there is one."""
        conditions = self.now.get("status", {}).get("conditions", [])
        return next((entry for entry in conditions if entry["type"] in {"Approved", "Denied"}), {})

    def wait_decided(self) -> dict[str, Any]:
        """Wait for it."""
        self.lab.world.wait(lambda: bool(self.decision), f"{self.name} is decided", seconds=60)
        return self.decision

    def wait_issued(self) -> x509.Certificate:
        """Wait until it is approved and kube-controller-manager has signed it."""
        decision = self.wait_decided()
        assert decision["type"] == "Approved", decision
        self.lab.world.wait(lambda: "certificate" in self.now["status"], f"{self.name} is signed", seconds=60)
        return x509.load_pem_x509_certificate(base64.b64decode(self.now["status"]["certificate"]))

    def delete(self) -> None:
        """Take it away."""
        assert self.lab.admin.delete(f"{REQUESTS}/{self.name}").status == 200

    def annotate(self, value: str) -> None:
        """Change what may be changed of it."""
        answer = self.lab.admin.patch(f"{REQUESTS}/{self.name}", {"metadata": {"annotations": {"meddled": value}}})
        assert answer.status == 200, answer


@dataclass(frozen=True)
class Victim:
    """A Machine whose machine never boots, so that only the test uses its token."""

    lab: Lab
    name: str

    @property
    def now(self) -> dict[str, Any]:
        """As the API server has it."""
        return self.lab.world.get("machine", self.name)

    @property
    def common_name(self) -> str:
        """Its kubelet's user name."""
        return f"system:node:{self.name}"

    @property
    def token_secret(self) -> dict[str, Any]:
        """The Secret of its bootstrap token; empty where there is none."""
        for secret in self.lab.admin.get(f"{_SECRETS}?fieldSelector=type%3Dbootstrap.kubernetes.io/token").body[
            "items"
        ]:
            groups = base64.b64decode(secret["data"]["auth-extra-groups"]).decode()
            if groups == ",".join(token_groups(self.name)):
                return dict(secret)
        return {}

    @property
    def token(self) -> str:
        """Its bootstrap token."""
        data = self.token_secret["data"]
        return ".".join(base64.b64decode(data[f"token-{part}"]).decode() for part in ("id", "secret"))

    def steal_token(self) -> Holder:
        """Whoever has its bootstrap token."""
        return self.lab.holder(token=self.token)

    def warnings(self, reason: str) -> list[str]:
        """Messages of the Warnings with that reason about it."""
        return [
            event["message"] for event in self.lab.world.warnings("Machine", self.name) if event["reason"] == reason
        ]

    def wait_told(self, reason: str, *words: str) -> str:
        """Wait for a Warning whose message has all the words."""

        def told() -> list[str]:
            return [message for message in self.warnings(reason) if all(word in message for word in words)]

        self.lab.world.wait(lambda: bool(told()), f"{reason} {words} is said of {self.name}", seconds=90)
        return told()[0]

    def becomes_node(self) -> Holder:
        """Its kubelet, with the certificate that it gets; its Node registers, and the Machine with it."""
        key = new_key()
        certificate = self.steal_token().asks(request_pem(self.common_name, key=key)).wait_issued()
        return self.registers(key, certificate)

    def registers(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Holder:
        """Its kubelet, which has that certificate, makes its Node."""
        kubelet = self.lab.holder(key=key_pem(key), certificate=certificate.public_bytes(Encoding.PEM))
        taint = {"key": TAINT_UNREGISTERED, "effect": "NoExecute"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}, "spec": {"taints": [taint]}}
        answer = kubelet.api.create("/api/v1/nodes", node)
        assert answer.status == 201, answer
        self.lab.world.wait(lambda: "nodeRef" in self.now["status"], f"{self.name} has registered", seconds=60)
        return kubelet

    def patch_status(self, status: dict[str, Any]) -> None:
        """Write what the provider would write."""
        answer = self.lab.admin.patch(f"/apis/nodeset.dev/v1alpha1/machines/{self.name}/status", {"status": status})
        assert answer.status == 200, answer


class Lab:
    """A cluster whose provider runs as its ServiceAccount, and NodeSets of machines that never boot."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.world = World(cluster)
        self.cluster = cluster
        self.admin = API(cluster.control_plane.kubeconfig)
        self._folder = folder
        self.world.node_class("small", "small-2", launchTimeoutSeconds=1800)

    def victims(self, name: str, count: int, **node_class: Any) -> list[Victim]:
        """So many launched Machines of a new NodeSet."""
        if node_class:
            self.world.node_class(name, "small-2", **{"launchTimeoutSeconds": 1800, **node_class})
        self.world.node_set(name, name if node_class else "small", replicas=0)
        self.world.fault("bootNever", name, count=10 * count)
        self.world.patch("nodeset", name, {"spec": {"replicas": count}})

        def launched() -> bool:
            machines = self.world.machines(name)
            return len(machines) == count and all("providerID" in machine.get("status", {}) for machine in machines)

        self.world.wait(launched, f"{count} machines of {name} are launched")
        return [Victim(self, machine) for machine in self.world.names(name)]

    def holder(self, *, token: str = "", key: bytes = b"", certificate: bytes = b"") -> Holder:
        """Whoever has that token, or that certificate with its key (PEM)."""
        content = yaml.safe_load(self.cluster.control_plane.kubeconfig.read_text())
        user: dict[str, str] = {"token": token}
        if certificate:
            user = {
                "client-certificate-data": base64.b64encode(certificate).decode(),
                "client-key-data": base64.b64encode(key).decode(),
            }
        content["users"][0]["user"] = user
        path = self._folder / f"kubeconfig-{next(_numbers)}"
        path.write_text(yaml.safe_dump(content))
        return self.holder_of(path)

    def holder_of(self, kubeconfig: Path) -> Holder:
        """Whoever has that file."""
        return Holder(self, API(kubeconfig))

    @contextlib.contextmanager
    def token(self, groups: str, *, expires_in: float = 600, may_ask: bool = False) -> Iterator[Holder]:
        """A token that an administrator made; ``may_ask``: its first group may make requests."""
        token = BootstrapToken(f"t{next(_numbers):05}", "0123456789abcdef")
        expires = datetime.now(UTC) + timedelta(seconds=expires_in)
        body = secret_manifest(token, machine="any", expires=expires)
        body["stringData"]["auth-extra-groups"] = groups
        binding = f"test-{token.id}"
        if may_ask:
            group = groups.partition(",")[0]
            role = "--clusterrole=system:node-bootstrapper"
            self.cluster.kubectl("create", "clusterrolebinding", binding, role, f"--group={group}")
        with self.restored(body):
            yield self.holder(token=token.value)
        if may_ask:
            self.cluster.kubectl("delete", "clusterrolebinding", binding)

    @contextlib.contextmanager
    def restored(self, secret: dict[str, Any]) -> Iterator[None]:
        """That token's Secret is there, whoever took it away."""
        name = secret["metadata"]["name"]
        body = {**secret, "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        assert self.admin.create(_SECRETS, body).status == 201
        try:
            yield
        finally:
            self.admin.delete(f"{_SECRETS}/{name}")

    def events_about(self, request: Request) -> list[dict[str, Any]]:
        """Events whose message names the request."""
        events = self.world.items("events", "--namespace=default")
        return [event for event in events if f"{request.name} " in event["message"]]
