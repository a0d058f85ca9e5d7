"""Nodes made with kubectl: each gets a machine that joins as it, on a real control plane with its node lifecycle on.

The Nodes carry kwok's annotation from their birth, as the simulated machines' own do: kwok does not look at a change of
it. It plays nothing before a kubelet has posted its first status.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from testbed.world import World

from nodeset_provider.protocol import externalgrpc_pb2 as pb

KWOK = {"kwok.x-k8s.io/node": "fake"}
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
UNINITIALIZED = "startup-taint.cluster-autoscaler.kubernetes.io/nodeset-uninitialized"
REGISTRATIONS = ("Adopt", "Handover")
UNREACHABLE_SECONDS = 120


@pytest.fixture(scope="module")
def world(shared: World) -> World:
    for registration in REGISTRATIONS:
        shared.node_class(registration.lower(), "small-2", registration=registration, launchTimeoutSeconds=300)
    return shared


def node_yaml(
    name: str, node_class: str = "adopt", *, key: str = "nodeset.dev/node-class", **more: Any
) -> dict[str, Any]:
    """What a person writes."""
    metadata = {"name": name, "annotations": {key: node_class, **more.pop("annotations", KWOK)}}
    if "labels" in more:
        metadata["labels"] = more.pop("labels")
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, **more}


def create(world: World, *nodes: dict[str, Any]) -> str:
    """``kubectl create -f node.yaml``; the UIDs of what was made, with blanks between them."""
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(nodes)})
    return world.cluster.kubectl("create", "-f-", "-o=jsonpath={.metadata.uid} ", input=manifest).strip()


def found(world: World, kind: str, name: str) -> dict[str, Any]:
    """The object, empty where there is none."""
    text = world.cluster.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
    answer: dict[str, Any] = json.loads(text) if text else {}
    return answer


def ready(world: World, name: str) -> bool:
    """Its machine has joined and its Node takes pods."""
    machine = found(world, "machine", name)
    return bool(machine) and world.condition("machine", name, "Initialized").get("status") == "True"


def joined(world: World, name: str) -> dict[str, Any]:
    """The Node once its machine has joined as it."""
    world.wait(lambda: ready(world, name), f"a machine joined as {name}")
    node = found(world, "node", name)
    machine = found(world, "machine", name)
    assert node["spec"]["providerID"] == machine["status"]["providerID"]
    assert machine["status"]["nodeRef"]["uid"] == node["metadata"]["uid"]
    assert UNINITIALIZED not in taints(node)
    assert EXCLUDE not in node["metadata"]["labels"]
    return node


def taints(node: dict[str, Any]) -> set[str]:
    return {taint["key"] for taint in node["spec"].get("taints", [])}


def runs_a_pod(world: World, name: str, **pod: Any) -> None:
    """One that asks for this very Node."""
    world.load(f"on-{name}", replicas=1, cpu="100m", nodeSelector={"kubernetes.io/hostname": name}, **pod)
    world.wait(lambda: world.running(f"on-{name}") == 1, f"a pod runs on {name}")
    world.delete("deployment", f"on-{name}")


def nothing_is_left(world: World, name: str, *, seconds: float = 90) -> None:
    """Of the Node, its Machine and its machine."""

    def gone() -> bool:
        return not (found(world, "machine", name) or found(world, "node", name) or name in world.alive())

    world.wait(gone, f"nothing is left of {name}", seconds=seconds)
    assert world.never_twice()


@pytest.mark.parametrize("registration", REGISTRATIONS)
def test_node_gets_a_machine_runs_a_pod_and_takes_it_along_when_it_is_deleted(world: World, registration: str) -> None:
    name = f"kept-{registration.lower()}"
    taint = {"key": "example.com/dev", "effect": "NoSchedule", "value": "yes"}
    labels = {"example.com/team": "blue", "node-restriction.kubernetes.io/trusted": "yes"}
    uid = create(world, node_yaml(name, registration.lower(), labels=labels, spec={"taints": [taint]}))
    after = joined(world, name)
    assert (uid == after["metadata"]["uid"]) == (registration == "Adopt")
    assert labels.items() <= after["metadata"]["labels"].items(), "also what no kubelet may set"
    assert after["metadata"]["labels"]["nodeset.dev/node-class"] == registration.lower()
    assert "nodeset.dev/nodeset" not in after["metadata"]["labels"]
    assert taint in after["spec"]["taints"]
    runs_a_pod(world, name, tolerations=[{"operator": "Exists", "key": taint["key"]}])
    with world.door() as door:
        asked = pb.ExternalGrpcNode(name=name, providerID=after["spec"]["providerID"])
        answer = door.NodeGroupForNode(pb.NodeGroupForNodeRequest(node=asked), timeout=10)
        assert not answer.nodeGroup.id, "it belongs to no group"
    world.cluster.kubectl("delete", "node", name, timeout=120)
    nothing_is_left(world, name)


def test_several_at_once_in_all_three_spellings(world: World) -> None:
    keys = ("nodeset.dev/node-class", "nodeset.k8s.io/node-class", "node.k8s.io/node-class")
    wanted = {f"many-{number}": keys[number % 3] for number in range(6)}
    create(world, *(node_yaml(name, key=key) for name, key in wanted.items()))
    for name in wanted:
        joined(world, name)
    assert set(wanted) <= set(world.alive())
    world.cluster.kubectl("delete", "nodes", *wanted, timeout=180)
    for name in wanted:
        nothing_is_left(world, name)


def booting(world: World, name: str, node_class: str, **more: Any) -> dict[str, Any]:
    """A machine that was made and waits before its user-data, and its Node."""
    world.cloud(lambda admin: admin.pause(boots=True))
    create(world, node_yaml(name, node_class, **more))
    world.wait(lambda: world.alive().count(name) == 1, f"the machine of {name} is made")
    return found(world, "node", name)


def boots_again(world: World) -> None:
    world.cloud(lambda admin: admin.pause(boots=False))


def test_slow_boot_is_unreachable_meanwhile_and_adopted_all_the_same(world: World) -> None:
    name = "slow"
    node = booting(world, name, "adopt", annotations={})
    try:
        assert UNINITIALIZED in taints(node)
        assert EXCLUDE in node["metadata"]["labels"]
        assert "providerID" not in node["spec"], "nothing is faked"
        assert "finalizers" not in node["metadata"]
        with world.door() as door:
            asked = pb.ExternalGrpcNode(name=name, labels=node["metadata"]["labels"])
            assert not door.NodeGroupForNode(pb.NodeGroupForNodeRequest(node=asked), timeout=10).nodeGroup.id
            door.Refresh(pb.RefreshRequest(), timeout=10)
        unreachable = "node.kubernetes.io/unreachable"
        world.wait(
            lambda: unreachable in taints(found(world, "node", name)),
            "the node lifecycle controller gave it up",
            seconds=UNREACHABLE_SECONDS,
        )
        assert world.condition("node", name, "Ready")["status"] == "Unknown"
        assert not world.condition("machine", name, "Registered")
    finally:
        boots_again(world)
    after = joined(world, name)
    assert after["metadata"]["uid"] == node["metadata"]["uid"]
    world.cluster.kwok.stop()
    world.cluster.kwok.start()  # it sees the annotation that the machine brought
    world.wait(lambda: not taints(found(world, "node", name)), "no taint of its waiting time is left")
    runs_a_pod(world, name)
    world.cluster.kubectl("delete", "node", name, timeout=120)
    nothing_is_left(world, name)


def test_cloud_controller_manager_deletes_the_node_while_the_machine_boots(world: World) -> None:
    name = "by-cloud"
    node = booting(world, name, "adopt")
    try:
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.1", "namespace": "default"},
            "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]},
            "reason": "DeletingNode",
            "type": "Normal",
            "source": {"component": "cloud-node-lifecycle-controller"},
        }
        world.cluster.kubectl("create", "-f-", input=json.dumps(event))
        world.cluster.kubectl("delete", "node", name)

        def handed_over() -> bool:
            annotations = found(world, "machine", name)["metadata"]["annotations"]
            return annotations.get("nodeset.dev/handed-over") == node["metadata"]["uid"]

        world.wait(handed_over, "it goes on")
    finally:
        boots_again(world)
    after = joined(world, name)
    assert after["metadata"]["uid"] != node["metadata"]["uid"]
    runs_a_pod(world, name)
    world.cluster.kubectl("delete", "node", name, timeout=120)
    nothing_is_left(world, name)


def test_person_deletes_the_node_while_the_machine_boots_and_that_cancels_it(world: World) -> None:
    name = "cancelled"
    booting(world, name, "adopt")
    try:
        world.cluster.kubectl("delete", "node", name)
        nothing_is_left(world, name, seconds=120)
    finally:
        boots_again(world)
    events = world.items("events", "--namespace=default", f"--field-selector=involvedObject.name={name}")
    assert "Cancelled" in {event["reason"] for event in events}


@pytest.mark.parametrize("registration", REGISTRATIONS)
def test_machine_is_deleted_while_it_boots_and_its_node_does_not_bring_it_back(world: World, registration: str) -> None:
    name = f"machine-{registration.lower()}"
    node = booting(world, name, registration.lower())
    try:
        assert bool(node) == (registration == "Adopt"), "a handed-over Node is gone before there is a machine"
        world.cluster.kubectl("delete", "machine", name, timeout=120)
        nothing_is_left(world, name)
    finally:
        boots_again(world)
    ledger = world.cloud(lambda admin: admin.ledger())
    assert ledger.machines[f"{world.uid}/{name}"].made == 1


def test_missing_class_is_told_on_the_node_and_its_coming_is_enough(world: World) -> None:
    name = "early"
    create(world, node_yaml(name, "later"))
    world.wait(lambda: bool(world.warnings("Node", name)), "somebody says so")
    assert {event["reason"] for event in world.warnings("Node", name)} == {"NodeClassNotFound"}
    assert not taints(found(world, "node", name)) & {UNINITIALIZED}
    world.node_class("later", "small-2")
    joined(world, name)
    world.cluster.kubectl("delete", "node", name, timeout=120)
    nothing_is_left(world, name)
