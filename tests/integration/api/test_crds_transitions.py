"""What must not change does not, whoever asks; what may change, can."""

from typing import Any

import pytest
from testbed.api import Object

TOKENS = ("11111111-1111-5111-8111-111111111111", "22222222-2222-5222-8222-222222222222")


def test_driver_of_a_class_cannot_be_changed(node_class: Object) -> None:
    refused = node_class.patch({"spec": {"driver": "other"}}).refused
    assert "spec.driver: Invalid value" in refused
    assert "driver cannot be changed" in refused
    assert node_class.now["spec"]["driver"] == "nobody"


def test_everything_else_of_a_class_can_be_changed(node_class: Object) -> None:
    assert not node_class.patch({"spec": {"config": {"instanceType": "big-8"}, "launchTimeoutSeconds": 60}}).refused


def test_class_of_a_set_that_asks_for_machines_cannot_be_changed(node_set: Object) -> None:
    assert not node_set.patch({"spec": {"replicas": 1}}).refused
    for change in ({"nodeClassName": "other"}, {"nodeClassName": "other", "replicas": 0}):
        refused = node_set.patch({"spec": change}).refused
        assert "nodeClassName cannot change while the NodeSet has machines" in refused
        assert "scale this one to 0 first" in refused


def test_class_of_a_set_that_has_machines_still_cannot_be_changed(node_set: Object) -> None:
    assert not node_set.patch({"status": {"replicas": 1}}, "status").refused
    assert "nodeClassName cannot change" in node_set.patch({"spec": {"nodeClassName": "other"}}).refused


def test_class_of_an_empty_set_can_be_changed(node_set: Object) -> None:
    assert not node_set.patch({"spec": {"nodeClassName": "other"}}).refused
    assert not node_set.patch({"status": {"replicas": 0, "observedGeneration": 2}}, "status").refused
    assert not node_set.patch({"spec": {"nodeClassName": "third", "replicas": 2}}).refused


@pytest.mark.parametrize(
    "change",
    [
        {"nodeName": "other"},
        {"template": {"driver": "other"}},
        {"template": {"config": {"instanceType": "big-8"}}},
        {"template": {"config": {"deep": {"list": [1, {"a": "c"}]}}}},
        {"template": {"config": {"deep": None}}},
        {"template": {"config": {"more": 1}}},
        {"template": {"labels": {"a": "c"}}},
        {"template": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
        {"template": {"join": {"kubelet": {"maxPods": 5}}}},
        {"template": {"launchTimeoutSeconds": 1}},
    ],
    ids=str,
)
def test_spec_of_a_machine_never_changes(machine: Object, change: dict[str, Any]) -> None:
    before = machine.now["spec"]
    refused = machine.patch({"spec": change}).refused
    assert "spec: Invalid value" in refused
    assert "spec cannot be changed, as it is what the machine was made from" in refused
    assert machine.now["spec"] == before


def test_labels_and_finalizers_of_a_machine_can_be_changed(machine: Object) -> None:
    assert not machine.patch({"metadata": {"labels": {"a": "b"}, "finalizers": ["nodeset.dev/machine"]}}).refused
    assert not machine.patch({"metadata": {"finalizers": []}}).refused


def test_a_machine_starts_with_its_first_attempt(machine: Object) -> None:
    assert machine.now["status"] == {"attempt": 1}


def test_attempt_never_falls(machine: Object) -> None:
    assert not machine.patch({"status": {"attempt": 3}}, "status").refused
    for change in ({"attempt": 2}, {"attempt": None}):
        assert "status.attempt never falls" in machine.patch({"status": change}, "status").refused
    assert "status.attempt never falls" in machine.patch({"status": None}, "status").refused
    assert machine.now["status"]["attempt"] == 3
    assert "attempt counts from 1" in machine.patch({"status": {"attempt": 0}}, "status").refused


@pytest.mark.parametrize(("field", "values"), [("providerID", ("sim://a", "sim://b")), ("clientToken", TOKENS)])
def test_identity_is_set_once_an_attempt(machine: Object, field: str, values: tuple[str, str]) -> None:
    first, second = values
    assert not machine.patch({"status": {field: first}}, "status").refused
    assert not machine.patch({"status": {field: first, "addresses": []}}, "status").refused
    for value in (second, None):
        refused = machine.patch({"status": {field: value}}, "status").refused
        assert f"status.{field} is set once an attempt" in refused
    assert machine.now["status"][field] == first


@pytest.mark.parametrize("value", ["sim://b", None], ids=["another", "none yet"])
def test_the_next_attempt_may_have_another_provider_id(machine: Object, value: str | None) -> None:
    assert not machine.patch({"status": {"providerID": "sim://a"}}, "status").refused
    assert not machine.patch({"status": {"attempt": 2, "providerID": value}}, "status").refused
    assert machine.now["status"].get("providerID") == value


def test_spec_and_status_are_written_apart(node_set: Object) -> None:
    node_set.patch({"spec": {"replicas": 2}, "status": {"replicas": 7}})
    assert "status" not in node_set.now
    node_set.patch({"spec": {"replicas": 3}, "status": {"replicas": 7}}, "status")
    assert node_set.now["spec"]["replicas"] == 2
    assert node_set.now["status"]["replicas"] == 7


def test_one_condition_of_each_type(node_set: Object) -> None:
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    assert not node_set.patch({"status": {"conditions": [condition]}}, "status").refused
    twice = node_set.patch({"status": {"conditions": [condition, {**condition, "status": "True"}]}}, "status")
    assert "status.conditions[1]: Duplicate value" in twice.refused
    unclear = node_set.patch({"status": {"conditions": [{**condition, "status": "Perhaps"}]}}, "status")
    assert 'status.conditions[0].status: Unsupported value: "Perhaps"' in unclear.refused
    undated = node_set.patch({"status": {"conditions": [{**condition, "lastTransitionTime": "now"}]}}, "status")
    assert "lastTransitionTime" in undated.refused
