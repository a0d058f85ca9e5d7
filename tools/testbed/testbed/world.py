"""Words for what tests and benchmarks do with a running cluster and want to know of it.

May touch: the cluster as its administrator, the cloud's administration. Blocking; starts nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

import grpc
from nodeset_driver_simulated.admin import CloudAdmin
from nodeset_driver_simulated.knobs import Fault, FaultKind

from nodeset_provider.protocol.externalgrpc_pb2_grpc import CloudProviderStub
from testbed.cluster import CREDENTIALS, Cluster
from testbed.metrics import Metrics
from testbed.processes import wait_until
from testbed.provider import NAMESPACE, Provider

T = TypeVar("T")


class World:
    """A running cluster with words for what tests do with it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def cloud(self, question: Callable[[CloudAdmin], Awaitable[T]]) -> T:
        """Ask the cloud's administration."""

        async def ask() -> T:
            async with CloudAdmin(self.cluster.cloud.endpoint, self.cluster.cloud.token) as admin:
                return await question(admin)

        return asyncio.run(ask())

    @cached_property
    def uid(self) -> str:
        """The cluster's identity in the cloud."""
        return str(self.get("namespace", "kube-system")["metadata"]["uid"])

    def alive(self, nodeset: str = "") -> list[str]:
        """Machine names of all that the cloud bills (of one NodeSet), in order; one that has two is there twice."""
        machines = self.cloud(lambda admin: admin.ledger()).machines
        names: list[str] = []
        for key, entry in machines.items():
            cluster, _, name = key.partition("/")
            if cluster == self.uid and (not nodeset or name.rpartition("-")[0] == nodeset):
                names += [name] * entry.alive
        return sorted(names)

    def fault(self, kind: FaultKind, nodeset: str, **details: Any) -> None:
        """Let that go wrong for machines of that NodeSet, as often as ``count`` says (once)."""
        fault = Fault(kind=kind, machine=f"{nodeset}-?????", **details)
        self.cloud(lambda admin: admin.fault(fault))

    def struck(self, nodeset: str) -> bool:
        """Whether all that was to go wrong for that NodeSet has happened; a hang counts from its beginning."""
        faults = self.cloud(lambda admin: admin.faults())
        return not any(fault.machine == f"{nodeset}-?????" for fault in faults.values())

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply objects."""
        self.cluster.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f-",
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}),
        )

    def get(self, *what: str) -> dict[str, Any]:
        """``kubectl get -o json``."""
        answer: dict[str, Any] = json.loads(self.cluster.kubectl("get", *what, "-o", "json"))
        return answer

    def items(self, *what: str) -> list[dict[str, Any]]:
        """The items of ``kubectl get -o json``."""
        found: list[dict[str, Any]] = self.get(*what)["items"]
        return found

    def node_class(self, name: str, instance_type: str, **spec: Any) -> None:
        """A NodeClass of the simulated cloud; what is None is left out."""
        spec = {
            "driver": "simulated",
            "config": {"instanceType": instance_type},
            "credentialsRef": {"namespace": NAMESPACE, "name": CREDENTIALS},
            "launchTimeoutSeconds": 60,
            **spec,
        }
        self.apply(
            {
                "apiVersion": "nodeset.dev/v1alpha1",
                "kind": "NodeClass",
                "metadata": {"name": name},
                "spec": {key: value for key, value in spec.items() if value is not None},
            }
        )

    def node_set(self, name: str, node_class: str, **spec: Any) -> None:
        """A NodeSet."""
        self.apply(
            {
                "apiVersion": "nodeset.dev/v1alpha1",
                "kind": "NodeSet",
                "metadata": {"name": name},
                "spec": {"nodeClassName": node_class, **spec},
            }
        )

    def load(
        self, name: str, *, replicas: int, cpu: str, container: Mapping[str, Any] | None = None, **pod: Any
    ) -> None:
        """A Deployment whose pods ask for that much CPU. ``container``: what it has otherwise than kwok needs."""
        container = {
            "name": "load",
            "image": "registry.k8s.io/pause:3.10",
            "resources": {"requests": {"cpu": cpu, "memory": "100Mi"}},
            **(container or {}),
        }
        labels = {"app": name}
        self.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **pod},
                    },
                },
            }
        )

    def running(self, name: str) -> int:
        """Pods of a load that run."""
        return sum(pod["status"]["phase"] == "Running" for pod in self.items("pods", "-l", f"app={name}"))

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        """A condition of an object; empty where it is not there."""
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == type_), {})

    def replicas(self, name: str) -> int:
        """What a NodeSet is asked for."""
        return int(self.get("nodeset", name)["spec"].get("replicas", 0))

    def ready(self, name: str) -> int:
        """What a NodeSet has."""
        return int(self.get("nodeset", name).get("status", {}).get("readyReplicas", 0))

    def wait(self, condition: Callable[[], bool], what: str, *, seconds: float = 90) -> None:
        """Wait until it holds."""
        wait_until(condition, timeout=seconds, what=what, interval=0.3)

    def machines(self, nodeset: str) -> list[dict[str, Any]]:
        """The Machines of a NodeSet."""
        return self.items("machines", "-l", f"nodeset.dev/nodeset={nodeset}")

    def names(self, nodeset: str) -> list[str]:
        """Their names, in order."""
        return sorted(str(machine["metadata"]["name"]) for machine in self.machines(nodeset))

    def warnings(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Events of type Warning about an object."""
        selector = f"type=Warning,involvedObject.kind={kind},involvedObject.name={name}"
        return self.items("events", "--namespace=default", f"--field-selector={selector}")

    def delete(self, kind: str, *names: str) -> None:
        """Ask for their end, and do not wait for it."""
        self.cluster.kubectl("delete", kind, *names, "--wait=false", "--ignore-not-found")

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> None:
        """A merge patch."""
        self.cluster.kubectl("patch", kind, name, "--type=merge", f"--patch={json.dumps(body)}")

    @contextlib.contextmanager
    def door(self, provider: Provider | None = None) -> Iterator[CloudProviderStub]:
        """The calls of the autoscaler's protocol, to that replica or to the cluster's only one."""
        with grpc.insecure_channel((provider or self.cluster.provider).address) as channel:
            yield CloudProviderStub(channel)

    def metrics_text(self, provider: Provider | None = None) -> str:
        """The metrics of that replica, or of the cluster's only one, as Prometheus reads them."""
        url = (provider or self.cluster.provider).metrics_url
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            return str(answer.read().decode())

    def metrics(self, provider: Provider | None = None) -> Metrics:
        """The same, to be counted."""
        return Metrics(self.metrics_text(provider))

    def leads(self, provider: Provider | None = None) -> bool:
        """Whether that replica says that it holds the Lease."""
        return bool(self.metrics(provider).total("leader_election_master_status"))

    def complete(self, nodeset: str, number: int) -> bool:
        """The set has so many machines, all of them ready, and the cloud bills the same ones and no others."""
        return self.ready(nodeset) == number == len(self.names(nodeset)) and self.alive(nodeset) == self.names(nodeset)

    def made_once(self, nodeset: str) -> bool:
        """Each Machine of the set that there is has had exactly one machine."""
        ledger = self.cloud(lambda admin: admin.ledger())
        return all(ledger.machines[f"{self.uid}/{name}"].made == 1 for name in self.names(nodeset))

    def leftovers(self, nodeset: str) -> dict[str, list[str]]:
        """What is left of a set's machines, anywhere; empty once nothing is."""
        ledger = self.cloud(lambda admin: admin.ledger())
        mine = [entry for entry in ledger.tokens.values() if entry.machine.rpartition("-")[0] == nodeset]
        tokens = self.items("secrets", "--namespace=kube-system", "--field-selector=type=bootstrap.kubernetes.io/token")
        nodes = self.items("nodes", "-l", f"nodeset.dev/nodeset={nodeset}")
        found = {
            "Machines": self.names(nodeset),
            "Nodes": [node["metadata"]["name"] for node in nodes],
            "machines": [entry.machine for entry in mine if entry.alive],
            "disks": [entry.machine for entry in mine if entry.disks],
            "tokens": [secret["metadata"]["name"] for secret in tokens if _is_for(secret, nodeset)],
        }
        return {what: names for what, names in found.items() if names}

    def settled(self) -> bool:
        """Cloud and cluster agree: each machine that is billed has its Machine, each launched Machine its machine."""
        known = sorted(
            machine["metadata"]["name"]
            for machine in self.items("machines")
            if machine.get("status", {}).get("providerID")
        )
        return known == self.alive()

    def never_twice(self) -> bool:
        """No Machine ever had two machines at one time, and no token made two."""
        ledger = self.cloud(lambda admin: admin.ledger())
        return all(entry.most_alive <= 1 for entry in ledger.machines.values()) and all(
            entry.made <= 1 for entry in ledger.tokens.values()
        )


def _is_for(secret: dict[str, Any], nodeset: str) -> bool:
    """Whether it is the bootstrap token of a machine of that set."""
    groups = base64.b64decode(secret["data"]["auth-extra-groups"]).decode().split(",")
    return any(group.rpartition(":")[2].rpartition("-")[0] == nodeset for group in groups)
