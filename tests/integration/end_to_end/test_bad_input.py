"""Whatever is wrong is said where people look, with the field and the remedy; nothing spins; mended, it works."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

import grpc
import pytest
import yaml
from testbed.cluster import grant_credentials
from testbed.metering import WriteMeter
from testbed.provider import NAMESPACE, SERVICE_ACCOUNT
from testbed.world import World

from nodeset_provider.protocol import externalgrpc_pb2 as pb

pytestmark = pytest.mark.parametrize(
    "cluster", [pytest.param({"provider_configuration": {"log": {"level": "debug"}}}, id="loud")], indirect=True
)

Mend = Callable[[World, str], None]
OUT_OF_RESOURCES, OTHER = 1, 99
NO_TOKEN = "5f1d2c9e77-opens-nothing"
"""What the cloud refuses is a secret all the same: it may open another door."""


def secret(world: World, name: str, data: dict[str, str]) -> None:
    """What is not given is taken off."""
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": None}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    world.cluster.kubectl("delete", "secret", name, f"--namespace={NAMESPACE}", "--ignore-not-found")
    world.cluster.kubectl("create", "-f-", input=json.dumps(manifest | {"data": encoded}))


def good_secret(world: World, name: str) -> None:
    secret(world, name, {"endpoint": world.cluster.cloud.endpoint, "token": world.cluster.cloud.token})


@dataclass(frozen=True)
class Case:
    """A class and a set of which one is wrong. ``where`` says the same on the object that is wrong."""

    reason: str
    words: tuple[str, ...]
    """What the message names: the field, and what to do."""
    mend: Mend
    node_class: dict[str, Any] | None = field(default_factory=dict)
    nodeset: dict[str, Any] = field(default_factory=dict)
    credentials: Mend | None = None
    """Makes the Secret that is wrong."""
    kind: str = "nodeclass"

    def apply(self, world: World, name: str) -> None:
        """All of it."""
        if self.credentials is not None:
            grant_credentials(world.cluster.control_plane, name, world.cluster.cloud)
            self.credentials(world, name)
        if self.node_class is not None:
            reference = {"credentialsRef": {"namespace": NAMESPACE, "name": name}} if self.credentials else {}
            world.node_class(name, "small-2", **(reference | self.node_class))
        world.node_set(name, name, replicas=1, **self.nodeset)

    def said(self, world: World, name: str) -> bool:
        """Whether it is said: on the class as Valid and Ready, on the set as Ready."""
        if self.kind == "nodeclass":
            for condition in (world.condition("nodeclass", name, type_) for type_ in ("Valid", "Ready")):
                if condition.get("status") != "False" or condition["reason"] != self.reason:
                    return False
        ready = world.condition("nodeset", name, "Ready")
        reason = "NodeClassInvalid" if self.kind == "nodeclass" else self.reason
        return ready.get("status") == "False" and ready["reason"] == reason


def mended_class(world: World, name: str) -> None:
    world.node_class(name, "small-2")


def mended_set(world: World, name: str) -> None:
    world.patch("nodeset", name, {"spec": {"config": None}})


CASES = {
    "unknown-key": Case(
        reason="InvalidConfig",
        words=("spec.config.flavour", "instanceType, zone, assignedID"),
        node_class={"config": {"instanceType": "small-2", "flavour": "x"}},
        mend=mended_class,
    ),
    "unknown-type": Case(
        reason="InvalidConfig",
        words=("spec.config.instanceType", "no-such", "small-2"),
        node_class={"config": {"instanceType": "no-such"}},
        mend=mended_class,
    ),
    "reserved-too-much": Case(
        reason="InvalidJoin",
        words=("kubeReserved", "memory"),
        node_class={"join": {"kubelet": {"kubeReserved": {"memory": "5Gi"}}}},
        mend=mended_class,
    ),
    "no-secret": Case(
        reason="SecretNotFound",
        words=("spec.credentialsRef", "no-secret", "create it", "endpoint, token"),
        credentials=lambda world, name: world.delete(f"--namespace={NAMESPACE}", "secret", name),
        mend=good_secret,
    ),
    "no-key": Case(
        reason="SecretKeyMissing",
        words=("spec.credentialsRef", "no-key", "token"),
        credentials=lambda world, name: secret(world, name, {"endpoint": world.cluster.cloud.endpoint}),
        mend=good_secret,
    ),
    "wrong-token": Case(
        reason="Unauthorized",
        words=("token", "credentials Secret"),
        credentials=lambda world, name: secret(
            world, name, {"endpoint": world.cluster.cloud.endpoint, "token": NO_TOKEN}
        ),
        mend=good_secret,
    ),
    "no-grant": Case(
        reason="SecretForbidden",
        words=("spec.credentialsRef", "nodeset-provider/nobody-granted-this", "Role"),
        node_class={"credentialsRef": {"namespace": NAMESPACE, "name": "nobody-granted-this"}},
        mend=mended_class,
    ),
    "no-class": Case(
        reason="NodeClassNotFound",
        words=("spec.nodeClassName", "no-class", "create it"),
        node_class=None,
        mend=mended_class,
        kind="nodeset",
    ),
    "too-large": Case(
        reason="UserDataTooLarge",
        words=("spec.provisioning.files[1]", "16384"),
        node_class={
            "provisioning": {
                "files": [
                    {"path": "/etc/small", "content": "x"},
                    # random, so that no compression helps
                    {"path": "/etc/large", "content": base64.b64encode(Random(0).randbytes(15_000)).decode()},
                ]
            }
        },
        mend=mended_class,
    ),
    "wrong-zone": Case(
        reason="InvalidConfig",
        words=("spec.config.zone", "moon", "sim-1a"),
        nodeset={"config": {"zone": "moon"}},
        mend=mended_set,
        kind="nodeset",
    ),
}


@pytest.fixture(scope="module")
def world(shared: World) -> World:
    shared.node_class("small", "small-2")
    return shared


AGAIN = ["again-error", "again-broken", "again-late"]


@pytest.fixture(scope="module")
def retried(world: World) -> list[str]:
    """Sets whose first attempt failed at the beginning of this file: their back-off takes half a minute."""
    world.node_class("hurried", "small-2", launchTimeoutSeconds=3)
    world.fault("error", "again-error", code="InsufficientCapacity")
    world.fault("bootFails", "again-broken")
    world.fault("bootNever", "again-late")
    for name, node_class in (("again-error", "small"), ("again-broken", "small"), ("again-late", "hurried")):
        world.node_set(name, node_class, replicas=1)
    for name in AGAIN:
        world.wait(lambda name=name: world.struck(name), "its first attempt went wrong")
    return AGAIN


@pytest.fixture(autouse=True)
def _early(retried: list[str]) -> None:
    """The back-off goes by while other tests run."""


def test_quota_that_is_used_up_is_told_and_holds_nobody_else_up(world: World) -> None:
    world.node_class("big", "big-8")
    used = 2 * len(world.alive())
    world.cloud(lambda admin: admin.set_quota(cpus=used + 4))
    world.node_set("over", "big", replicas=1, autoscaling={"maxReplicas": 1})
    world.wait(lambda: world.condition("nodeset", "over", "Ready").get("reason") == "QuotaExceeded", "it is said")
    assert "quota of" in world.condition("nodeset", "over", "Ready")["message"]
    world.node_set("under", "small", replicas=1)
    world.wait(lambda: world.complete("under", 1), "a machine within the quota is made")
    world.cloud(lambda admin: admin.set_quota())
    world.delete("nodeset", "over", "under")


def dropped(world: World, name: str) -> None:
    world.delete("nodeset", name)
    world.wait(lambda: not world.leftovers(name), "nothing is left of it")
    world.delete("nodeclass", name)


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named_with_its_remedy_and_works_once_it_is_mended(world: World, name: str) -> None:
    case = CASES[name]
    case.apply(world, name)
    world.wait(lambda: case.said(world, name), "it is said on the object that is wrong")
    about = world.condition(case.kind, name, "Ready")
    for word in case.words:
        assert word in about["message"]
        assert word in world.condition("nodeset", name, "Ready")["message"], "the set says it too"
    assert "\n" not in about["message"]
    world.wait(lambda: bool(world.warnings(KINDS[case.kind], name)), "there is an event")
    warnings = world.warnings(KINDS[case.kind], name)
    assert {warning["reason"] for warning in warnings} == {case.reason}
    assert all(word in warnings[0]["message"] for word in case.words)
    assert not world.machines(name), "no machine is tried that cannot work"
    case.mend(world, name)
    world.wait(lambda: world.complete(name, 1), "it works", seconds=60)
    assert world.condition(case.kind, name, "Ready")["status"] == "True"
    dropped(world, name)


KINDS = {"nodeclass": "NodeClass", "nodeset": "NodeSet"}


def test_class_of_a_driver_that_is_not_served_is_left_alone(world: World) -> None:
    world.node_class("foreign", "any", driver="elsewhere", credentialsRef=None)
    world.node_set("foreign", "foreign", replicas=2)
    # What comes later is looked at later: once this one is ready, the other one has been passed over.
    world.node_set("after", "small", replicas=1)
    world.wait(lambda: world.complete("after", 1), "the set made after it is ready")
    for kind in ("nodeclass", "nodeset"):
        assert not world.get(kind, "foreign").get("status"), "whoever serves the driver writes its status"
        assert not world.warnings(KINDS[kind], "foreign")
    assert not world.machines("foreign")
    world.delete("nodeset", "foreign", "after")
    world.delete("nodeclass", "foreign")


LAUNCH_FAILURES = {
    "capacity": ({"kind": "error", "code": "InsufficientCapacity"}, "InsufficientCapacity", OUT_OF_RESOURCES),
    "quota": ({"kind": "error", "code": "QuotaExceeded"}, "QuotaExceeded", OUT_OF_RESOURCES),
    "refused": ({"kind": "error", "code": "Unauthorized"}, "Unauthorized", OTHER),
    "invalid": ({"kind": "error", "code": "InvalidParameter"}, "InvalidSpec", OTHER),
    "broken": ({"kind": "bootFails"}, "InstanceFailed", OTHER),
}


@pytest.mark.parametrize("case", LAUNCH_FAILURES)
def test_failed_launch_reaches_the_autoscaler_with_its_class_and_ends_with_delete_nodes(
    world: World, case: str
) -> None:
    fault, code, error_class = LAUNCH_FAILURES[case]
    name = f"fails-{case}"
    world.fault(nodeset=name, count=2, **fault)
    world.node_set(name, "small", replicas=2, autoscaling={"maxReplicas": 3})

    with world.door() as door:

        def instances() -> list[pb.Instance]:
            try:
                answer = door.NodeGroupNodes(pb.NodeGroupNodesRequest(id=name), timeout=10)
            except grpc.RpcError:
                return []  # it has not heard of the group yet
            return list(answer.instances)

        world.wait(lambda: [i.status.errorInfo.errorCode for i in instances()] == [code] * 2, "both failures are told")
        told = instances()
        for instance in told:
            assert instance.status.instanceState == pb.InstanceStatus.instanceCreating
            assert instance.status.errorInfo.instanceErrorClass == error_class
            assert instance.status.errorInfo.errorMessage
        for machine in world.names(name):
            launched = world.condition("machine", machine, "Launched")
            assert (launched["status"], launched["reason"]) == ("False", code)
            world.wait(lambda machine=machine: bool(world.warnings("Machine", machine)), "there is an event")
        world.wait(lambda: world.condition("nodeset", name, "Ready").get("reason") == code, "the set says it too")
        assert world.warnings("NodeSet", name)

        nodes = [pb.ExternalGrpcNode(name=instance.id, providerID=instance.id) for instance in told]
        door.NodeGroupDeleteNodes(pb.NodeGroupDeleteNodesRequest(id=name, nodes=nodes), timeout=10)
        assert world.replicas(name) == 0
        world.wait(lambda: not world.leftovers(name), "the failed ones are gone, with what they left in the cloud")
        door.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id=name, delta=1), timeout=10)
        world.wait(lambda: world.complete(name, 1), "the next one works")
    assert world.never_twice()
    world.delete("nodeset", name)


SECONDS = 6


def test_nothing_of_it_spins(world: World) -> None:
    names = {f"calm-{name}": case for name, case in CASES.items()}
    for name, case in names.items():
        case.apply(world, name)
    world.fault("error", "calm-capacity", code="InsufficientCapacity", count=99)
    world.node_set("calm-capacity", "small", replicas=3, autoscaling={"maxReplicas": 3})
    world.node_set("calm-retried", "small", replicas=3)
    for name, case in names.items():
        world.wait(lambda name=name, case=case: case.said(world, name), f"{name} is in trouble")
    meter = WriteMeter(world.cluster.control_plane, f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}")
    before, writes = world.metrics(), meter.count()
    began = time.monotonic()
    while time.monotonic() < began + SECONDS:
        time.sleep(0.2)
    passed = time.monotonic() - began
    after, writes = world.metrics(), meter.count() - writes

    def grown(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    leases = grown("rest_client_requests_total", resource="leases")
    # An event may follow, and a set that is tried again: a few for all of them together, and none again and again.
    assert writes - leases <= 10
    assert grown("controller_reconcile_total") <= 4 * passed
    assert grown("nodeset_driver_request_duration_seconds_count") <= 3 * passed
    for name in (*names, "calm-capacity", "calm-retried"):
        world.delete("nodeset", name)
    world.delete("nodeclass", *names)


def test_failed_attempt_is_followed_by_the_next_one_after_a_pause(world: World, retried: list[str]) -> None:
    reasons = {
        "again-error": "InsufficientCapacity",
        "again-broken": "InstanceFailed",
        "again-late": "RegistrationTimeout",
    }
    for name in retried:
        world.wait(lambda name=name: world.complete(name, 1), "the second attempt works")
        (machine,) = world.machines(name)
        status = machine["status"]
        assert status["attempt"] == 2, "the same Machine"
        assert status["lastFailure"]["code"] == reasons[name]
        assert world.warnings("Machine", machine["metadata"]["name"])
        found = world.cloud(lambda admin: admin.instances(world.uid))
        token = status["clientToken"]
        (made,) = [instance for instance in found if instance.token == token]
        failed = datetime.fromisoformat(status["lastFailure"]["time"]).timestamp()
        assert made.created_at - failed >= 29, "30 s, of which times of Kubernetes leave out the fraction"
    assert world.never_twice(), "what the first attempt left was gone before the second one began"
    world.delete("nodeset", *retried)


def everything_but_secrets(world: World) -> str:
    """All that the API server holds and shows to those who may not read Secrets, and what the provider wrote."""
    kinds = world.cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    named = ",".join(kind for kind in kinds if kind != "secrets")
    objects = world.cluster.kubectl("get", named, "--all-namespaces", "--show-managed-fields", "--output=json")
    return objects + world.cluster.provider.log.read_text() + world.metrics_text()


def test_no_token_is_seen_outside_secrets(world: World) -> None:
    grant_credentials(world.cluster.control_plane, "leaky", world.cluster.cloud)
    secret(world, "leaky", {"endpoint": world.cluster.cloud.endpoint, "token": NO_TOKEN})
    world.node_class("leaky", "small-2", credentialsRef={"namespace": NAMESPACE, "name": "leaky"})
    world.cloud(lambda admin: admin.pause(boots=True))
    world.fault("bootFails", "shy")
    world.node_set("shy", "small", replicas=3)
    world.wait(lambda: len(world.leftovers("shy").get("tokens", [])) == 2, "two wait for their boot, one has failed")
    world.wait(lambda: bool(world.warnings("NodeClass", "leaky")), "the wrong token was refused")
    hidden = {NO_TOKEN, world.cluster.cloud.token}
    for item in world.items("secrets", "--all-namespaces"):
        for key, value in item["data"].items():
            if key in {"token", "token-secret", "key"}:
                hidden |= {value, base64.b64decode(value).decode("latin-1")}
    account = yaml.safe_load(world.cluster.provider._kubeconfig.read_text())
    hidden.add(account["users"][0]["user"]["token"])
    world.cloud(lambda admin: admin.pause())
    world.wait(lambda: world.ready("shy") == 2, "two have joined with their tokens")
    seen = everything_but_secrets(world)
    assert world.names("shy")[0] in seen
    assert len(hidden) >= 8
    assert not [token[:3] for token in hidden if token in seen]
    world.delete("nodeset", "shy")
    world.delete("nodeclass", "leaky")
