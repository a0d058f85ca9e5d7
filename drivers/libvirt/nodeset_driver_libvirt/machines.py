"""Makes, finds and takes away the machine of a token, step by step; runs in a worker thread.

The order is what makes it exactly one. The domain is *defined first*: its UUID is the token, so the host itself has at
most one, and from then on everything that is made has an owner that `list` shows and `delete` finds. Then its volumes,
whose names follow from the token. Then it is started. Taken away it is the other way round, the domain last.

A machine exists once it has been started; what a crash left before that is made whole by the next create with the
token, or removed by a delete. May touch: the host, through a connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from xml.etree import ElementTree as ET

import msgspec

from nodeset_driver_libvirt.acceleration import Accelerations
from nodeset_driver_libvirt.config import Config
from nodeset_driver_libvirt.console import plain_end
from nodeset_driver_libvirt.domain_xml import Paths, domain_xml
from nodeset_driver_libvirt.failures import Code, define_failure, start_failure
from nodeset_driver_libvirt.identity import METADATA_KEY, NAMESPACE, Belonging, Names, names_of, read_belonging
from nodeset_driver_libvirt.inspection import Found, inspect
from nodeset_driver_libvirt.library import Connection, Domain, Libvirt
from nodeset_driver_libvirt.room import Room
from nodeset_driver_libvirt.seed import seed_image
from nodeset_driver_libvirt.sightings import Sighting, sight
from nodeset_driver_libvirt.storage import find_pool
from nodeset_driver_libvirt.workers import Wanted
from nodeset_provider.driverkit.contract import DIAGNOSIS_LIMIT, CreateRequest, Instance
from nodeset_provider.driverkit.errors import DriverError, Transient

_CONSOLE_BYTES = 32768
"""Read of the console's end: enough for the diagnosis after colours and progress bars are gone."""


class Machines:
    """Those of one host. ``libvirt`` is the module; ``now`` tells seconds since the epoch."""

    def __init__(self, libvirt: Libvirt, where: str, *, now: Callable[[], float] = time.time) -> None:
        self._libvirt = libvirt
        self._where = where
        self._now = now
        self._accelerations = Accelerations(libvirt, where)
        self._room = Room(libvirt, where)

    def inspect(self, connection: Connection, config: Config) -> Found:
        """What a machine of this config would be made of. Raises InvalidSpec, also where it can never fit."""
        found = inspect(self._libvirt, connection, config, self._accelerations, self._where)
        self._room.check_ever(connection, config, found)
        return found

    def create(self, connection: Connection, request: CreateRequest, config: Config, wanted: Wanted) -> Instance:
        """The machine of the token, made or found. An error that vouches for it has left nothing behind."""
        names = names_of(request.token)
        existing = self.find(connection, names)
        if existing is not None and existing.belonging.cluster != request.cluster:
            raise self._somebody_elses(names)
        if existing is not None and existing.exists:
            return existing.instance()
        try:
            found = self.inspect(connection, config)
            with self._room.taken(connection, config, found, names):
                wanted.check()
                self._make(connection, request, config, found=found, wanted=wanted)
        except DriverError as error:
            if error.attempt_failed:
                return self._clean_up(connection, names, request.cluster, error)
            raise
        made = self.find(connection, names)
        if made is None or not made.exists:
            raise Transient(f"{self._where}: the machine of token {names.token} went as soon as it was started")
        return made.instance()

    def find(self, connection: Connection, names: Names) -> Sighting | None:
        """What there is of a token, begun machines included; None where the host has no such domain of ours."""
        domain = self._domain(connection, names)
        return sight(self._libvirt, domain) if domain is not None else None

    def list(self, connection: Connection, cluster: str) -> list[Instance]:
        """All of that cluster, begun machines included."""
        found = []
        for domain in connection.listAllDomains(0):
            try:
                sighting = sight(self._libvirt, domain)
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != Code.NO_DOMAIN:
                    raise
                continue  # it went meanwhile
            if sighting is not None and sighting.belonging.cluster == cluster:
                found.append(sighting.instance())
        return found

    def delete(self, connection: Connection, names: Names, cluster: str, pool: str) -> None:
        """Nothing is left afterwards. ``pool``: where its volumes would be, if the domain is gone already."""
        domain = self._domain(connection, names)
        if domain is not None:
            description = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own words
            belonging = read_belonging(description)
            if belonging is None or belonging.cluster != cluster:
                return  # not ours, whatever its UUID
            pool = belonging.pool
            self._stop(domain)
        found = find_pool(self._libvirt, connection, pool)
        if found is not None:
            found.delete_volumes(names)
        elif domain is not None:
            raise Transient(
                f"{self._where} has no pool {pool} any more, where the disks of domain {names.token} are; define it "
                f"again, or remove them and `virsh undefine {names.token}`"
            )
        if domain is not None:
            self._undefine(domain)

    def diagnose(self, connection: Connection, names: Names, cluster: str) -> str:
        """A line of the hypervisor, then the end of the console. Empty where there is no such machine."""
        sighting = self.find(connection, names)
        if sighting is None or sighting.belonging.cluster != cluster:
            return ""
        header = sighting.describe()
        pool = find_pool(self._libvirt, connection, sighting.belonging.pool)
        console = pool.read_end(names.console, _CONSOLE_BYTES) if pool is not None else b""
        said = plain_end(console, DIAGNOSIS_LIMIT - len(header) - 1)
        return f"{header}\n{said or '(nothing on the serial console)'}"[:DIAGNOSIS_LIMIT]

    def _make(
        self, connection: Connection, request: CreateRequest, config: Config, *, found: Found, wanted: Wanted
    ) -> None:
        names = names_of(request.token)
        belonging = Belonging(
            cluster=request.cluster,
            machine=request.machine,
            token=names.token,
            pool=found.pool.name,
            created_at=self._now(),
        )
        ignition = request.user_data_format == "Ignition"
        paths = Paths(
            disk=found.pool.path(names.disk),
            console=found.pool.path(names.console),
            seed="" if ignition else found.pool.path(names.seed),
            ignition=found.pool.path(names.ignition) if ignition else "",
            kernel=found.kernel,
            initrd=found.initrd,
        )
        domain = self._domain(connection, names)
        if domain is None:
            domain = self._define(
                connection,
                domain_xml(config, names, belonging, paths, kvm=found.kvm),
                extra=config.extra_xml.is_given,
            )
        elif read_belonging(ET.fromstring(domain.XMLDesc(0))) is None:  # noqa: S314 - libvirt's own words
            raise self._somebody_elses(names)
        wanted.check()
        if not domain.isActive():
            found.pool.make_disk(names, found.image, found.disk_size)
            wanted.check()
            found.pool.make_file(names.console, b"")  # libvirt sees it from now on without a refresh
            if ignition:
                found.pool.make_file(names.ignition, request.user_data)
            else:
                medium = seed_image(instance_id=names.token, hostname=request.machine, user_data=request.user_data)
                found.pool.make_file(names.seed, medium)
            wanted.check()
            self._start(connection, domain, config)
        self._mark_started(domain)

    def _define(self, connection: Connection, xml: str, *, extra: bool) -> Domain:
        # Without validation libvirt leaves out what it does not know; what the driver writes, it knows.
        flags = self._libvirt.VIR_DOMAIN_DEFINE_VALIDATE if extra else 0
        try:
            return connection.defineXMLFlags(xml, flags)
        except self._libvirt.libvirtError as error:
            code, message = error.get_error_code() or 0, error.get_error_message() or ""
            if not connection.isAlive():
                raise
            raise define_failure(code, message, self._where, extra=extra) from None

    def _start(self, connection: Connection, domain: Domain, config: Config) -> None:
        try:
            domain.create()
        except self._libvirt.libvirtError as error:
            code, message = error.get_error_code() or 0, error.get_error_message() or ""
            if not connection.isAlive():
                raise
            if domain.isActive():
                return  # another process has started it
            raise start_failure(
                code, message, self._where, bridge=config.bridge, extra=config.extra_xml.is_given
            ) from None

    def _mark_started(self, domain: Domain) -> None:
        description = ET.fromstring(domain.XMLDesc(self._libvirt.VIR_DOMAIN_XML_INACTIVE))  # noqa: S314
        belonging = read_belonging(description)
        if belonging is None or belonging.started:
            return
        element = msgspec.structs.replace(belonging, started=True).to_xml(namespace=False)
        domain.setMetadata(
            self._libvirt.VIR_DOMAIN_METADATA_ELEMENT,
            ET.tostring(element, encoding="unicode"),
            METADATA_KEY,
            NAMESPACE,
            self._libvirt.VIR_DOMAIN_AFFECT_CONFIG,
        )

    def _clean_up(self, connection: Connection, names: Names, cluster: str, error: DriverError) -> Instance:
        """Nothing is left of an attempt that failed for good; only then may its error be told."""
        sighting = self.find(connection, names)
        if sighting is not None and sighting.exists:
            return sighting.instance()  # another process made it meanwhile
        if sighting is not None:
            self.delete(connection, names, cluster, sighting.belonging.pool)
        raise error

    def _somebody_elses(self, names: Names) -> DriverError:
        return Transient(
            f"{self._where}: the domain with the UUID {names.token} is somebody else's; rename or remove it"
        )

    def _domain(self, connection: Connection, names: Names) -> Domain | None:
        try:
            return connection.lookupByUUIDString(names.token)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != Code.NO_DOMAIN:
                raise
            return None

    def _stop(self, domain: Domain) -> None:
        try:
            domain.destroy()
        except self._libvirt.libvirtError as error:
            if error.get_error_code() not in {Code.OPERATION_INVALID, Code.NO_DOMAIN}:
                raise

    def _undefine(self, domain: Domain) -> None:
        libvirt = self._libvirt
        flags = (
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )
        try:
            domain.undefineFlags(flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() != Code.NO_DOMAIN:
                raise
