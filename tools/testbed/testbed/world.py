"""Words for what tests and benchmarks do with a running cluster and want to know of it.

May touch: the cluster as its administrator, the cloud's administration. Blocking; starts nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from nodeset_driver_simulated.admin import CloudAdmin

from testbed.cluster import CREDENTIALS, Cluster
from testbed.processes import wait_until
from testbed.provider import NAMESPACE

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

    @property
    def uid(self) -> str:
        """The cluster's identity in the cloud."""
        return str(self.get("namespace", "kube-system")["metadata"]["uid"])

    def alive(self) -> list[str]:
        """Machine names of all that the cloud bills, in order."""
        uid = self.uid
        return sorted(instance.machine for instance in self.cloud(lambda admin: admin.instances(uid)))

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
        """A NodeClass of the simulated cloud."""
        self.apply(
            {
                "apiVersion": "nodeset.dev/v1alpha1",
                "kind": "NodeClass",
                "metadata": {"name": name},
                "spec": {
                    "driver": "simulated",
                    "config": {"instanceType": instance_type},
                    "credentialsRef": {"namespace": NAMESPACE, "name": CREDENTIALS},
                    "launchTimeoutSeconds": 60,
                    **spec,
                },
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

    def load(self, name: str, *, replicas: int, cpu: str, **pod: Any) -> None:
        """A Deployment whose pods ask for that much CPU."""
        container = {
            "name": "load",
            "image": "registry.k8s.io/pause:3.10",
            "resources": {"requests": {"cpu": cpu, "memory": "100Mi"}},
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
