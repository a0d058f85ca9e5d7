"""Machines of the simulated cloud join a real control plane by their user-data alone, or say why they cannot."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from nodeset_driver_simulated import SimulatedDriver, create_driver
from nodeset_driver_simulated.admin import CloudAdmin
from testbed.controlplane import ControlPlane
from testbed.pki import Authority
from testbed.processes import wait_until
from testbed.simulated_cloud import SimulatedCloud

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.meta import Taint
from nodeset_provider.api.nodeclass import Join, KubeletSettings
from nodeset_provider.api.quantity import parse_quantity
from nodeset_provider.driverkit.contract import CreateRequest, Instance, InstanceKey
from nodeset_provider.join import (
    BootstrapToken,
    ClusterAccess,
    Delivery,
    JoinRequest,
    render_user_data,
    resolve_resources,
)
from nodeset_provider.join.bootstrap_token import secret_manifest

CLUSTER = "11111111-2222-4333-8444-555555555555"
KUBELET = KubeletSettings(max_pods=60, kube_reserved={"cpu": "70m", "memory": "300Mi"})


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SimulatedCloud]:
    with SimulatedCloud(tmp_path, tmp_path) as cloud:
        yield cloud


@pytest.fixture
async def admin(cloud: SimulatedCloud) -> AsyncIterator[CloudAdmin]:
    async with CloudAdmin(cloud.endpoint, cloud.token) as admin:
        yield admin


@pytest.fixture
async def driver(cloud: SimulatedCloud) -> AsyncIterator[SimulatedDriver]:
    driver = create_driver({"endpoint": cloud.endpoint.encode(), "token": cloud.token.encode()})
    yield driver
    await driver.close()


@pytest.fixture
def node_name(control_plane: ControlPlane) -> Iterator[str]:
    """A node of that name may join by TLS bootstrap; whatever it left in the cluster is taken away again."""
    name = f"boot-{uuid.uuid4().hex[:5]}"
    token = bootstrap_token(name)
    binding = f"test-bootstrap-{name}"
    control_plane.kubectl(
        "create",
        "clusterrolebinding",
        binding,
        "--clusterrole=system:node-bootstrapper",
        f"--group=system:bootstrappers:nodeset:{name}",
    )
    yield name
    requests = [request["metadata"]["name"] for request in requests_of(control_plane, name)]
    control_plane.kubectl("delete", "clusterrolebinding", binding)
    control_plane.kubectl("delete", "secret", "-n=kube-system", token.secret_name, "--ignore-not-found")
    control_plane.kubectl("delete", "node", name, "--ignore-not-found")
    if requests:
        control_plane.kubectl("delete", "csr", *requests)


def bootstrap_token(node_name: str) -> BootstrapToken:
    return BootstrapToken(id=node_name[-5:] + "0", secret=(node_name[-5:] * 4)[:16])


def allow(control_plane: ControlPlane, node_name: str) -> None:
    """Make the bootstrap token known to the cluster."""
    secret = secret_manifest(
        bootstrap_token(node_name), machine=node_name, expires=datetime.now(UTC) + timedelta(minutes=10)
    )
    control_plane.kubectl("create", "-f-", input=json.dumps(secret))


def user_data(control_plane: ControlPlane, node_name: str, **changes: Any) -> bytes:
    template = MachineTemplate(
        driver="simulated",
        node_class_name="any",
        join=Join(kubelet=KUBELET),
        labels={"example.com/team": "a", "topology.kubernetes.io/zone": "sim-1a", "node-role.kubernetes.io/worker": ""},
        taints=[Taint(key="dedicated", value="gpu", effect="NoSchedule")],
    )
    request = {
        "cluster": ClusterAccess(endpoint=control_plane.server, ca_bundle=control_plane.ca),
        "template": template,
        "node_name": node_name,
        "token": bootstrap_token(node_name),
        "provider_id": f"simulated://i-{node_name}",
        **changes,
    }
    return render_user_data(JoinRequest(**request), Delivery(formats=("CloudInit",), limit=1 << 16, gzip=False))


async def launch(driver: SimulatedDriver, node_name: str, content: bytes, type_: str = "small-2") -> Instance:
    return await driver.create(
        CreateRequest(
            cluster=CLUSTER,
            machine=node_name,
            token=str(uuid.uuid5(uuid.UUID(CLUSTER), node_name)),
            config={"instanceType": type_},
            user_data=content,
        )
    )


def requests_of(control_plane: ControlPlane, node_name: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(control_plane.kubectl("get", "csr", "-o=json"))["items"]
    username = bootstrap_token(node_name).username
    return [item for item in items if item["spec"]["username"] == username]


def only_request(control_plane: ControlPlane, node_name: str) -> dict[str, Any]:
    wait_until(lambda: bool(requests_of(control_plane, node_name)), timeout=30, what="a certificate request")
    (request,) = requests_of(control_plane, node_name)
    return request


def node(control_plane: ControlPlane, name: str) -> dict[str, Any] | None:
    found = control_plane.kubectl("get", "node", name, "-o=json", "--ignore-not-found")
    return json.loads(found) if found else None


def by_value(resources: dict[str, str]) -> dict[str, Decimal]:
    """As numbers: the API server rewrites quantities without a suffix (``96636764000`` comes back as ``96636764k``)."""
    return {name: parse_quantity(text) for name, text in resources.items()}


def ready(control_plane: ControlPlane, name: str) -> bool:
    found = node(control_plane, name)
    conditions = found["status"].get("conditions", []) if found else []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def becomes_ready(control_plane: ControlPlane, name: str) -> dict[str, Any]:
    wait_until(lambda: ready(control_plane, name), timeout=60, what=f"node {name} is Ready")
    found = node(control_plane, name)
    assert found is not None
    return found


async def console_says(admin: CloudAdmin, instance: Instance, pattern: str) -> str:
    instance_id = instance.provider_id.removeprefix("simulated://")
    return await eventually(lambda: admin.console(instance_id), pattern)


async def eventually(ask: Callable[[], Awaitable[str]], pattern: str) -> str:
    async with asyncio.timeout(60):
        while True:
            text = await ask()
            if re.search(pattern, text):
                return text
            await asyncio.sleep(0.1)


async def test_node_is_what_the_join_configuration_says(
    control_plane: ControlPlane, driver: SimulatedDriver, node_name: str
) -> None:
    allow(control_plane, node_name)
    instance = await launch(driver, node_name, user_data(control_plane, node_name), "gpu-1")
    request = only_request(control_plane, node_name)
    assert request["spec"]["signerName"] == "kubernetes.io/kube-apiserver-client-kubelet"
    assert sorted(request["spec"]["usages"]) == ["client auth", "digital signature"]
    assert f"system:bootstrappers:nodeset:{node_name}" in request["spec"]["groups"]
    assert node(control_plane, node_name) is None
    control_plane.kubectl("certificate", "approve", request["metadata"]["name"])

    found = becomes_ready(control_plane, node_name)
    labels = found["metadata"]["labels"]
    assert labels == {
        "kubernetes.io/hostname": node_name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "example.com/team": "a",
        "topology.kubernetes.io/zone": "sim-1a",
    }
    assert found["spec"]["providerID"] == f"simulated://i-{node_name}"
    taints = {taint["key"]: taint["effect"] for taint in found["spec"]["taints"]}
    assert taints["dedicated"] == "NoSchedule"
    assert taints["startup-taint.cluster-autoscaler.kubernetes.io/nodeset-unregistered"] == "NoExecute"
    assert found["metadata"]["annotations"]["kwok.x-k8s.io/node"] == "fake"
    addresses = {address["type"]: address["address"] for address in found["status"]["addresses"]}
    assert addresses == {"InternalIP": instance.addresses[0].address, "Hostname": node_name}


async def test_node_offers_exactly_what_the_template_promises(
    control_plane: ControlPlane, driver: SimulatedDriver, node_name: str
) -> None:
    allow(control_plane, node_name)
    offering = await driver.resolve({"instanceType": "gpu-1"})
    await launch(driver, node_name, user_data(control_plane, node_name), "gpu-1")
    control_plane.kubectl("certificate", "approve", only_request(control_plane, node_name)["metadata"]["name"])
    status = becomes_ready(control_plane, node_name)["status"]
    capacity, allocatable = resolve_resources(offering.capacity, KUBELET)
    assert by_value(status["capacity"]) == by_value(capacity)
    assert by_value(status["allocatable"]) == by_value(allocatable)
    assert allocatable["nvidia.com/gpu"] == "1"


async def test_token_that_is_not_known_yet_joins_once_it_is(
    control_plane: ControlPlane, driver: SimulatedDriver, admin: CloudAdmin, node_name: str
) -> None:
    instance = await launch(driver, node_name, user_data(control_plane, node_name))
    said = await console_says(admin, instance, "certificate request: the API server answers 401")
    assert bootstrap_token(node_name).secret not in said
    allow(control_plane, node_name)
    control_plane.kubectl("certificate", "approve", only_request(control_plane, node_name)["metadata"]["name"])
    becomes_ready(control_plane, node_name)


async def test_machine_whose_request_is_denied_does_not_join(
    control_plane: ControlPlane, driver: SimulatedDriver, admin: CloudAdmin, node_name: str
) -> None:
    allow(control_plane, node_name)
    instance = await launch(driver, node_name, user_data(control_plane, node_name))
    control_plane.kubectl("certificate", "deny", only_request(control_plane, node_name)["metadata"]["name"])
    await console_says(admin, instance, "is Denied")
    assert node(control_plane, node_name) is None


async def test_machine_with_another_clusters_ca_does_not_join(
    control_plane: ControlPlane, driver: SimulatedDriver, admin: CloudAdmin, node_name: str
) -> None:
    allow(control_plane, node_name)
    access = ClusterAccess(endpoint=control_plane.server, ca_bundle=Authority().pair.certificate)
    instance = await launch(driver, node_name, user_data(control_plane, node_name, cluster=access))
    await console_says(admin, instance, "cannot be reached: .*[Cc]ertificate")
    assert requests_of(control_plane, node_name) == []


async def test_interrupted_boot_goes_on_with_the_same_request(
    control_plane: ControlPlane, cloud: SimulatedCloud, driver: SimulatedDriver, admin: CloudAdmin, node_name: str
) -> None:
    allow(control_plane, node_name)
    instance = await launch(driver, node_name, user_data(control_plane, node_name))
    request = only_request(control_plane, node_name)["metadata"]["name"]
    cloud.kill()
    cloud.start()
    await console_says(admin, instance, f"waits for the certificate of request {request}")
    control_plane.kubectl("certificate", "approve", request)
    becomes_ready(control_plane, node_name)
    assert [item["metadata"]["name"] for item in requests_of(control_plane, node_name)] == [request]


async def test_machine_that_is_taken_away_stops_joining(
    control_plane: ControlPlane, driver: SimulatedDriver, admin: CloudAdmin, node_name: str
) -> None:
    allow(control_plane, node_name)
    gone = await launch(driver, node_name, user_data(control_plane, node_name))
    request = only_request(control_plane, node_name)["metadata"]["name"]
    await driver.delete(InstanceKey(cluster=CLUSTER, token=gone.token, provider_id=gone.provider_id))
    control_plane.kubectl("certificate", "approve", request)
    # What shows that it had the time to join: a machine that comes later, and does.
    later = await driver.create(
        CreateRequest(
            cluster=CLUSTER,
            machine=node_name,
            token=str(uuid.uuid4()),
            config={"instanceType": "small-2"},
            user_data=user_data(control_plane, node_name),
        )
    )
    wait_until(lambda: len(requests_of(control_plane, node_name)) == 2, timeout=30, what="a second request")
    assert node(control_plane, node_name) is None
    assert "registered" not in await admin.console(gone.provider_id.removeprefix("simulated://"))
    assert later.provider_id != gone.provider_id


async def test_node_that_is_there_already_is_taken_over(
    control_plane: ControlPlane, driver: SimulatedDriver, node_name: str
) -> None:
    placeholder = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node_name, "labels": {"mine": "yes"}}}
    control_plane.kubectl("create", "-f-", input=json.dumps(placeholder))
    allow(control_plane, node_name)
    await launch(driver, node_name, user_data(control_plane, node_name))
    control_plane.kubectl("certificate", "approve", only_request(control_plane, node_name)["metadata"]["name"])
    found = becomes_ready(control_plane, node_name)
    assert found["metadata"]["labels"]["mine"] == "yes"
    assert found["metadata"]["labels"]["kubernetes.io/hostname"] == node_name
    assert "providerID" not in found["spec"]  # the kubelet sets it on a Node of its own making only
