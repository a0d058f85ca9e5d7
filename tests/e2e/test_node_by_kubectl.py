"""`kubectl create -f node.yaml` makes a machine that joins under that name; `kubectl delete node` takes it away."""

import json

import pytest
from testbed.real_world import RealWorld


@pytest.mark.parametrize("registration", ["Adopt", "Handover"])
def test_created_node_becomes_a_machine_and_goes_with_it(world: RealWorld, registration: str) -> None:
    kind = f"by-hand-{registration.lower()}"
    name = f"{kind}-1"
    world.libvirt_class(kind, registration=registration)
    world.wait(lambda: world.condition("nodeclass", kind, "Ready").get("status") == "True", "the class is ready")
    metadata = {"name": name, "labels": {"example.com/by": "hand"}, "annotations": {"nodeset.dev/node-class": kind}}
    world.cluster.kubectl("create", "-f-", input=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": metadata}))
    world.wait(lambda: world.condition("machine", name, "Initialized").get("status") == "True", "the machine joined")
    node = world.get("node", name)
    assert node["metadata"]["labels"]["example.com/by"] == "hand"
    assert node["spec"]["providerID"].startswith("libvirt:///")
    assert not [taint for taint in node["spec"].get("taints", []) if "nodeset" in taint["key"]]
    world.workload(kind, replicas=1, nodeSelector={"kubernetes.io/hostname": name})
    world.wait(lambda: len(world.pods(kind)) == 1, "a pod runs on it")
    world.note(name)
    world.delete("deployment", kind)
    world.delete("node", name)
    world.wait(lambda: not world.remains(machine=name), "machine, Node, domain and volumes are gone")
