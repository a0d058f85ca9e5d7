"""The controllers in a world of memory: API server, cloud, clock, and a process that can crash anywhere.

For tests of what the controllers do over time. Nothing here waits for real time.
"""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Any

import msgspec

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import ANNOTATION_NODE_CLASS, TAINT_UNREGISTERED
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import ControllerConfig, Controllers, Drivers, indexes
from nodeset_provider.driverkit.contract import DriverFactory
from nodeset_provider.join import ClusterAccess
from nodeset_provider.kube.codec import codec_for
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.indexes import MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.interning import MachineInterner
from nodeset_provider.kube.resources import EVENTS, MACHINES, NODE_CLASSES, NODE_SETS, NODES, SECRETS, Resource, T
from testbed.faulty_cloud import FaultyCloud, FaultyFactory
from testbed.manual_clock import ManualClock, settle
from testbed.memory_api import Fault
from testbed.memory_cluster import ClusterApi, ClusterClient
from testbed.pki import Authority

NAMESPACE = "provider"
SECRET = "cloud"  # noqa: S105 - a name
DRIVER = "faulty"
FOREIGN_FINALIZER = "example.com/other"

CA = Authority().pair.certificate


class World:
    """What survives a crash (``api``, ``cloud``, ``clock``), and the process that does not.

    ``crash_after``: so many crash points (API requests, driver calls before and after they took effect) are passed
    before the process dies; None: it lives.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.clock = ManualClock()
        self.api = ClusterApi()
        self.cloud = FaultyCloud(clock=self.clock.monotonic, point=self._driver_point)
        self.factory = FaultyFactory(self.cloud)
        self.served: dict[str, DriverFactory] = {DRIVER: self.factory}
        self.random = Random(seed)  # noqa: S311 - a test's
        self.crash_after: int | None = None
        self.crashed = False
        self.crashed_at = ""
        self.leads = True
        """What the process believes of its Lease (``may_act``)."""
        self.client: ClusterClient | None = None
        self.drivers: Drivers | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.give_secret({"token": "good"})

    # --- the process --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """A new process, which leads at once."""
        client = self.client = ClusterClient(self.api)
        client.ca_bundle = CA
        client.fault = self._api_point
        nodesets: Informer[NodeSet] = Informer(
            client, NODE_SETS, indexers=indexes.NODESET_INDEXERS, clock=self.clock, random=self.random.random
        )
        machines: Informer[Machine] = Informer(
            client,
            MACHINES,
            indexers=MACHINE_INDEXERS,
            transform=MachineInterner(),
            clock=self.clock,
            random=self.random.random,
        )
        recorder = Recorder(client, component="test", clock=self.clock)
        self.drivers = Drivers(client, self.served, namespace=NAMESPACE, clock=self.clock)
        controllers = Controllers(
            client=client,
            nodesets=nodesets,
            machines=machines,
            drivers=self.drivers,
            config=ControllerConfig(
                namespace=NAMESPACE,
                access=ClusterAccess(endpoint="https://cluster.invalid:6443", ca_bundle=CA),
                machine_workers=8,
                nodeset_workers=2,
                node_class_workers=1,
                csr_workers=4,
            ),
            recorder=recorder,
            clock=self.clock,
            random=self.random,
            may_act=lambda: self.leads,
        )
        self.crashed = False
        self._tasks = [
            asyncio.create_task(part) for part in (nodesets.run(), machines.run(), recorder.run(), controllers.run())
        ]
        await self.settle()

    async def stop(self) -> None:
        """The process is no more; what it was about to do is not done."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError, ExceptionGroup):
                await task
        self._tasks = []
        self.cloud.running.clear()

    async def restart(self) -> None:
        """Stop and start."""
        await self.stop()
        self.crash_after = None
        await self.start()

    async def settle(self) -> None:
        """Everything that needs no time to pass."""
        for _ in range(20):
            before = (self.api.version, len(self.cloud.calls), len(self.api.log))
            await settle()
            if before == (self.api.version, len(self.cloud.calls), len(self.api.log)):
                return

    async def pass_time(self, seconds: float, *, step: float = 1.0) -> None:
        """Let time pass in steps."""
        left = seconds
        while left > 0:
            await self.clock.advance(min(step, left))
            await self.settle()
            left -= step

    @property
    def healthy(self) -> Fault:
        """The API client's hook while the API server is well."""
        return self._api_point

    async def _api_point(self, verb: str, name: str) -> None:
        if verb not in {"watch", "list"}:
            await self._crash_point(f"{verb} {name}")

    async def _driver_point(self, where: str) -> None:
        await self._crash_point(where)

    async def _crash_point(self, where: str) -> None:
        if self.crashed:
            await asyncio.Future()  # dead: nothing more leaves this process
        if self.crash_after is None:
            return
        if self.crash_after <= 0:
            self.crashed, self.crashed_at = True, where
            await asyncio.Future()
        self.crash_after -= 1

    # --- people -------------------------------------------------------------------------------------------------------

    def give_secret(self, values: dict[str, str], *, name: str = SECRET) -> None:
        """The Secret that classes name, or another one."""
        path = SECRETS.within(NAMESPACE).path()
        self.api.write(path, name, {"metadata": {"namespace": NAMESPACE}, "stringData": values})

    def take_secret(self) -> None:
        """Delete it."""
        self.api.remove(SECRETS.within(NAMESPACE).path(), SECRET)

    def put_class(self, name: str = "small", *, config: dict[str, Any] | None = None, **spec: object) -> None:
        """Create or edit a class."""
        body = {
            "driver": DRIVER,
            "config": {"type": "small"} if config is None else config,
            "credentialsRef": {"name": SECRET, "namespace": NAMESPACE},
            **spec,
        }
        self._put(NODE_CLASSES, name, body)

    def put_set(self, name: str = "web", *, replicas: int = 1, node_class: str = "small", **spec: object) -> None:
        """Create or edit a set."""
        self._put(NODE_SETS, name, {"nodeClassName": node_class, "replicas": replicas, **spec})

    def edit_set(self, name: str = "web", **spec: object) -> None:
        """Change some fields of the spec; None takes one away."""
        body = self.api.objects[NODE_SETS.path(), name]
        merged = {k: v for k, v in {**body["spec"], **spec}.items() if v is not None}
        self.api.write(NODE_SETS.path(), name, {**body, "spec": merged})

    def delete_machine(self, name: str) -> None:
        """As ``kubectl delete machine``."""
        self.api.delete(MACHINES.path(), name)

    def join(self, machine: Machine, **changes: Any) -> None:
        """Its kubelet registers, and is Ready at once. Of a Node that exists it changes only what a kubelet does."""
        name = machine.spec.node_name
        status = {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.36.1"},
        }
        existing = self.api.objects.get((NODES.path(), name))
        if existing is not None:
            labels = {**existing["metadata"].get("labels", {}), "kubernetes.io/arch": "amd64"}
            metadata = {**existing["metadata"], "labels": labels}
            self.api.write(NODES.path(), name, {**existing, "metadata": metadata, "status": status})
            return
        body = {
            "metadata": {"labels": {"kubernetes.io/arch": "amd64"}},
            "spec": {
                "providerID": machine.status.provider_id,
                "taints": [{"key": TAINT_UNREGISTERED, "effect": "NoExecute"}],
            },
            "status": status,
        }
        self.api.write(NODES.path(), name, body | changes)

    def put_node(self, name: str, *, node_class: str = "small", **metadata: Any) -> None:
        """As ``kubectl create -f node.yaml`` of a Node that asks for a class."""
        annotations = {ANNOTATION_NODE_CLASS: node_class, **metadata.pop("annotations", {})}
        taints = metadata.pop("taints", [])
        body = {"metadata": {"annotations": annotations, **metadata}, "spec": {"taints": taints}, "status": {}}
        self.api.write(NODES.path(), name, body)

    def delete_node(self, name: str, *, by_cloud: bool = False) -> None:
        """As ``kubectl delete node``; or as a cloud-controller-manager, which says so in an Event before."""
        if by_cloud:
            uid = self.api.objects[NODES.path(), name]["metadata"]["uid"]
            about = {"kind": "Node", "apiVersion": "v1", "name": name, "uid": uid}
            where = EVENTS.within("default").path()
            body = {"metadata": {"namespace": "default"}, "involvedObject": about, "reason": "DeletingNode"}
            self.api.write(where, f"{name}.{self.api.version}", body)
        self.api.delete(NODES.path(), name)

    def hold_node(self, name: str, *, hold: bool) -> None:
        """Somebody else's finalizer comes (unless the Node is being deleted: none may come then), or goes."""
        body = self.api.objects[NODES.path(), name]
        metadata = body["metadata"]
        finalizers = [finalizer for finalizer in metadata.get("finalizers", []) if finalizer != FOREIGN_FINALIZER]
        if hold and not metadata.get("deletionTimestamp"):
            finalizers = [FOREIGN_FINALIZER, *finalizers]
        self.api.write(NODES.path(), name, {**body, "metadata": {**metadata, "finalizers": finalizers}})

    def become_ready(self, name: str) -> None:
        """The kubelet says that its Node is Ready."""
        body = self.api.objects[NODES.path(), name]
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.api.write(NODES.path(), name, {**body, "status": status})

    def _put(self, resource: Resource[Any], name: str, spec: dict[str, Any]) -> None:
        before = self.api.objects.get((resource.path(), name), {})
        self.api.write(resource.path(), name, {**before, "spec": spec})

    # --- what is there ------------------------------------------------------------------------------------------------

    def all(self, resource: Resource[T]) -> list[T]:
        """Every object of a kind, as stored."""
        codec = codec_for(resource)
        base = resource.path()
        return [
            codec.object(msgspec.json.encode(body))
            for (where, _), body in sorted(self.api.objects.items())
            if where == base
        ]

    @property
    def machines(self) -> list[Machine]:
        """The Machines."""
        return self.all(MACHINES)

    def machine(self, name: str) -> Machine:
        """One of them."""
        return next(machine for machine in self.machines if machine.metadata.name == name)

    def nodeset(self, name: str = "web") -> NodeSet:
        """One NodeSet."""
        return next(nodeset for nodeset in self.all(NODE_SETS) if nodeset.metadata.name == name)

    def node_class(self, name: str = "small") -> NodeClass:
        """One NodeClass."""
        return next(found for found in self.all(NODE_CLASSES) if found.metadata.name == name)

    @property
    def nodes(self) -> list[Node]:
        """The Nodes."""
        return self.all(NODES)

    @property
    def tokens(self) -> list[str]:
        """Names of the bootstrap tokens' Secrets."""
        base = SECRETS.within("kube-system").path()
        return [name for where, name in self.api.objects if where == base]
