"""The controllers on a real control plane, with machines that really join: what only the real one can show."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nodeset_driver_simulated.admin import CloudAdmin
from nodeset_driver_simulated.knobs import Fault
from nodeset_driver_simulated.wire import Ledger
from testbed.cluster import CREDENTIALS, Cluster
from testbed.provider import NAMESPACE

from nodeset_provider.api.names import TAINT_UNREGISTERED

SECONDS = 90
"""It takes two on an idle machine; this is for one that is busy with something else."""


def until(what: str, holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


class World:
    """A class and a set in a cluster, by short names."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def put(self, *objects: dict[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.cluster.kubectl("apply", "-f-", input=json.dumps(items))

    def node_class(self, name: str, **config: Any) -> dict[str, Any]:
        return {
            "apiVersion": "nodeset.dev/v1alpha1",
            "kind": "NodeClass",
            "metadata": {"name": name},
            "spec": {
                "driver": "simulated",
                "config": {"instanceType": "small-2", "zone": "sim-1a", **config},
                "credentialsRef": {"name": CREDENTIALS, "namespace": NAMESPACE},
            },
        }

    def nodeset(self, name: str, node_class: str, replicas: int, **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": "nodeset.dev/v1alpha1",
            "kind": "NodeSet",
            "metadata": {"name": name},
            "spec": {"nodeClassName": node_class, "replicas": replicas, **spec},
        }

    def get(self, *what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cluster.kubectl("get", *what, "-ojson"))
        return found

    def machines(self, nodeset: str) -> list[dict[str, Any]]:
        return list(self.get("machines", f"-lnodeset.dev/nodeset={nodeset}")["items"])

    def status(self, nodeset: str) -> dict[str, Any]:
        return dict(self.get(f"nodeset/{nodeset}").get("status", {}))

    def ready(self, nodeset: str) -> dict[str, str]:
        conditions = self.status(nodeset).get("conditions", [])
        return next((c for c in conditions if c["type"] == "Ready"), {})

    def wait_ready(self, nodeset: str, replicas: int) -> None:
        def holds() -> bool:
            status = self.status(nodeset)
            return status.get("readyReplicas") == replicas == status.get("replicas")

        until(f"{replicas} of {nodeset} ready, not {self.ready(nodeset)}", holds)

    def wait_gone(self, nodeset: str) -> None:
        until(f"machines of {nodeset} gone", lambda: not self.machines(nodeset))

    def ledger(self) -> Ledger:
        async def ask() -> Ledger:
            async with CloudAdmin(self.cluster.cloud.endpoint, self.cluster.cloud.token) as admin:
                return await admin.ledger()

        return asyncio.run(ask())

    def counts(self, nodeset: str) -> tuple[int, int]:
        """(machines ever made, machines alive) for Machines of that set."""
        entries = [e for key, e in self.ledger().machines.items() if key.split("/")[1].startswith(f"{nodeset}-")]
        return sum(entry.made for entry in entries), sum(entry.alive for entry in entries)

    def fault(self, fault: Fault) -> None:
        async def tell() -> None:
            async with CloudAdmin(self.cluster.cloud.endpoint, self.cluster.cloud.token) as admin:
                await admin.fault(fault)

        asyncio.run(tell())


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[World]:
    world = World(cluster)
    world.put(world.node_class("small"))
    yield world
    cluster.kubectl("delete", "nodesets", "--all", "--wait=false")
    until("every machine gone", lambda: not world.get("machines")["items"])


def test_machine_joins_its_node_is_what_the_template_promised_and_it_goes(world: World) -> None:
    taint = {"key": "dedicated", "value": "join", "effect": "NoSchedule"}
    labels = {"team": "a", "node-role.kubernetes.io/join": ""}
    world.put(world.nodeset("join", "small", 2, taints=[taint], nodeLabels=labels, nodeAnnotations={"by": "test"}))
    world.wait_ready("join", 2)
    template = world.status("join")["template"]
    for machine in world.machines("join"):
        node = world.get(f"node/{machine['status']['nodeRef']['name']}")
        carried = dict(node["metadata"]["labels"])
        assert carried.pop("kubernetes.io/hostname") == node["metadata"]["name"]
        assert carried == template["labels"]
        assert node["metadata"]["annotations"]["by"] == "test"
        assert node["status"]["capacity"] == template["capacity"]
        assert node["status"]["allocatable"] == template["allocatable"]
        assert node["spec"]["providerID"] == machine["status"]["providerID"]
        assert TAINT_UNREGISTERED not in [found["key"] for found in node["spec"]["taints"]]
        assert taint in node["spec"]["taints"]
    tokens = world.get("secrets", "-nkube-system", "--field-selector=type=bootstrap.kubernetes.io/token")
    assert not tokens["items"]
    world.cluster.kubectl("scale", "nodeset/join", "--replicas=0")
    world.wait_gone("join")
    assert not [node for node in world.get("nodes")["items"] if node["metadata"]["name"].startswith("join-")]


def test_class_that_cannot_work_is_told_and_its_repair_noticed(world: World) -> None:
    world.put(world.node_class("wrong", instanceType="no-such-type"), world.nodeset("mended", "wrong", 1))
    until("told", lambda: world.ready("mended").get("reason") == "NodeClassInvalid")
    assert "spec.config.instanceType" in world.ready("mended")["message"]
    assert not world.machines("mended")
    world.put(world.node_class("wrong"))
    world.wait_ready("mended", 1)
    world.cluster.kubectl("delete", "nodeset/mended", "--wait=false")
    world.wait_gone("mended")


def test_type_that_is_out_of_capacity_is_told_at_the_set_and_goes_without_a_trace(world: World) -> None:
    scarce = world.node_class("scarce", instanceType="scarce-4")
    world.put(scarce, world.nodeset("scarce", "scarce", 1, autoscaling={"maxReplicas": 3}))
    until("told", lambda: world.ready("scarce").get("reason") == "InsufficientCapacity")
    machine = world.machines("scarce")[0]
    assert machine["status"]["lastFailure"]["code"] == "InsufficientCapacity"
    patch = {"spec": {"replicas": 0, "removeFirst": [machine["metadata"]["name"]]}}
    world.cluster.kubectl("patch", "nodeset/scarce", "--type=merge", f"--patch={json.dumps(patch)}")
    world.wait_gone("scarce")
    until("pruned", lambda: not world.get("nodeset/scarce")["spec"].get("removeFirst"))


@pytest.mark.parametrize("when", ["before", "after"])
def test_provider_killed_around_create_leaves_one_machine(world: World, when: str) -> None:
    name = f"killed-{when}"
    world.put(world.nodeset(name, "small", 0))
    until("resolved", lambda: "template" in world.status(name))
    world.fault(Fault(kind="hang", operation="create", when=when, seconds=8, machine=f"{name}-*"))
    world.cluster.kubectl("scale", f"nodeset/{name}", "--replicas=1")
    until("launching", lambda: len(world.machines(name)) == 1)
    # The call hangs in the cloud: it has been asked, and has made the machine or is about to.
    secret = ("secrets", "-nkube-system", "--field-selector=type=bootstrap.kubernetes.io/token")
    until("asked", lambda: bool(world.get(*secret)["items"]))
    world.cluster.provider.kill()
    world.cluster.provider.start()
    world.wait_ready(name, 1)
    assert world.counts(name) == (1, 1)
    world.cluster.kubectl("scale", f"nodeset/{name}", "--replicas=0")
    world.wait_gone(name)
    assert world.counts(name) == (1, 0)


def test_deleting_a_set_takes_its_machines_and_their_nodes(world: World) -> None:
    world.put(world.nodeset("whole", "small", 3))
    world.wait_ready("whole", 3)
    world.cluster.kubectl("delete", "nodeset/whole", "--wait=false")
    world.wait_gone("whole")
    assert world.counts("whole") == (3, 0)
    assert not [node for node in world.get("nodes")["items"] if node["metadata"]["name"].startswith("whole-")]
