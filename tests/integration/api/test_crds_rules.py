"""Every rule of the CRDs refuses what it is for, with its message, and lets the good pass."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from testbed.api import API, Answer

from nodeset_provider.api.crd import custom_resource_definition
from nodeset_provider.api.crd_join import JOIN_FIELDS
from nodeset_provider.api.crd_rules import KINDS
from nodeset_provider.api.names import TAINT_UNREGISTERED

OURS = "/apis/nodeset.dev/v1alpha1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFZPsLvVtqEPtgZLhR6Qz0m6mSSBK0Fb7Qm6nFQ2nDxC me@example.com"
FILE = {"path": "/etc/motd", "content": "hello\n"}
TAINT = {"key": "example.com/gpu", "effect": "NoSchedule"}
GROUP = {"maxReplicas": 3}


def provisioning(**settings: object) -> dict[str, Any]:
    return {"provisioning": settings}


def options(**settings: object) -> dict[str, Any]:
    return {"autoscaling": {**GROUP, "options": settings}}


def class_refusals() -> Iterator[tuple[dict[str, Any], str, str]]:
    yield {"driver": "Not_A_Driver"}, "spec.driver", "driver must be the name of a driver"
    yield {"driver": ""}, "spec.driver", "driver must be the name of a driver"
    yield {"nodeLabels": {"a key": "x"}}, "spec.nodeLabels", "keys must be written as name or prefix.example.com/name"
    yield {"nodeLabels": {"k" * 64: "x"}}, "spec.nodeLabels", "a name has at most 63 characters"
    yield {"nodeLabels": {"a": "-x"}}, "spec.nodeLabels[a]", "begins and ends with a letter or digit"
    yield {"nodeLabels": {"a": "x" * 64}}, "spec.nodeLabels.a", "Too long"
    yield {"nodeLabels": {"nodeset.dev/nodeset": "x"}}, "spec.nodeLabels", "take a domain of your own"
    yield {"nodeLabels": {"sub.nodeset.dev/x": "x"}}, "spec.nodeLabels", "take a domain of your own"
    yield {"nodeLabels": {"kubernetes.io/hostname": "x"}}, "spec.nodeLabels", "leave it to the kubelet"
    yield {"nodeLabels": {f"k{n}": "x" for n in range(65)}}, "spec.nodeLabels", "Too many"
    yield (
        {"credentialsRef": {"name": "Not_A_Name", "namespace": "a"}},
        "spec.credentialsRef.name",
        "credentialsRef.name must be the name of a Secret",
    )
    yield (
        {"credentialsRef": {"name": "a", "namespace": "a.b"}},
        "spec.credentialsRef.namespace",
        "credentialsRef.namespace must be the name of a namespace",
    )
    yield {"credentialsRef": {"name": "a"}}, "spec.credentialsRef.namespace", "Required value"
    eks = {"mode": "EKS", "eks": {"clusterName": "a", "cidr": "10.0.0.0/16"}, "kubelet": {"kubeReserved": {"cpu": "1"}}}
    yield {"registration": "Adopt", "join": eks}, "spec", "registration Adopt cannot work with join.mode EKS"
    yield {"launchTimeoutSeconds": 0}, "spec.launchTimeoutSeconds", "must be between 1 and 86400"
    yield {"launchTimeoutSeconds": 86401}, "spec.launchTimeoutSeconds", "must be between 1 and 86400"


def provisioning_refusals() -> Iterator[tuple[dict[str, Any], str, str]]:
    for name in ("Root", "1st", "a b", ""):
        yield provisioning(users=[{"name": name}]), "spec.provisioning.users[0].name", "must be a login name"
    yield provisioning(users=[{"name": "a"}, {"name": "a"}]), "spec.provisioning.users[1]", "Duplicate value"
    for key in ("AAAAC3Nza", "ssh-ed25519", f"{KEY}\n{KEY}", f" {KEY}"):
        yield (
            provisioning(users=[{"name": "a", "sshAuthorizedKeys": [key]}]),
            "spec.provisioning.users[0].sshAuthorizedKeys[0]",
            "must be one public key on one line",
        )
    yield (
        provisioning(users=[{"name": "a", "sshAuthorizedKeys": [KEY, KEY]}]),
        "spec.provisioning.users[0].sshAuthorizedKeys[1]",
        "Duplicate value",
    )
    for path in ("etc/motd", "/etc/", "/", "", "/etc//motd", "/etc/mo\ntd"):
        yield provisioning(files=[{"path": path}]), "spec.provisioning.files[0].path", "path must be absolute"
    for path in ("/etc/../motd", "/etc/./motd", "/etc/.."):
        yield provisioning(files=[{"path": path}]), "spec.provisioning.files[0].path", "path must not hold . or .."
    yield provisioning(files=[FILE, FILE]), "spec.provisioning.files[1]", "Duplicate value"
    for permissions in ("rw-r--r--", "888", "64", ""):
        yield (
            provisioning(files=[{**FILE, "permissions": permissions}]),
            "spec.provisioning.files[0].permissions",
            "must be an octal number in quotes",
        )
    yield provisioning(files=[{**FILE, "permissions": 644}]), "spec.provisioning.files[0].permissions", "type string"
    for owner in ("0", "1000:1000", "root:0", "0:root"):
        yield provisioning(files=[{**FILE, "owner": owner}]), "spec.provisioning.files[0].owner", "names, not numbers"
    for owner in ("a b", "root:", ":root", "a:b:c"):
        yield provisioning(files=[{**FILE, "owner": owner}]), "spec.provisioning.files[0].owner", "user or user:group"
    for field in ("commands", "commandsAfterJoin"):
        yield provisioning(**{field: [""]}), f"spec.provisioning.{field}[0]", "should be at least 1 chars long"
    for unit in ("tuning", "a b.service", "../a.service", ".service", ""):
        yield provisioning(units=[{"name": unit}]), "spec.provisioning.units[0].name", "a systemd unit with its suffix"
    yield (
        provisioning(units=[{"name": "a.timer"}, {"name": "a.timer"}]),
        "spec.provisioning.units[1]",
        "Duplicate value",
    )
    yield provisioning(files=[{**FILE, "encoding": "gzip"}]), "spec.provisioning.files[0].encoding", "supported values"
    yield {"credentials": "x"}, "spec.credentials", "unknown field"


def set_refusals() -> Iterator[tuple[dict[str, Any], str, str]]:
    yield {"nodeClassName": "Not_A_Name"}, "spec.nodeClassName", "must be the name of a NodeClass"
    yield {"replicas": -1}, "spec.replicas", "replicas must be 0 or more"
    yield {"replicas": 2**31}, "spec.replicas", "spec.replicas"
    yield {"removeFirst": ["a", "a"]}, "spec.removeFirst[1]", "Duplicate value"
    yield {"removeFirst": ["A"]}, "spec.removeFirst[0]", "removeFirst takes names of Machines"
    yield {"autoscaling": {}}, "spec.autoscaling.maxReplicas", "Required value"
    yield {"autoscaling": {"minReplicas": 4, "maxReplicas": 3}}, "spec.autoscaling", "lower minReplicas or raise maxR"
    yield {"autoscaling": {"minReplicas": -1, "maxReplicas": 3}}, "spec.autoscaling.minReplicas", "must be 0 or more"
    yield {"autoscaling": {"maxReplicas": -1}}, "spec.autoscaling.maxReplicas", "maxReplicas must be 0 or more"
    for price in ("$1", "-1", ".5", "1,5", ""):
        yield (
            {"autoscaling": {**GROUP, "pricePerHour": price}},
            "spec.autoscaling.pricePerHour",
            "pricePerHour must be a decimal number",
        )
    for field in ("scaleDownUtilizationThreshold", "scaleDownGpuUtilizationThreshold"):
        for value in (-0.1, 1.5):
            yield options(**{field: value}), f"spec.autoscaling.options.{field}", f"{field} is a fraction"
    for field in ("scaleDownUnneededSeconds", "scaleDownUnreadySeconds", "maxNodeProvisionSeconds"):
        yield options(**{field: -1}), f"spec.autoscaling.options.{field}", f"{field} must be between 0 and"
    for field in ("taints", "startupTaints"):
        yield {field: [{"key": "a b", "effect": "NoExecute"}]}, f"spec.{field}[0].key", "a taint's key must be written"
        yield {field: [{**TAINT, "value": "a b"}]}, f"spec.{field}[0].value", "begins and ends with a letter or digit"
        yield {field: [{**TAINT, "effect": "Never"}]}, f"spec.{field}[0].effect", "supported values"
        yield {field: [TAINT, {**TAINT, "value": "x"}]}, f"spec.{field}[1]", "Duplicate value"
        yield {field: [{"key": TAINT_UNREGISTERED, "effect": "NoExecute"}]}, f"spec.{field}", "leave it out"
    yield {"taints": [TAINT], "startupTaints": [TAINT]}, "spec", "both in taints and in startupTaints"
    yield {"nodeAnnotations": {"nodeset.dev/x": "y"}}, "spec.nodeAnnotations", "take a domain of your own"
    yield {"nodeAnnotations": {"a b": "y"}}, "spec.nodeAnnotations", "keys must be written as"
    yield {"nodeLabels": {"nodeset.dev/x": "y"}}, "spec.nodeLabels", "take a domain of your own"


def machine_refusals() -> Iterator[tuple[dict[str, Any], str, str]]:
    yield {"nodeName": "Not_A_Host"}, "spec.nodeName", "nodeName must be a host name"
    yield {"nodeName": ""}, "spec.nodeName", "nodeName must be a host name"


GOOD = {
    "NodeClass": {"driver": "simulated"},
    "NodeSet": {"nodeClassName": "small"},
    "Machine": {"nodeName": "node-1", "template": {"driver": "simulated", "nodeClassName": "small"}},
}
PLURAL = {"NodeClass": "nodeclasses", "NodeSet": "nodesets", "Machine": "machines"}
REFUSED = [
    (kind, *refusal)
    for kind, refusals in (
        ("NodeClass", class_refusals),
        ("NodeClass", provisioning_refusals),
        ("NodeSet", set_refusals),
        ("Machine", machine_refusals),
    )
    for refusal in refusals()
]
NAMES = [
    ("NodeClass", "with.dot", "it is the value of a label on every Node of the class"),
    ("NodeClass", "a" * 64, "of at most 63 characters"),
    ("NodeSet", "with.dot", "names of its Machines and Nodes are made from it"),
    ("NodeSet", "a" * 51, "of at most 50 characters"),
    ("Machine", "with.dot", "metadata.name must be a DNS label"),
    ("Machine", "a" * 64, "metadata.name must be a DNS label"),
]
TRANSITIONS = [
    "driver cannot be changed",
    "nodeClassName cannot change while the NodeSet has machines",
    "spec cannot be changed, as it is what the machine was made from",
    "status.attempt never falls",
    "status.providerID is set once an attempt",
    "status.clientToken is set once an attempt",
    "attempt counts from 1",
]
"""Refused by the tests in test_crds_transitions.py."""


def ask(admin: API, kind: str, spec: dict[str, Any], name: str = "good") -> Answer:
    body = {"apiVersion": "nodeset.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return admin.create(f"{OURS}/{PLURAL[kind]}", body, dry_run=True)


@pytest.mark.parametrize(
    ("kind", "change", "field", "message"), REFUSED, ids=[f"{kind}:{change}"[:80] for kind, change, *_ in REFUSED]
)
def test_bad_field_is_refused_by_name_and_with_the_remedy(
    admin: API, kind: str, change: dict[str, Any], field: str, message: str
) -> None:
    answer = ask(admin, kind, {**GOOD[kind], **change})
    assert answer.status in {400, 422}, answer
    assert message in answer.refused
    assert field in answer.refused


@pytest.mark.parametrize(("kind", "name", "message"), NAMES)
def test_name_that_other_names_cannot_be_made_from_is_refused(admin: API, kind: str, name: str, message: str) -> None:
    answer = ask(admin, kind, GOOD[kind], name)
    assert answer.status == 422, answer
    assert message in answer.refused


@pytest.mark.parametrize(("kind", "longest"), [("NodeClass", 63), ("NodeSet", 50), ("Machine", 63)])
def test_longest_name_is_accepted(admin: API, kind: str, longest: int) -> None:
    assert not ask(admin, kind, GOOD[kind], "a" * longest).refused


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("NodeClass", {}),
        ("NodeClass", {"launchTimeoutSeconds": 1}),
        ("NodeClass", {"nodeLabels": {"a": "", "node-role.kubernetes.io/worker": "", "example.com/x": "A_b.c-9"}}),
        ("NodeClass", {"nodeLabels": {"topology.kubernetes.io/zone": "rack-7", "notnodeset.dev/x": "y"}}),
        (
            "NodeClass",
            {"nodeLabels": {f"{'p' * 60}.example.com/{'k' * 63}{n}"[:-1] if n else "a": "x" for n in (0, 1)}},
        ),
        ("NodeClass", provisioning(users=[{"name": "me", "sshAuthorizedKeys": [KEY], "sudo": True}])),
        ("NodeClass", provisioning(files=[FILE, {"path": "/a/..b", "owner": "root:staff", "permissions": "1755"}])),
        ("NodeClass", provisioning(files=[{"path": "/etc/two words", "content": "\u2028 \x00"}])),
        ("NodeClass", provisioning(units=[{"name": "a@b-c.service"}, {"name": "t.timer", "content": "[Timer]\n"}])),
        ("NodeClass", provisioning(commands=["echo '#{x}' && exit 1", "a\nb"])),
        ("NodeClass", {"config": {"any": {"thing": [1, "2", None, {"deep": True}]}}}),
        ("NodeSet", {"replicas": 100_000}),
        ("NodeSet", {"removeFirst": ["small-abcde", "small-fghij"]}),
        ("NodeSet", {"autoscaling": {"minReplicas": 3, "maxReplicas": 3, "pricePerHour": "0.096"}}),
        ("NodeSet", {"replicas": 9, "autoscaling": {"maxReplicas": 3}}),
        ("NodeSet", {"autoscaling": {"maxReplicas": 0}}),
        ("NodeSet", options(scaleDownUtilizationThreshold=1, scaleDownGpuUtilizationThreshold=0.5)),
        ("NodeSet", options(scaleDownUnneededSeconds=0, zeroOrMaxNodeScaling=False)),
        ("NodeSet", {"taints": [TAINT, {**TAINT, "effect": "NoExecute"}]}),
        ("NodeSet", {"taints": [TAINT], "startupTaints": [{**TAINT, "effect": "NoExecute"}]}),
        ("NodeSet", {"nodeAnnotations": {"example.com/x": "any text: {} \n"}}),
        ("Machine", {"nodeName": "ip-10-0-0-1.internal"}),
    ],
    ids=str,
)
def test_good_is_accepted(admin: API, kind: str, change: dict[str, Any]) -> None:
    assert not ask(admin, kind, {**GOOD[kind], **change}).refused


def test_every_message_of_every_rule_was_seen_by_a_test() -> None:
    seen = [message for *_, message in REFUSED] + [message for *_, message in NAMES] + TRANSITIONS

    def messages(schema: dict[str, Any]) -> Iterator[str]:
        for rule in schema.get("x-kubernetes-validations", []):
            yield rule["message"]
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                yield from messages(schema[key])
        for inner in schema.get("properties", {}).values():
            yield from messages(inner)

    # Those of the join configuration are seen by the tests in test_crds_rules_join.py.
    theirs = set(messages({"properties": {str(number): keys for number, keys in enumerate(join_schemas())}}))
    unseen = {
        message
        for kind in KINDS
        for message in messages(custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        if message not in theirs and not any(part in message for part in seen)
    }
    assert unseen == set()


def join_schemas() -> Iterator[Mapping[str, Any]]:
    for fields in JOIN_FIELDS.values():
        yield from fields.values()
