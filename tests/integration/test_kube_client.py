"""The client, informer, Lease and Events against a real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from testbed.controlplane import ControlPlane

from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.lease import LeaderElector
from nodeset_provider.kube.objects import Secret
from nodeset_provider.kube.resources import LEASES, NAMESPACES, NODES, SECRETS

PATIENCE = 60


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    client = await Client.connect(kubeconfig=str(control_plane.kubeconfig))
    yield client
    await client.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the cluster has no Event to wait on
            await asyncio.sleep(0.02)


async def test_the_cluster_is_known_by_its_server_and_ca(control_plane: ControlPlane, client: Client) -> None:
    assert client.server == control_plane.server
    assert client.ca_bundle.strip() == control_plane.ca.strip()
    assert (await client.get(NAMESPACES, "kube-system")).metadata.uid


async def test_an_object_from_its_creation_to_its_end(client: Client, namespace: str) -> None:
    secrets = SECRETS.within(namespace)
    body = Secret(ObjectMeta(name="s", labels={"a": "b", "c": "d"}), data={"token": b"\x00hunter2"})
    made = await client.create(secrets, body)
    assert made.metadata.uid
    assert await client.get(secrets, "s") == made
    with pytest.raises(AlreadyExists):
        await client.create(secrets, body)
    patched = await client.patch(secrets, "s", {"metadata": {"labels": {"a": None, "e": "f"}}})
    assert patched.metadata.labels == {"c": "d", "e": "f"}
    assert patched.data == {"token": b"\x00hunter2"}
    assert await client.delete(secrets, "s") is None
    with pytest.raises(NotFound, match="not found"):
        await client.get(secrets, "s")


async def test_preconditions_hold(client: Client, namespace: str) -> None:
    secrets = SECRETS.within(namespace)
    made = await client.create(secrets, {"metadata": {"name": "s"}})
    stale = {"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"a": "b"}}}
    await client.patch(secrets, "s", stale)
    with pytest.raises(Conflict):
        await client.patch(secrets, "s", {"metadata": {**stale["metadata"], "labels": {"a": "c"}}})
    with pytest.raises(Conflict):
        await client.delete(secrets, "s", uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(Conflict):
        await client.delete(secrets, "s", uid=made.metadata.uid, resource_version=made.metadata.resource_version)
    await client.delete(secrets, "s", uid=made.metadata.uid)


async def test_a_finalizer_keeps_the_object_and_delete_returns_it(client: Client, namespace: str) -> None:
    secrets = SECRETS.within(namespace)
    await client.create(secrets, {"metadata": {"name": "s", "finalizers": ["example.org/hold"]}})
    going = await client.delete(secrets, "s")
    assert going is not None
    assert going.metadata.deleting
    await client.patch(secrets, "s", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await client.get(secrets, "s")


async def test_an_invalid_object_is_refused_by_field(client: Client, namespace: str) -> None:
    with pytest.raises(Invalid, match=r"metadata\.name"):
        await client.create(SECRETS.within(namespace), {"metadata": {"name": "Not A Name"}})


async def test_who_may_not_is_told_who_and_what(control_plane: ControlPlane, namespace: str) -> None:
    client = await Client.connect(kubeconfig=str(control_plane.kubeconfig_for("mallory")))
    with pytest.raises(Forbidden, match=r"mallory.*secrets"):
        await client.get(SECRETS.within(namespace), "s")
    await client.close()


async def test_status_is_written_apart_from_spec(client: Client) -> None:
    await client.create(NODES, {"metadata": {"name": "status-test"}, "spec": {"unschedulable": True}})
    change = {"status": {"capacity": {"cpu": "8"}}, "spec": {"unschedulable": False}}
    node = await client.patch(NODES, "status-test", change, subresource="status")
    assert node.status.capacity == {"cpu": "8"}
    assert node.spec.unschedulable
    await client.delete(NODES, "status-test", uid=node.metadata.uid)


async def test_pages_show_one_moment(client: Client, namespace: str) -> None:
    secrets = SECRETS.within(namespace)
    for number in range(7):
        await client.create(secrets, {"metadata": {"name": f"s{number}"}})
    names: list[str] = []
    versions: set[str] = set()
    async for page in client.pages(secrets, limit=3, field_selector="type=Opaque"):
        names += [item.metadata.name for item in page.items]
        versions.add(page.resource_version)
        await client.create(secrets, {"metadata": {"name": f"t{len(names)}"}})
    assert names == [f"s{number}" for number in range(7)]
    assert len(versions) == 1


async def test_the_cache_follows_the_cluster_through_a_lost_connection(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = SECRETS.within(namespace)
    for number in range(3):
        await client.create(secrets, {"metadata": {"name": f"s{number}", "labels": {"set": "a"}}})
    informer = Informer(client, secrets, indexers={"set": lambda item: [item.metadata.labels.get("set", "")]})
    told: list[tuple[str | None, str | None]] = []
    informer.add_handler(lambda old, new: told.append((old and old.metadata.name, new and new.metadata.name)))
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(PATIENCE):
        await informer.wait_synced()
    assert len(informer.by_index("set", "a")) == 3
    await client.patch(secrets, "s0", {"metadata": {"labels": {"set": "b"}}})
    await client.delete(secrets, "s1")
    await until(lambda: len(informer.by_index("set", "b")) == 1 and informer.get("s1") is None)
    # Cut every watch of this client as a broken network would.
    for connection in list(client._transport._watches._acquired):
        connection.transport.abort()
    await client.delete(secrets, "s2")
    await until(lambda: informer.get("s2") is None)
    assert told == [(None, "s0"), (None, "s1"), (None, "s2"), ("s0", "s0"), ("s1", None), ("s2", None)]
    task.cancel()
    await asyncio.wait([task])


async def test_an_own_write_is_in_the_cache_before_the_watch_brings_it(client: Client, namespace: str) -> None:
    secrets = SECRETS.within(namespace)
    await client.create(secrets, {"metadata": {"name": "s"}})
    informer = Informer(client, secrets)
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(PATIENCE):
        await informer.wait_synced()
    for number in range(20):
        answer = await client.patch(secrets, "s", {"metadata": {"labels": {"n": str(number)}}})
        informer.observe(answer)
        held = informer.get("s")
        assert held is not None
        assert held.metadata.labels == {"n": str(number)}
    await client.delete(secrets, "s")
    await until(lambda: informer.get("s") is None)
    informer.observe(answer)
    assert informer.get("s") is None, "a late answer revives nothing"
    task.cancel()
    await asyncio.wait([task])


async def test_leadership_passes_on_at_shutdown_without_waiting_for_the_lease(client: Client, namespace: str) -> None:
    led: list[str] = []

    def candidate(identity: str) -> asyncio.Task[None]:
        elector = LeaderElector(
            client,
            namespace=namespace,
            name="provider",
            identity=identity,
            lease_duration=3600,
            renew_deadline=3000,
            retry_period=0.2,
        )

        async def lead() -> None:
            led.append(identity)
            await asyncio.Event().wait()

        return asyncio.create_task(elector.run(lead))

    one = candidate("one")
    await until(lambda: led == ["one"])
    two = candidate("two")
    await asyncio.sleep(1)  # several of its tries
    assert led == ["one"]
    lease = await client.get(LEASES.within(namespace), "provider")
    assert (lease.spec.holder_identity, lease.spec.lease_duration_seconds) == ("one", 3600)
    one.cancel()
    await until(lambda: led == ["one", "two"])
    lease = await client.get(LEASES.within(namespace), "provider")
    assert lease.spec.lease_transitions == 1
    two.cancel()
    await asyncio.wait([one, two])
    assert (await client.get(LEASES.within(namespace), "provider")).spec.holder_identity == ""


async def test_events_are_counted_with_the_rights_to_create_and_patch_alone(
    control_plane: ControlPlane, namespace: str
) -> None:
    role = ["create", "role", "events", "--verb=create,patch", "--resource=events", f"--namespace={namespace}"]
    control_plane.kubectl(*role)
    control_plane.kubectl(
        "create", "rolebinding", "events", "--role=events", "--user=teller", f"--namespace={namespace}"
    )
    client = await Client.connect(kubeconfig=str(control_plane.kubeconfig_for("teller")))
    recorder = Recorder(client, component="nodeset-provider")
    about = ("Secret", "v1", ObjectMeta(name="s", namespace=namespace, uid="u"))
    task = asyncio.create_task(recorder.run())

    def shown() -> list[tuple[str, int]]:
        listed = json.loads(control_plane.kubectl("get", "events", f"--namespace={namespace}", "--output=json"))
        return [(event["message"], event["count"]) for event in listed["items"] if event["reason"] == "LaunchFailed"]

    recorder.event(about, "Warning", "LaunchFailed", "no capacity")
    await until(lambda: shown() == [("no capacity", 1)])
    for _ in range(3):
        recorder.event(about, "Warning", "LaunchFailed", "no capacity")
    await until(lambda: shown() == [("no capacity", 4)])
    task.cancel()
    await asyncio.wait([task])
    await client.close()


async def test_events_about_cluster_scoped_objects_are_accepted(control_plane: ControlPlane, client: Client) -> None:
    recorder = Recorder(client, component="nodeset-provider")
    task = asyncio.create_task(recorder.run())
    recorder.event(("Node", "v1", ObjectMeta(name="events-test", uid="u")), "Warning", "Strange", "look here")
    selector = "--field-selector=involvedObject.name=events-test"
    await until(lambda: "look here" in control_plane.kubectl("get", "events", "--namespace=default", selector))
    task.cancel()
    await asyncio.wait([task])
