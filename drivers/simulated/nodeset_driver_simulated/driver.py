"""The driver of the simulated cloud: the contract's five methods over its HTTP interface.

Keeps nothing but a connection pool. Client tokens are the cloud's, so an answer lost is an answer asked again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from nodeset_driver_simulated import wire
from nodeset_driver_simulated.config import REQUIRED_CREDENTIALS, Config, parse_config, parse_credentials
from nodeset_driver_simulated.transport import ParameterMismatch, Transport
from nodeset_provider.driverkit.contract import (
    DIAGNOSIS_LIMIT,
    Address,
    CreateRequest,
    Deletion,
    Instance,
    InstanceKey,
    InstanceState,
    Offering,
    UserDataFormat,
)
from nodeset_provider.driverkit.errors import InvalidSpec, NotFound, Transient

DEFAULT_TIMEOUT = 30.0
"""Seconds for one call. Past them nobody knows whether it took effect: Transient."""

_STATES = {
    "Creating": InstanceState.CREATING,
    "Running": InstanceState.RUNNING,
    "Deleting": InstanceState.DELETING,
    "Failed": InstanceState.FAILED,
    "Gone": InstanceState.FAILED,  # only as the answer of a create whose machine was taken away: it will never run
}


class SimulatedDriver:
    """One account of one simulated cloud. See the rules of :mod:`nodeset_provider.driverkit.contract`."""

    consistency_delay: float = wire.MAX_VISIBILITY_DELAY
    user_data_limit: int = wire.MAX_USER_DATA
    user_data_formats: tuple[UserDataFormat, ...] = ("CloudInit",)
    user_data_gzip: bool = False

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def resolve(self, config: Mapping[str, Any]) -> Offering:
        """Capacity, labels and price of the instance type; the zone where it is certain."""
        parsed = parse_config(config)
        kind = await self._transport.call(wire.InstanceType, "GET", f"/v1/types/{_segment(parsed.instance_type)}")
        if parsed.zone and parsed.zone not in kind.zones:
            raise InvalidSpec(
                f"{kind.name} is not offered in zone {parsed.zone!r}; its zones are {', '.join(kind.zones)}",
                field="zone",
            )
        zone = parsed.zone or (kind.zones[0] if len(kind.zones) == 1 else "")
        labels = {
            "kubernetes.io/arch": kind.architecture,
            "kubernetes.io/os": kind.operating_system,
            "node.kubernetes.io/instance-type": kind.name,
            "topology.kubernetes.io/region": kind.region,
        }
        if zone:
            labels["topology.kubernetes.io/zone"] = zone
        return Offering(
            capacity=kind.capacity,
            labels=labels,
            price_per_hour=kind.price_per_hour,
            gpu_type=kind.gpu_type,
            provider_id_format="" if parsed.assigned_id else f"{wire.PROVIDER_ID_PREFIX}i-{{token}}",
        )

    async def create(self, request: CreateRequest) -> Instance:
        """Make the machine of ``request.token``, or answer the one that exists."""
        config: Config = parse_config(request.config)
        body = wire.CreateInstance(
            token=request.token,
            cluster=request.cluster,
            machine=request.machine,
            type=config.instance_type,
            zone=config.zone,
            assigned_id=config.assigned_id,
            user_data=request.user_data,
        )
        try:
            return _instance(await self._transport.call(wire.Instance, "POST", "/v1/instances", body=body))
        except ParameterMismatch as error:
            # Other parameters (a new CA bundle, say) do not change that the token has its machine: that is the answer.
            existing = await self._by_token(request.cluster, request.token)
            if existing is None:
                raise Transient(f"{error}, and that machine is not to be seen yet") from None
            return _instance(existing)

    async def get(self, key: InstanceKey) -> Instance:
        """The machine, by provider id or by token."""
        if key.provider_id:
            path = f"/v1/instances/{_instance_id(key.provider_id)}"
            return _instance(await self._transport.call(wire.Instance, "GET", path, query={"cluster": key.cluster}))
        found = await self._by_token(key.cluster, key.token)
        if found is None:
            raise NotFound(f"the simulated cloud has no machine for token {key.token}")
        return _instance(found)

    async def delete(self, key: InstanceKey) -> Deletion:
        """Terminate the machine, then see to it that no disk of it stays."""
        try:
            if key.provider_id:
                instance_id = _instance_id(key.provider_id)
            else:
                found = await self._by_token(key.cluster, key.token)
                if found is None:
                    raise NotFound("no machine")  # noqa: TRY301 - the cloud said so, as a 404 below says it
                instance_id = found.id
            left = await self._transport.call(
                wire.Instance, "DELETE", f"/v1/instances/{instance_id}", query={"cluster": key.cluster}
            )
        except NotFound:
            return await self._delete_disks(key)
        if left.state != "Gone":
            return Deletion.IN_PROGRESS
        return await self._delete_disks(key) if left.disks else Deletion.GONE

    async def list(self, cluster: str, configs: Sequence[Mapping[str, Any]] = ()) -> AsyncIterator[Instance]:  # noqa: ARG002 - one cloud, known by its endpoint
        """Every machine of that cluster, page by page."""
        after = ""
        while True:
            query = {"cluster": cluster, "after": after}
            page = await self._transport.call(wire.InstanceList, "GET", "/v1/instances", query=query)
            for found in page.instances:
                yield _instance(found)
            after = page.next
            if not after:
                return

    async def diagnose(self, key: InstanceKey) -> str:
        """Why the machine's boot failed, as the cloud saw it; empty while nothing has."""
        return (await self.get(key)).message[-DIAGNOSIS_LIMIT:]

    async def close(self) -> None:
        """Let go of connections. The machines stay."""
        await self._transport.close()

    async def _by_token(self, cluster: str, token: str) -> wire.Instance | None:
        query = {"cluster": cluster, "token": token}
        page = await self._transport.call(wire.InstanceList, "GET", "/v1/instances", query=query)
        return page.instances[0] if page.instances else None

    async def _delete_disks(self, key: InstanceKey) -> Deletion:
        query = {"cluster": key.cluster, "token": key.token}
        for disk in (await self._transport.call(wire.DiskList, "GET", "/v1/disks", query=query)).disks:
            try:
                await self._transport.call(type(None), "DELETE", f"/v1/disks/{disk.id}")
            except NotFound:
                continue
        return Deletion.GONE


class SimulatedDriverFactory:
    """What the entry point ``simulated`` names."""

    required_credentials: tuple[str, ...] = REQUIRED_CREDENTIALS

    def __call__(self, credentials: Mapping[str, bytes]) -> SimulatedDriver:
        """A driver for the account in the Secret (keys ``endpoint``, ``token``). Does no I/O."""
        return SimulatedDriver(Transport(parse_credentials(credentials), timeout=DEFAULT_TIMEOUT))


create_driver = SimulatedDriverFactory()


def _instance(found: wire.Instance) -> Instance:
    return Instance(
        provider_id=f"{wire.PROVIDER_ID_PREFIX}{found.id}",
        token=found.token,
        cluster=found.cluster,
        machine=found.machine,
        state=_STATES[found.state],
        addresses=(Address(type="InternalIP", address=found.address),) if found.address else (),
        created_at=found.created_at,
        message=found.message or ("the cloud took this machine away" if found.state == "Gone" else ""),
    )


def _instance_id(provider_id: str) -> str:
    name = provider_id.removeprefix(wire.PROVIDER_ID_PREFIX)
    if name == provider_id or not name or not name.isascii() or not name.replace("-", "").isalnum():
        raise InvalidSpec(f"{provider_id!r} is not a provider id of the simulated cloud", field="providerID")
    return name


def _segment(name: str) -> str:
    """A name as one segment of a path. Raises InvalidSpec for what could be read as another path."""
    if not name.isascii() or not name.replace("-", "").replace(".", "").isalnum() or name.strip(".") != name:
        raise InvalidSpec(f"instanceType {name!r} may have letters, digits, dashes and dots only", field="instanceType")
    return name
