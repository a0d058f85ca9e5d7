"""An API server in memory, the caches of one provider process, and its front door, as the autoscaler meets them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio
import msgspec
import pytest
from testbed.memory_api import Body, MemoryApi, MemoryClient

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler import SERVER_OPTIONS, FrontDoor
from nodeset_provider.kube.client import Page, WatchEvent
from nodeset_provider.kube.codec import codec_for
from nodeset_provider.kube.indexes import MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODE_SETS, Resource, T
from nodeset_provider.protocol import externalgrpc_pb2 as pb

TEMPLATE = {
    "capacity": {"cpu": "4", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"},
    "allocatable": {"cpu": "3800m", "memory": "15Gi", "pods": "110"},
    "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", LABEL_NODESET: "a"},
    "annotations": {"kwok.x-k8s.io/node": "fake"},
    "taints": [{"key": "dedicated", "value": "batch", "effect": "NoSchedule"}],
    "pricePerHour": "0.2",
}
REQUESTS = {
    method.name: getattr(pb, method.input_type.name)
    for method in pb.DESCRIPTOR.services_by_name["CloudProvider"].methods
}
RESPONSES = {
    method.name: getattr(pb, method.output_type.name)
    for method in pb.DESCRIPTOR.services_by_name["CloudProvider"].methods
}


class Denied(Exception):
    """An RPC that was not OK."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class Context:
    """What a handler needs of grpc.aio.ServicerContext."""

    def time_remaining(self) -> float | None:
        return 5.0

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        raise Denied(code, details)


class Api(MemoryApi):
    """Counts generations as the real one does: one more for every change of the spec."""

    def write(self, base: str, name: str, body: Body) -> Body:
        old = self.objects.get((base, name))
        generation = old["metadata"]["generation"] + (old.get("spec") != body.get("spec")) if old else 1
        return super().write(base, name, {**body, "metadata": {**body.get("metadata", {}), "generation": generation}})


class ApiClient(MemoryClient):
    """Understands the one label selector that is used."""

    async def pages(
        self, resource: Resource[T], *, label_selector: str = "", field_selector: str = "", limit: int = 500
    ) -> AsyncGenerator[Page[T], None]:
        key, _, value = label_selector.partition("=")
        async for page in super().pages(resource, limit=limit):
            items = [item for item in page.items if not key or item.metadata.labels.get(key) == value]
            yield Page(items, page.resource_version)


class World:
    """``deliver`` False: the caches hear of nothing until ``catch_up`` is called."""

    def __init__(self) -> None:
        self.api = Api()
        self.deliver = True
        self.machines_made = 0
        self.start_provider()

    def start_provider(self, *, synced: bool = True) -> None:
        """A new process: caches filled from what is there now, a front door without a memory."""
        self.client = ApiClient(self.api)
        self.node_sets: Informer[NodeSet] = Informer(self.client, NODE_SETS)
        self.machines: Informer[Machine] = Informer(self.client, MACHINES, indexers=MACHINE_INDEXERS)
        self.front_door = FrontDoor(self.client, self.node_sets, self.machines)
        self.handlers = self.front_door.handlers()
        for (base, _), body in sorted(self.api.objects.items()):
            informer, resource = self._cache(base)
            informer.observe(_decode(resource, body))
        self.heard = {NODE_SETS.path(): self.api.version, MACHINES.path(): self.api.version}
        for informer in (self.node_sets, self.machines):
            informer._store.advance(self.api.version)
            if synced:
                informer._synced.set()

    def catch_up(self, events: int | None = None, resource: Resource[Any] | None = None) -> None:
        """Let the caches hear of the next ``events`` changes (of all) of one kind (of every kind)."""
        waiting = [
            entry
            for entry in self.api._history
            if entry[0] > self.heard[entry[2]] and (resource is None or entry[2] == resource.path())
        ]
        for version, kind, base, body in waiting[:events]:
            informer, kept = self._cache(base)
            informer._apply(WatchEvent(kind, _decode(kept, body), str(version)))  # type: ignore[arg-type]
            self.heard[base] = version

    def _cache(self, base: str) -> tuple[Informer[Any], Resource[Any]]:
        return (self.node_sets, NODE_SETS) if base == NODE_SETS.path() else (self.machines, MACHINES)

    # --- what others write -------------------------------------------------------------------------------------------

    def node_set(
        self,
        name: str = "a",
        *,
        replicas: int = 0,
        maximum: int | None = 10,
        minimum: int = 0,
        options: Mapping[str, object] | None = None,
        template: Mapping[str, object] | None = TEMPLATE,
        price: str = "",
        **spec: object,
    ) -> None:
        """Make or replace a NodeSet; ``maximum`` None: without spec.autoscaling."""
        body: Body = {"spec": {"nodeClassName": "general", "replicas": replicas, **spec}, "status": {}}
        if maximum is not None:
            body["spec"]["autoscaling"] = {"minReplicas": minimum, "maxReplicas": maximum, "pricePerHour": price}
            if options is not None:
                body["spec"]["autoscaling"]["options"] = dict(options)
        if template is not None:
            body["status"]["template"] = dict(template)
        self._write(NODE_SETS, name, body)

    def machine(self, group: str = "a", name: str = "", *, provider_id: str = "", registered: bool = False) -> str:
        """Make a Machine; returns its name."""
        self.machines_made += 1
        name = name or f"{group}-{self.machines_made:05d}"
        body: Body = {
            "metadata": {"labels": {LABEL_NODESET: group}},
            "spec": {"nodeName": name, "template": {"driver": "simulated", "nodeClassName": "general"}},
            "status": {},
        }
        if provider_id:
            body["status"]["providerID"] = provider_id
        if registered:
            body["status"]["nodeRef"] = {"name": name, "uid": f"node-{name}"}
        self._write(MACHINES, name, body)
        return name

    def failed(self, name: str, code: str, message: str = "no luck", *, status: str = "False") -> None:
        """Record a launch failure."""
        failure = {"code": code, "message": message, "time": "2026-01-01T00:00:00Z"}
        launched = {"type": "Launched", "status": status, "reason": code}
        self.change_machine(name, status={"conditions": [launched], "lastFailure": failure})

    def change_machine(self, name: str, *, status: Mapping[str, object] | None = None, **metadata: object) -> None:
        """Merge into status and metadata."""
        body = self.api.objects[MACHINES.path(), name]
        merged = {**body, "status": {**body["status"], **(status or {})}, "metadata": {**body["metadata"], **metadata}}
        self._write(MACHINES, name, merged)

    def delete_machine(self, name: str) -> None:
        """Somebody asks for its deletion; the finalizer holds it."""
        self.change_machine(name, deletionTimestamp="2026-01-01T00:00:00Z")

    def machine_gone(self, name: str) -> None:
        """The last finalizer is off."""
        self.api.remove(MACHINES.path(), name)
        self._written()

    def touch(self, name: str = "a") -> None:
        """Write the NodeSet's status, as its controller does: another version, the same generation."""
        body = self.api.objects[NODE_SETS.path(), name]
        self._write(NODE_SETS, name, {**body, "status": {**body["status"], "observedGeneration": self.api.version}})

    def unhealthy(self, reason: str, message: str, *, name: str = "a", generations_ago: int = 0) -> None:
        """Write what is wrong with the NodeSet into its status, as its controller does."""
        body = self.api.objects[NODE_SETS.path(), name]
        ready = {"type": "Ready", "status": "False", "reason": reason, "message": message}
        seen = body["metadata"].get("generation", 0) - generations_ago
        status = {**body["status"], "conditions": [ready], "observedGeneration": seen}
        self._write(NODE_SETS, name, {**body, "status": status})

    def change_spec(self, name: str = "a", **spec: object) -> None:
        """Write the NodeSet's spec, as a person does."""
        body = self.api.objects[NODE_SETS.path(), name]
        self._write(NODE_SETS, name, {**body, "spec": {**body["spec"], **spec}})

    def _write(self, resource: Resource[Any], name: str, body: Body) -> None:
        self.api.write(resource.path(), name, body)
        self._written()

    def _written(self) -> None:
        if self.deliver:
            self.catch_up()

    # --- what is true ------------------------------------------------------------------------------------------------

    def spec(self, name: str = "a") -> Body:
        """The NodeSet's spec in the API server."""
        return self.api.objects[NODE_SETS.path(), name]["spec"]

    def replicas(self, name: str = "a") -> int:
        return self.spec(name)["replicas"]

    def remove_first(self, name: str = "a") -> list[str]:
        return self.spec(name).get("removeFirst", [])

    def writes(self) -> int:
        return sum(verb in {"patch", "create", "replace", "delete"} for verb, _ in self.api.log)

    # --- what the autoscaler does ------------------------------------------------------------------------------------

    async def call(self, rpc: str, **fields: Any) -> Any:  # noqa: ANN401 - the response of that RPC
        """The response, or Denied."""
        raw = REQUESTS[rpc](**fields).SerializeToString()
        answer = await self.handlers[rpc](raw, Context())  # type: ignore[arg-type]
        if self.deliver:
            self.catch_up()
        return RESPONSES[rpc].FromString(answer)

    async def target(self, group: str = "a") -> int:
        return (await self.call("NodeGroupTargetSize", id=group)).targetSize

    async def instances(self, group: str = "a") -> dict[str, pb.InstanceStatus]:
        return {item.id: item.status for item in (await self.call("NodeGroupNodes", id=group)).instances}

    async def states(self, group: str = "a") -> dict[str, str]:
        name = pb.InstanceStatus.InstanceState.Name
        return {key: name(status.instanceState) for key, status in (await self.instances(group)).items()}

    async def group_of(self, provider_id: str, name: str = "", **labels: str) -> pb.NodeGroup:
        node = pb.ExternalGrpcNode(providerID=provider_id, name=name, labels=labels)
        return (await self.call("NodeGroupForNode", node=node)).nodeGroup

    async def delete_nodes(self, *provider_ids: str, group: str = "a") -> None:
        nodes = [pb.ExternalGrpcNode(providerID=instance, name=instance) for instance in provider_ids]
        await self.call("NodeGroupDeleteNodes", id=group, nodes=nodes)


async def denied(call: Awaitable[object]) -> Denied:
    """The refusal with which the call ends."""
    with pytest.raises(Denied) as caught:
        await call
    return caught.value


def running(world: World, *names: str, group: str = "a") -> None:
    """Machines that have registered, each with its own provider id."""
    for name in names:
        world.machine(group, name, provider_id=f"cloud://{name}", registered=True)


def _decode(resource: Resource[T], body: Body) -> T:
    return codec_for(resource).object(msgspec.json.encode(body))


@contextlib.asynccontextmanager
async def served(front_door: FrontDoor) -> AsyncIterator[str]:
    """The address of a real server, as the provider makes it."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    front_door.add_to_server(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
