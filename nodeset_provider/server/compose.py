"""Where the parts meet: one provider process, from its settings to its orderly end.

Every replica answers gRPC from its own caches; the one that holds the Lease runs the controllers besides. The order of
the start: listen at once (the front door itself refuses until its caches are filled), fill the caches, stand for
election. The order of the end: say NOT_SERVING, finish running RPCs, stop the controllers and give up the Lease, then
everything else.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import grpc
import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import ANNOTATION_DRIVERS, LABEL_PROVIDER
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler import SERVER_OPTIONS, FrontDoor
from nodeset_provider.autoscaler.staleness import Caches
from nodeset_provider.config import Settings
from nodeset_provider.config.address import parse_address
from nodeset_provider.controllers import ControllerConfig, Controllers, Drivers, indexes
from nodeset_provider.controllers.cluster import UnusableBootstrapKey
from nodeset_provider.driverkit.contract import DriverFactory
from nodeset_provider.driverkit.registry import broken_drivers, load_drivers
from nodeset_provider.join import ClusterAccess
from nodeset_provider.kube.backoff import Backoff
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.errors import ApiError
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.indexes import MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.interning import MachineInterner
from nodeset_provider.kube.lease import LeaderElector
from nodeset_provider.kube.resources import MACHINES, NODE_SETS
from nodeset_provider.server.door import CannotListen, Door
from nodeset_provider.server.probes import LoopLag, Probes
from nodeset_provider.server.readiness import unready
from nodeset_provider.server.tls import CertificateFiles, ReloadingCredentials

log = structlog.get_logger(__name__)

COMPONENT: Final = "nodeset-provider"
"""Who says it, in events; also the namespace where neither the settings nor a Pod name one."""
_POD_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


_LONG_TERM: Final = 60.0
"""Seconds; who led for so long may try again soon."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set.

    Raises:
        ConfigurationError: there is no usable way to a cluster.
        UnusableCertificates: of the gRPC server.
        CannotListen: a port or socket is not to be had.
        BaseExceptionGroup: a part ended that must not.
    """
    async with AsyncExitStack() as stack:
        credentials = _credentials(settings)
        client = await Client.connect(kubeconfig=settings.kubeconfig or None, context=settings.context or None)
        stack.push_async_callback(client.close)
        log.info("cluster", server=client.server, namespace=_namespace(settings))
        provider = _Provider(settings, client)
        lag = LoopLag()
        await stack.enter_async_context(_probes(settings, provider, lag))
        door = Door(
            parse_address(settings.grpc.listen),
            credentials=credentials,
            add_servicer=provider.front_door.add_to_server,
            options=SERVER_OPTIONS,
        )
        address = await door.start()
        stack.push_async_callback(door.stop, 0)
        log.info("serving gRPC", address=str(address), tls=credentials is not None)
        await provider.run(door, lag, stop)


class _Provider:
    """The long-running parts."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._settings = settings
        self._client = client
        self._stopping = False
        self._node_sets: Informer[NodeSet] = Informer(client, NODE_SETS, indexers=indexes.NODESET_INDEXERS)
        self._machines: Informer[Machine] = Informer(
            client,
            MACHINES,
            indexers=MACHINE_INDEXERS,
            transform=MachineInterner(),
        )
        self.front_door = FrontDoor(client, self._node_sets, self._machines, gpu_label=settings.gpu_label)

    def missing(self) -> list[str]:
        """What keeps this process from answering; nothing when it is ready."""
        caches: Caches = {"cache of nodesets": self._node_sets, "cache of machines": self._machines}
        return [*(["shutting down"] if self._stopping else []), *unready(caches)]

    async def run(self, door: Door, lag: LoopLag, stop: asyncio.Event) -> None:
        """Until ``stop``; then in the order that the module tells."""
        recorder = Recorder(self._client, component=COMPONENT)
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(part, name=name)
                for name, part in {
                    "nodesets": self._node_sets.run(),
                    "machines": self._machines.run(),
                    "events": recorder.run(),
                    "lag": lag.run(),
                    "announcement": self._announce(door),
                }.items()
            ]
            leading = tasks.create_task(self._lead(recorder), name="leading")
            await stop.wait()
            self._stopping = True
            await door.stop(self._settings.shutdown_grace_seconds)
            leading.cancel()
            await asyncio.wait([leading])
            for task in background:
                task.cancel()

    async def _announce(self, door: Door) -> None:
        """Health turns SERVING when there is something to answer from."""
        await self._node_sets.wait_synced()
        await self._machines.wait_synced()
        # A full collection walks everything that was imported and cached: 160 ms for the imports alone and 266 ms with
        # 5,000 Machines and Nodes on a busy machine, in which no RPC is answered. What is here now stays, so it is set
        # aside once; what dies of it later is freed by its reference count all the same.
        gc.collect()
        gc.freeze()
        await door.set_serving(serving=True)
        log.info("ready", nodesets=len(self._node_sets), machines=len(self._machines))

    async def _lead(self, recorder: Recorder) -> None:
        """Stand for election and lead, again and again.

        What the controllers need before they can begin may be out of reach: the Lease then goes to whoever can.
        """
        await self._node_sets.wait_synced()
        await self._machines.wait_synced()
        settings, election = self._settings, self._settings.leader_election
        drivers = Drivers(self._client, _factories(settings), namespace=_namespace(settings))
        elector = LeaderElector(
            self._client,
            namespace=_namespace(settings),
            name=election.lease_name,
            identity=election.identity or f"{socket.gethostname()}_{secrets.token_hex(4)}",
            lease_duration=election.lease_duration_seconds,
            renew_deadline=election.renew_deadline_seconds,
            retry_period=election.retry_period_seconds,
            labels={LABEL_PROVIDER: ""},
            annotations={ANNOTATION_DRIVERS: ",".join(sorted(drivers.names))},
        )
        controllers = Controllers(
            client=self._client,
            nodesets=self._node_sets,
            machines=self._machines,
            drivers=drivers,
            config=ControllerConfig(
                namespace=_namespace(settings), access=_access(settings, self._client), gpu_label=settings.gpu_label
            ),
            recorder=recorder,
            may_act=lambda: elector.is_leader,
        )
        backoff = Backoff(1.0, 30.0)
        loop = asyncio.get_running_loop()
        try:
            while True:
                started = loop.time()
                try:
                    await elector.run(controllers.run)
                except* (ApiError, UnusableBootstrapKey) as errors:
                    for reason in _reasons(errors):
                        log.error("cannot lead", reason=reason)  # noqa: TRY400 - for people; there is no bug to trace
                if loop.time() - started > _LONG_TERM:
                    backoff.reset()
                await asyncio.sleep(backoff.next())
        finally:
            await drivers.close()


@asynccontextmanager
async def _probes(settings: Settings, provider: _Provider, lag: LoopLag) -> AsyncIterator[None]:
    if not settings.http.listen:
        yield
        return
    wanted = parse_address(settings.http.listen)
    probes = Probes(wanted, missing=provider.missing, lag=lag)
    try:
        try:
            address = await probes.start()
        except OSError as error:
            raise CannotListen(f"cannot listen on {wanted} (http.listen): {error.strerror}; choose another") from None
        log.info("serving HTTP", address=str(address))
        yield
    finally:
        await probes.stop()


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    files = settings.grpc
    if not files.cert_file:
        return None
    return ReloadingCredentials(CertificateFiles(files.cert_file, files.key_file, files.client_ca_file)).credentials


def _namespace(settings: Settings) -> str:
    if settings.namespace:
        return settings.namespace
    try:
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return COMPONENT


def _access(settings: Settings, client: Client) -> ClusterAccess:
    join = settings.join
    return ClusterAccess(
        endpoint=join.endpoint or client.server,
        ca_bundle=Path(join.ca_file).read_bytes() if join.ca_file else client.ca_bundle,
        dns=join.cluster_dns,
        domain=join.cluster_domain,
    )


def _factories(settings: Settings) -> Mapping[str, DriverFactory]:
    factories = load_drivers(settings.drivers or None)
    for name, reason in broken_drivers(factories).items():
        log.error("driver cannot be used", driver=name, reason=reason)
    log.info("drivers", names=sorted(factories))
    return factories


def _reasons(errors: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _reasons(error)
        else:
            yield str(error)
