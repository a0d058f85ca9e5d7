"""What the API server makes of the CRDs: defaults, explanations, columns, short names, scale."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testbed.api import API, Object
from testbed.cluster import DEPLOY
from testbed.controlplane import ControlPlane

from nodeset_provider.api.crd_rules import KINDS, Kind

OURS = "/apis/nodeset.dev/v1alpha1"


def test_defaults_are_filled_in_where_nobody_said_anything(admin: API, node_set: Object, node_class: Object) -> None:
    assert node_set.now["spec"] == {"nodeClassName": "small", "replicas": 0}
    node_set.patch({"spec": {"autoscaling": {"maxReplicas": 3}}})
    assert node_set.now["spec"]["autoscaling"] == {"maxReplicas": 3, "minReplicas": 0}
    node_class.patch({"spec": {"provisioning": {"files": [{"path": "/etc/motd"}]}}})
    spec = node_class.now["spec"]
    assert spec["join"] == {
        "mode": "Bootstrap",
        "format": "CloudInit",
        "kubelet": {"maxPods": 110, "servingCertificate": True},
        "kubeadm": {"discovery": "Token"},
    }
    assert spec["launchTimeoutSeconds"] == 900
    assert spec["provisioning"]["files"] == [
        {"path": "/etc/motd", "encoding": "Text", "owner": "root:root", "permissions": "0644"}
    ]


def test_config_is_kept_as_it_was_given(node_set: Object) -> None:
    config = {"text": "x", "number": 1.5, "none": None, "list": [None, {"deep": []}], "empty": {}}
    node_set.api.delete(node_set.path)
    body = {
        "apiVersion": "nodeset.dev/v1alpha1",
        "kind": "NodeSet",
        "metadata": {"name": node_set.name},
        "spec": {"nodeClassName": "small", "config": config},
    }
    assert node_set.api.create(f"{OURS}/nodesets", body).body["spec"]["config"] == config


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_every_field_is_explained_by_the_server(admin: API, kind: Kind) -> None:
    document = admin.get("/openapi/v3/apis/nodeset.dev/v1alpha1").body
    schemas = document["components"]["schemas"]

    def resolved(schema: dict[str, Any]) -> dict[str, Any]:
        merged = dict(schema)
        for part in [*schema.get("allOf", []), schema]:
            if "$ref" in part:
                merged |= {**schemas[part["$ref"].rpartition("/")[2]], **merged}
        return merged

    def silent(schema: dict[str, Any], path: str) -> Iterator[str]:
        schema = resolved(schema)
        for name, inner in schema.get("properties", {}).items():
            if not resolved(inner).get("description", "").strip():
                yield f"{path}.{name}"
            if name != "metadata":
                yield from silent(inner, f"{path}.{name}")
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                yield from silent(schema[key], f"{path}[]")

    name = f"dev.nodeset.v1alpha1.{kind.root.__name__}"
    assert schemas[name]["description"].strip()
    assert list(silent(schemas[name], kind.root.__name__)) == []


def test_kubectl_explains(installed: ControlPlane) -> None:
    text = installed.kubectl("explain", "nodeset.spec.autoscaling.minReplicas")
    assert "never takes machines away below this number" in " ".join(text.split())
    text = installed.kubectl("explain", "nsm.spec.template.join.kubelet.evictionHard")
    assert "Eviction signals" in text


def row(installed: ControlPlane, *arguments: str) -> dict[str, str]:
    """The one line of a table by the column's name: columns begin where their title does."""
    header, line = installed.kubectl("get", *arguments).splitlines()
    starts = [at for at, letter in enumerate(header) if letter != " " and (at == 0 or header[at - 1] == " ")]
    ends = [*starts[1:], None]
    return {header[a:b].strip(): line[a:b].strip() for a, b in zip(starts, ends, strict=True)}


def test_a_set_says_in_one_line_whether_it_is_healthy_and_if_not_why(installed: ControlPlane, node_set: Object) -> None:
    name = node_set.name
    why = "1 of 2 ready; big-x1abc: InsufficientCapacity: no big-8 left in sim-1a"
    node_set.patch({"spec": {"replicas": 2, "autoscaling": {"maxReplicas": 5}}})
    condition = {"type": "Ready", "status": "False", "reason": "InsufficientCapacity", "message": why}
    node_set.patch({"status": {"replicas": 2, "readyReplicas": 1, "conditions": [condition]}}, "status")
    shown = row(installed, "nset", name)
    del shown["AGE"]
    assert shown == {
        "NAME": name,
        "CLASS": "small",
        "DESIRED": "2",
        "CURRENT": "2",
        "READY": "1",
        "MIN": "0",
        "MAX": "5",
        "HEALTHY": "False",
        "MESSAGE": why,
    }
    healthy = {**condition, "status": "True", "reason": "AllReady", "message": "2 of 2 ready"}
    node_set.patch({"status": {"conditions": [healthy]}}, "status")
    shown = row(installed, "nodesets", name)
    assert (shown["HEALTHY"], shown["MESSAGE"]) == ("True", "")


def test_a_class_says_in_one_line_whether_it_is_healthy_and_if_not_why(
    installed: ControlPlane, node_class: Object
) -> None:
    name = node_class.name
    labels = {"node.kubernetes.io/instance-type": "small-2", "topology.kubernetes.io/zone": "sim-1a"}
    template = {"capacity": {"cpu": "2", "memory": "4Gi"}, "labels": labels, "pricePerHour": "0.05"}
    conditions = [
        {"type": "Valid", "status": "False", "reason": "SecretNotFound", "message": "no Secret x; make it"},
        {"type": "Ready", "status": "False", "reason": "NotValid", "message": "see Valid"},
    ]
    node_class.patch({"status": {"template": template, "conditions": conditions}}, "status")
    shown = row(installed, "nc", name, "-owide")
    del shown["AGE"]
    assert shown == {
        "NAME": name,
        "DRIVER": "nobody",
        "READY": "False",
        "TYPE": "small-2",
        "CPU": "2",
        "MEMORY": "4Gi",
        "PRICE": "0.05",
        "ZONE": "sim-1a",
        "REASON": "SecretNotFound",
        "MESSAGE": "no Secret x; make it",
    }


def test_a_machine_says_in_one_line_how_far_it_has_come_and_what_is_in_the_way(
    installed: ControlPlane, machine: Object
) -> None:
    name = machine.name
    machine.patch({"metadata": {"labels": {"nodeset.dev/nodeset": "big"}}})
    conditions = [
        {"type": "Launched", "status": "True", "reason": "Launched"},
        {"type": "Registered", "status": "False", "reason": "RegistrationTimeout", "message": "no Node after 900 s"},
    ]
    machine.patch({"status": {"providerID": "sim://x", "conditions": conditions}}, "status")
    shown = row(installed, "nsm", name)
    del shown["AGE"]
    assert shown == {
        "NAME": name,
        "NODESET": "big",
        "NODE": "",
        "LAUNCHED": "True",
        "REGISTERED": "False",
        "INITIALIZED": "",
        "REASON": "RegistrationTimeout",
        "MESSAGE": "no Node after 900 s",
    }


def test_a_kind_is_found_by_its_names_and_all_by_their_category(
    installed: ControlPlane, node_set: Object, node_class: Object, machine: Object
) -> None:
    name = node_set.name
    for word in ("nodeset", "nodesets", "nset", "nodesets.nodeset.dev"):
        assert installed.kubectl("get", word, name, "-oname").strip() == f"nodeset.nodeset.dev/{name}"
    everything = installed.kubectl("get", "nodeset-provider", "-oname").split()
    for kept, kind in ((node_set, "nodeset"), (node_class, "nodeclass"), (machine, "machine")):
        assert f"{kind}.nodeset.dev/{kept.name}" in everything
    assert "nodeset.dev" not in installed.kubectl("get", "all", "-oname")


def test_scale_shows_replicas_and_selector_and_sets_replicas_alone(installed: ControlPlane, node_set: Object) -> None:
    selector = "nodeset.dev/nodeset=big"
    node_set.patch({"spec": {"replicas": 2}})
    node_set.patch({"status": {"replicas": 1, "selector": selector}}, "status")
    scale = json.loads(installed.kubectl("get", "--raw", f"{node_set.path}/scale"))
    assert scale["kind"] == "Scale"
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": selector}
    installed.kubectl("scale", f"nodeset/{node_set.name}", "--replicas=5", "--current-replicas=2")
    assert node_set.now["spec"] == {"nodeClassName": "small", "replicas": 5}


def test_scale_refuses_what_the_set_refuses(node_set: Object) -> None:
    answer = node_set.patch({"spec": {"replicas": -1}}, "scale")
    assert answer.status == 422
    assert "replicas" in answer.refused
    assert node_set.now["spec"]["replicas"] == 0


@pytest.mark.parametrize("folder", ["simulated", "libvirt", "node-with-kubectl"])
def test_examples_are_accepted(installed: ControlPlane, folder: str) -> None:
    installed.kubectl("apply", "--dry-run=server", "--validate=strict", "-k", DEPLOY / "examples" / folder)


def test_nodes_of_the_example_are_accepted(installed: ControlPlane) -> None:
    nodes = DEPLOY / "examples" / "node-with-kubectl" / "nodes.yaml"
    installed.kubectl("create", "--dry-run=server", "--validate=strict", "-f", nodes)


@pytest.mark.parametrize("folder", ["base", "autoscaler"])
def test_the_whole_deployment_is_accepted(installed: ControlPlane, folder: str) -> None:
    installed.kubectl("apply", "--dry-run=server", "--server-side", "--validate=strict", "-k", DEPLOY / folder)
