"""What is going on in the cluster and in the cloud, kept current for the view, the waits and the timeline.

May touch: the API server (watches, as the administrator) and the cloud's administration; changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from nodeset_driver_simulated.admin import CloudAdmin
from nodeset_driver_simulated.wire import Instance

from nodeset_provider.api.csr import CertificateSigningRequest
from nodeset_provider.api.meta import APIStruct, Condition, ObjectMeta
from nodeset_provider.api.names import BOOTSTRAP_GROUP_MACHINE_PREFIX
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    MACHINES,
    NAMESPACES,
    NODE_SETS,
    NODES,
    Resource,
)
from testbed.cluster import Cluster
from testbed.demo.timeline import Step, Timeline

_CLOUD_SECONDS = 0.2


class PodSpec(APIStruct, frozen=True):
    """core/v1 PodSpec: where it runs."""

    node_name: str = ""


class PodStatus(APIStruct, frozen=True):
    """core/v1 PodStatus."""

    phase: str = "Pending"
    conditions: list[Condition] = []


class Pod(APIStruct, frozen=True):
    """core/v1 Pod."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


PODS = Resource("", "v1", "pods", "Pod", Pod, namespace="default")


class DemoError(Exception):
    """The demo did not go as promised; the message says what was waited for."""


class Observer:
    """``async with Observer.watching(cluster) as observer:``.

    Attributes:
        nodesets, machines, nodes, pods: informers.
        instances: what the cloud bills now.
        most_ready: the most machines that each NodeSet has had ready.
        failures: failures that Machines have shown, by (NodeSet, code).
        timeline: of the first pod.
    """

    def __init__(self, client: Client, admin: CloudAdmin, cluster_id: str) -> None:
        self.nodesets: Informer[NodeSet] = Informer(client, NODE_SETS)
        self.machines = Informer(client, MACHINES)
        self.nodes = Informer(client, NODES)
        self.pods = Informer(client, PODS)
        self._requests = Informer(client, CERTIFICATE_SIGNING_REQUESTS)
        self.admin = admin
        self.cluster_id = cluster_id
        self.instances: list[Instance] = []
        self.most_ready: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.timeline = Timeline()
        self._changed = asyncio.Event()
        self.nodesets.add_handler(self._nodeset_changed)
        self._requests.add_handler(self._request_changed)
        for informer in (self.machines, self.nodes, self.pods):
            informer.add_handler(lambda _old, _new: self._look())

    @classmethod
    @contextlib.asynccontextmanager
    async def watching(cls, cluster: Cluster) -> AsyncIterator[Observer]:
        """Watch until the block is left."""
        client = await Client.connect(kubeconfig=str(cluster.control_plane.kubeconfig))
        async with CloudAdmin(cluster.cloud.endpoint, cluster.cloud.token) as admin:
            observer = cls(client, admin, (await client.get(NAMESPACES, "kube-system")).metadata.uid)
            informers = (observer.nodesets, observer.machines, observer.nodes, observer.pods, observer._requests)
            tasks = [asyncio.create_task(informer.run()) for informer in informers]
            tasks.append(asyncio.create_task(observer._follow_cloud()))
            try:
                async with asyncio.timeout(30):
                    for informer in informers:
                        await informer.wait_synced()
                yield observer
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await client.close()

    async def until(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Return once the condition holds.

        Raises:
            DemoError: it does not within that time.
        """
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise DemoError(f"not within {seconds:g} s: {what}") from None

    def running(self, app: str) -> int:
        """Pods of that app that run."""
        return sum(
            pod.status.phase == "Running" and not pod.metadata.deleting
            for pod in self.pods.items()
            if pod.metadata.labels.get("app") == app
        )

    async def _follow_cloud(self) -> None:
        while True:
            self.instances = await self.admin.instances(self.cluster_id)
            self._changed.set()
            for instance in self.instances:
                self.timeline.note(Step.DRIVER_CREATE, instance.created_at)
                if instance.state == "Running":
                    self.timeline.note(Step.INSTANCE_RUNNING, time.time())
            await asyncio.sleep(_CLOUD_SECONDS)

    def _nodeset_changed(self, _old: NodeSet | None, new: NodeSet | None) -> None:
        if new is not None:
            name = new.metadata.name
            self.most_ready[name] = max(self.most_ready[name], new.status.ready_replicas)
            if new.spec.replicas:
                self.timeline.note(Step.INCREASE_SIZE, time.time())
        self._changed.set()

    def _request_changed(self, _old: CertificateSigningRequest | None, new: CertificateSigningRequest | None) -> None:
        if (
            new
            and new.status.certificate
            and any(g.startswith(BOOTSTRAP_GROUP_MACHINE_PREFIX) for g in new.spec.groups)
        ):
            now = time.time()
            self.timeline.note(Step.CSR_ISSUED, now)
            # The cloud is only looked at now and then; what asks for a certificate has been running for a while.
            self.timeline.note(Step.INSTANCE_RUNNING, now)

    def _look(self) -> None:
        now = time.time()
        if any(node.ready for node in self.nodes.items()):
            self.timeline.note(Step.NODE_READY, now)
        if self.pods.items():
            self.timeline.note(Step.POD_CREATED, now)
        if self.running("load"):
            self.timeline.note(Step.POD_RUNNING, now)
        for machine in self.machines.items():
            if machine.status.last_failure:
                nodeset = machine.metadata.owner_references[0].name
                self.failures[nodeset, machine.status.last_failure.code] = 1
        self._changed.set()
