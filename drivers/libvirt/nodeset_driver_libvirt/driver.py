"""The driver of libvirt: the contract's methods, each one piece of work in a thread of the host it is about.

Keeps nothing but connections, and what a trial said of a host's KVM. Everything else is on the hosts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from nodeset_driver_libvirt import library
from nodeset_driver_libvirt.capacity import node_capacity
from nodeset_driver_libvirt.config import Config, parse_config, parse_location
from nodeset_driver_libvirt.connection import Host
from nodeset_driver_libvirt.credentials import Credentials, parse_credentials
from nodeset_driver_libvirt.identity import PROVIDER_ID_PREFIX, Names, names_of, names_of_provider_id
from nodeset_driver_libvirt.inspection import Found
from nodeset_driver_libvirt.machines import Machines
from nodeset_driver_libvirt.sizes import MIB
from nodeset_driver_libvirt.uri import Target
from nodeset_driver_libvirt.workers import Workers
from nodeset_provider.driverkit.contract import (
    CreateRequest,
    Deletion,
    Instance,
    InstanceKey,
    Offering,
    UserDataFormat,
)
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec, NotFound, Transient

ACCELERATION_LABEL: Final = "libvirt.nodeset.dev/acceleration"
"""``kvm`` or ``tcg``: whether the host's processor runs the Node, or an emulated one."""

_USER_DATA_LIMIT: Final = 4 * MIB
"""A medium may be of any size; what is larger belongs into an image."""
_CLOSE_SECONDS: Final = 5.0


class LibvirtDriver:
    """All hosts that one Secret opens. See the rules of :mod:`nodeset_provider.driverkit.contract`."""

    consistency_delay: float = 0.0  # a host knows its own domains
    user_data_limit: int = _USER_DATA_LIMIT
    user_data_formats: tuple[UserDataFormat, ...] = ("CloudInit", "Ignition")
    user_data_gzip: bool = False

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._hosts: dict[Target, tuple[Host, Machines]] = {}

    async def resolve(self, config: Mapping[str, Any]) -> Offering:
        """The machine's size by the config; the host is asked for pool, image, network and KVM."""
        parsed = parse_config(config)
        host, machines = self._host(parsed.target)
        found = await host.ask(lambda connection: machines.inspect(connection, parsed))
        return Offering(
            capacity=node_capacity(vcpus=parsed.vcpus, memory=parsed.memory_bytes, disk=found.disk_size),
            labels=_labels(parsed, found),
            provider_id_format=f"{PROVIDER_ID_PREFIX}{{token}}",
        )

    async def create(self, request: CreateRequest) -> Instance:
        """Make the machine of ``request.token``, or answer the one that exists."""
        names, config = names_of(request.token), parse_config(request.config)
        if request.user_data_format not in self.user_data_formats:
            raise InvalidSpec(f"user-data of format {request.user_data_format} is not served", field="")
        host, machines = self._host(config.target)
        return await host.change(
            names.token,
            lambda connection, wanted: machines.create(connection, request, config, wanted),
        )

    async def get(self, key: InstanceKey) -> Instance:
        """The machine, by provider id or by token. One that was begun and never started is not there yet."""
        names = _names(key)
        host, machines = self._host(parse_location(key.config).target)
        found = await host.ask(lambda connection: machines.find(connection, names))
        if found is None or found.belonging.cluster != key.cluster or not found.exists:
            raise NotFound(f"{host.name} has no machine of token {names.token}")
        return found.instance()

    async def delete(self, key: InstanceKey) -> Deletion:
        """Stop the machine, remove its volumes, forget it."""
        names, location = _names(key), parse_location(key.config)
        host, machines = self._host(location.target)
        await host.change(
            names.token, lambda connection, _wanted: machines.delete(connection, names, key.cluster, location.pool)
        )
        return Deletion.GONE

    async def list(self, cluster: str, configs: Sequence[Mapping[str, Any]] = ()) -> AsyncIterator[Instance]:
        """Every machine of that cluster on the hosts of ``configs``; without any, on those that were used before.

        Raises at the end, when what is known has been yielded, where hosts could not be asked.
        """
        targets = set() if configs else set(self._hosts)
        for config in configs:
            with contextlib.suppress(InvalidSpec):  # nothing was ever made at a place that cannot be
                targets.add(parse_location(config).target)
        errors: list[DriverError] = []
        for target in sorted(targets, key=lambda target: target.uri):
            host, machines = self._host(target)
            try:
                found = await self._list(host, machines, cluster)
            except DriverError as error:
                errors.append(error)
                continue
            for instance in found:
                yield instance
        if errors and len(errors) == len(targets):
            raise errors[0]
        if errors:
            raise Transient(f"not all hosts could be asked: {'; '.join(error.message for error in errors)[:1000]}")

    async def diagnose(self, key: InstanceKey) -> str:
        """What libvirt says of the machine, and the last lines of its serial console."""
        names = _names(key)
        host, machines = self._host(parse_location(key.config).target)
        return await host.ask(lambda connection: machines.diagnose(connection, names, key.cluster))

    async def close(self) -> None:
        """Let go of connections. A host that answers nothing is not waited for."""
        hosts, self._hosts = self._hosts, {}
        closing = Workers(max(1, len(hosts)), "libvirt-close")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*(self._close(closing, host) for host, _ in hosts.values()))
        closing.close()

    @staticmethod
    async def _list(host: Host, machines: Machines, cluster: str) -> Sequence[Instance]:
        return await host.ask(lambda connection: machines.list(connection, cluster))

    @staticmethod
    async def _close(workers: Workers, host: Host) -> None:
        await workers.run(lambda _wanted: host.close())

    def _host(self, target: Target) -> tuple[Host, Machines]:
        known = self._hosts.get(target)
        if known is None:
            host = Host(target, self._credentials)
            known = self._hosts[target] = (host, Machines(host.libvirt, host.name))
        return known


class LibvirtDriverFactory:
    """What the entry point ``libvirt`` names. A libvirt of the provider's own machine needs no Secret."""

    required_credentials: tuple[str, ...] = ()

    def __call__(self, credentials: Mapping[str, bytes]) -> LibvirtDriver:
        """A driver for the key and the host keys in the Secret. Raises InvalidSpec where libvirt-python is missing."""
        library.load()
        return LibvirtDriver(parse_credentials(credentials))


create_driver = LibvirtDriverFactory()


def _labels(config: Config, found: Found) -> dict[str, str]:
    size = f"{config.vcpus}x{config.memory_bytes // MIB}Mi"
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": config.instance_type or size,
        ACCELERATION_LABEL: "kvm" if found.kvm else "tcg",
    }
    if config.region:
        labels["topology.kubernetes.io/region"] = config.region
    if config.zone:
        labels["topology.kubernetes.io/zone"] = config.zone
    return labels


def _names(key: InstanceKey) -> Names:
    return names_of_provider_id(key.provider_id) if key.provider_id else names_of(key.token)
