"""What the autoscaler is promised is what joins: the template of a NodeSet beside the Node of its first machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from testbed.world import World

from nodeset_provider.api.names import TAINT_UNREGISTERED
from nodeset_provider.api.quantity import parse_quantity
from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb

STARTUP = "startup-taint.cluster-autoscaler.kubernetes.io/network"
JOIN = {
    "kubelet": {
        "maxPods": 42,
        "kubeReserved": {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi", "pid": "1000"},
        "systemReserved": {"cpu": "50m", "memory": "100M"},
        "evictionHard": {"memory.available": "5%", "nodefs.available": "7%", "imagefs.available": "10%"},
    }
}
SPEC = {
    "autoscaling": {"maxReplicas": 3},
    "nodeLabels": {"team": "blue", "node-role.kubernetes.io/worker": "", "tier": "set"},
    "nodeAnnotations": {"example.com/note": 'hello: "world"'},
    "taints": [
        {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"},
        {"key": "soft", "effect": "PreferNoSchedule"},
    ],
    "startupTaints": [{"key": STARTUP, "effect": "NoSchedule"}],
}


@pytest.fixture(scope="module")
def world(shared: World) -> World:
    return shared


def promised(world: World, name: str) -> core_pb2.Node:
    with world.door() as door:
        answer = door.NodeGroupTemplateNodeInfo(pb.NodeGroupTemplateNodeInfoRequest(id=name), timeout=10)
    return core_pb2.Node.FromString(answer.nodeBytes)


def amounts(resources: Mapping[str, Any]) -> dict[str, Decimal]:
    """Compared as quantities: 4096Mi is 4Gi."""
    return {
        name: parse_quantity(value if isinstance(value, str) else value.string) for name, value in resources.items()
    }


def taints(items: Iterable[Any]) -> set[tuple[str, str, str]]:
    return {
        (item["key"], item.get("value", ""), item["effect"])
        if isinstance(item, dict)
        else (item.key, item.value, item.effect)
        for item in items
    }


def who_set_the_provider_id(world: World, node: str) -> list[str]:
    fields = world.get("node", node, "--show-managed-fields")["metadata"]["managedFields"]
    return [entry["manager"] for entry in fields if "f:providerID" in entry["fieldsV1"].get("f:spec", {})]


@pytest.mark.parametrize(
    ("instance_type", "config"),
    [
        pytest.param("gpu-1", {}, id="gpu-one-zone"),
        pytest.param("gpu-1", {"assignedID": True}, id="gpu-assigned-id"),
        pytest.param("arm-4", {"zone": "sim-1c"}, id="arm-chosen-zone"),
        pytest.param("big-8", {"zone": "sim-1b", "assignedID": True}, id="chosen-zone-assigned-id"),
    ],
)
def test_template_equals_the_node_that_joins(
    world: World, instance_type: str, config: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    world.node_class(
        name,
        instance_type,
        config={"instanceType": instance_type, **config},
        join=JOIN,
        nodeLabels={"tier": "class", "example.com/rack": "r1", "topology.kubernetes.io/rack": "r1"},
    )
    world.node_set(name, name, **SPEC)
    world.wait(lambda: "template" in world.get("nodeset", name).get("status", {}), "it has a template")
    template = promised(world, name)
    world.cluster.kubectl("scale", "nodeset", name, "--replicas=1")
    world.wait(lambda: registered(world, name), "its first machine has registered")
    # Devices show once their plug-ins have started, the not-ready taint goes once the Node is Ready.
    world.wait(lambda: not system_taints(world, name) and ready(world, name), "its kubelet is done")
    node = world.get("node", world.names(name)[0])

    labels = dict(node["metadata"]["labels"])
    assert labels.pop("kubernetes.io/hostname") == node["metadata"]["name"]
    assert dict(template.metadata.labels) == labels
    assert labels["tier"] == "set"
    assert ("nodeset.dev/gpu" in labels) == (instance_type == "gpu-1")
    assert labels["topology.kubernetes.io/zone"] == config.get("zone", "sim-1a")
    assert dict(template.metadata.annotations).items() <= node["metadata"]["annotations"].items()
    assert template.metadata.annotations
    assert taints(template.spec.taints) == taints(node["spec"]["taints"])
    assert TAINT_UNREGISTERED not in {key for key, _, _ in taints(node["spec"]["taints"])}
    assert amounts(template.status.capacity) == amounts(node["status"]["capacity"])
    assert amounts(template.status.allocatable) == amounts(node["status"]["allocatable"])
    assert template.status.allocatable["pods"].string == "42"
    assert template.status.allocatable["memory"] != template.status.capacity["memory"]

    provider_id = world.machines(name)[0]["status"]["providerID"]
    assert node["spec"]["providerID"] == provider_id
    setter = who_set_the_provider_id(world, node["metadata"]["name"])
    kubelet = who_registered(world, node["metadata"]["name"])
    assert (setter == [kubelet]) == (not config.get("assignedID")), "by the kubelet where it can know it, else by us"
    assert len(setter) == 1

    assert world.condition("machine", node["metadata"]["name"], "Initialized").get("status") != "True"
    world.cluster.kubectl("taint", "node", node["metadata"]["name"], f"{STARTUP}-")
    world.wait(lambda: world.complete(name, 1), "it is initialized once its startup taint is gone")
    world.delete("nodeset", name)


def registered(world: World, name: str) -> bool:
    return any(
        world.condition("machine", machine, "Registered").get("status") == "True" for machine in world.names(name)
    )


def system_taints(world: World, name: str) -> list[str]:
    node = world.get("node", world.names(name)[0])
    return [taint["key"] for taint in node["spec"].get("taints", []) if taint["key"].startswith("node.kubernetes.io/")]


def ready(world: World, name: str) -> bool:
    return world.condition("node", world.names(name)[0], "Ready").get("status") == "True"


def who_registered(world: World, node: str) -> str:
    """The field manager that made the Node: whoever set the host name."""
    fields = world.get("node", node, "--show-managed-fields")["metadata"]["managedFields"]
    return next(
        entry["manager"]
        for entry in fields
        if "f:kubernetes.io/hostname" in entry["fieldsV1"].get("f:metadata", {}).get("f:labels", {})
    )
