"""Decides what the cloud makes, shows and takes away. No I/O of its own: the clock, randomness and the store are given.

Each method takes effect as a whole and at once, so two calls with one client token can never both make a machine.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from random import Random

import msgspec

from nodeset_driver_simulated.boot.quantity import parse_quantity
from nodeset_driver_simulated.cloud.errors import CloudError
from nodeset_driver_simulated.cloud.ledger import make_ledger
from nodeset_driver_simulated.cloud.records import Record
from nodeset_driver_simulated.cloud.settings import Settings
from nodeset_driver_simulated.cloud.store import Store
from nodeset_driver_simulated.knobs import Capacity, FaultKind, Knobs
from nodeset_driver_simulated.wire import (
    MAX_USER_DATA,
    CreateInstance,
    Disk,
    Instance,
    InstanceList,
    InstanceType,
    Ledger,
)

_FIRST_ADDRESS = ipaddress.IPv4Address("10.64.0.10")
_NAME_LIMIT = 253


class Inventory:
    """All machines of one account. ``clock`` says seconds since the epoch; ``random`` chooses assigned ids."""

    def __init__(self, settings: Settings, store: Store, *, clock: Callable[[], float], random: Random) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._random = random
        self.types = {kind.name: kind for kind in settings.types}
        self._cpus = {kind.name: parse_quantity(kind.capacity["cpu"]) for kind in settings.types}
        self.knobs = store.setting("knobs", Knobs) or settings.knobs
        self._records = {record.id: record for record in store.records()}
        self._by_token = {record.token: record for record in self._records.values()}
        self._alive = dict(self._records)
        self._going: list[tuple[float, str]] = []
        self._used = Counter((record.type, record.zone) for record in self._records.values())
        for record in self._records.values():
            if record.gone_at is not None:
                heapq.heappush(self._going, (record.gone_at, record.id))

    # --- what is asked ----------------------------------------------------------------------------------------------
    def create(self, request: CreateInstance, *, fault: FaultKind | None = None) -> tuple[Instance, Record | None]:
        """The machine of that token; the record too where this call made it. Raises CloudError."""
        now = self._settle()
        fingerprint = sha256(msgspec.msgpack.encode(request)).digest()
        known = self._by_token.get(request.token)
        if known is not None:
            if known.fingerprint != fingerprint:
                raise CloudError("IdempotentParameterMismatch", f"token {request.token} was used with other parameters")
            return known.instance(now), None
        kind = self._check(request)
        zone = self._place(kind, request.zone)
        self._check_quota(kind)
        seq = len(self._records)
        record = Record(
            seq=seq,
            id=f"i-{self._random.getrandbits(68):017x}" if request.assigned_id else f"i-{request.token}",
            token=request.token,
            cluster=request.cluster,
            machine=request.machine,
            type=kind.name,
            zone=zone,
            fingerprint=fingerprint,
            address=str(_FIRST_ADDRESS + seq),
            created_at=now,
            running_at=now + self.vary("boot", self.knobs.latency.boot, request.token),
            breaks=fault == "bootFails",
            boot="never" if fault == "bootNever" else "pending",
        )
        self._store.add(record, request.user_data)
        self._records[record.id] = self._by_token[record.token] = self._alive[record.id] = record
        self._used[record.type, record.zone] += 1
        return record.instance(now), record

    def get(self, instance_id: str, cluster: str) -> Instance:
        """One machine of that cluster. Raises CloudError while it is not yet seen, and once it is gone."""
        return self._find(instance_id, cluster, self._settle()).instance(self._clock())

    def page(self, cluster: str, *, token: str, after: str, limit: int) -> InstanceList:
        """A page of the machines of that cluster that are seen and not gone."""
        now = self._settle()
        start = int(after) if after.isdigit() else -1
        known = self._by_token.get(token)
        candidates = self._alive.values() if not token else [known] if known else []
        page: list[Record] = []
        for record in candidates:
            if record.seq > start and record.cluster == cluster and self._seen(record, now):
                if len(page) == limit:
                    return InstanceList(instances=[found.instance(now) for found in page], next=str(page[-1].seq))
                page.append(record)
        return InstanceList(instances=[found.instance(now) for found in page])

    def delete(self, instance_id: str, cluster: str, *, disk_stays: bool = False) -> tuple[Instance, Record]:
        """Begin the end of a machine; a second call changes nothing. Raises CloudError as ``get``."""
        now = self._settle()
        record = self._find(instance_id, cluster, now)
        if record.gone_at is None:
            record.gone_at = now + self.vary("delete", self.knobs.latency.delete, record.token)
            record.disk_gone_at = None if disk_stays else record.gone_at
            self._store.save(record)
            self._store.forget_user_data(record.id)
            heapq.heappush(self._going, (record.gone_at, record.id))
            self._settle()
        return record.instance(now), record

    def disks(self, cluster: str, token: str) -> list[Disk]:
        """Disks of that cluster (and of that token, where given) that exist."""
        now = self._settle()
        known = self._by_token.get(token)
        candidates = self._records.values() if not token else [known] if known else []
        return [record.disk() for record in candidates if record.cluster == cluster and record.disk_exists(now)]

    def delete_disk(self, disk_id: str) -> None:
        """Delete the disk of a machine that is gone. Raises CloudError while the machine has it."""
        now = self._settle()
        record = self._records.get(disk_id.removeprefix("disk-"))
        if record is None or not record.disk_exists(now):
            raise CloudError("DiskNotFound", f"no disk {disk_id}")
        if record.alive(now):
            raise CloudError("InvalidParameter", f"disk {disk_id} is in use by {record.id}; delete that first")
        record.disk_gone_at = now
        self._store.save(record)

    def ledger(self) -> Ledger:
        """What was made and what is alive."""
        return make_ledger(self._records.values(), self._clock())

    # --- what the administrator and the boots need ------------------------------------------------------------------
    def turn(self, knobs: Knobs) -> None:
        """Set all knobs, for good."""
        self.knobs = knobs
        self._store.keep("knobs", knobs)

    def limit(self, change: Capacity) -> None:
        """Set or take back the limit of one type in one zone. Raises CloudError for an unknown one."""
        kind = self.type(change.type)
        if change.zone not in kind.zones:
            raise CloudError(
                "InvalidParameter", f"{kind.name} has no zone {change.zone}", field="zone", known=kind.zones
            )
        limits = {key: value for key, value in self.knobs.limits.items() if key != f"{kind.name}/{change.zone}"}
        if change.limit is not None:
            limits[f"{kind.name}/{change.zone}"] = change.limit
        self.turn(msgspec.structs.replace(self.knobs, limits=limits))

    def type(self, name: str) -> InstanceType:
        """One instance type. Raises CloudError."""
        kind = self.types.get(name)
        if kind is None:
            raise CloudError("TypeNotFound", f"no instance type {name!r}", field="type", known=self.types)
        return kind

    def record(self, instance_id: str) -> Record | None:
        """What is remembered of a machine, gone or not."""
        return self._records.get(instance_id)

    def booting(self) -> list[Record]:
        """Machines whose user-data is still to be used."""
        now = self._clock()
        return [record for record in self._records.values() if record.boots(now)]

    def vary(self, what: str, seconds: float, token: str) -> float:
        """``seconds`` with the jitter that this seed gives this token, whatever order calls come in."""
        jitter = self.knobs.latency.jitter
        if not seconds or not jitter:
            return seconds
        return seconds * (1 + jitter * Random(f"{self._settings.seed}/{what}/{token}").uniform(-1, 1))  # noqa: S311

    # --- rules ------------------------------------------------------------------------------------------------------
    def _check(self, request: CreateInstance) -> InstanceType:
        for field in ("token", "cluster", "machine"):
            value = getattr(request, field)
            if not value or len(value) > _NAME_LIMIT or not value.isascii() or not value.replace("-", "").isalnum():
                raise CloudError("InvalidParameter", f"{field} must be letters, digits and dashes", field=field)
        if len(request.user_data) > MAX_USER_DATA:
            raise CloudError(
                "InvalidParameter", f"{len(request.user_data)} bytes, {MAX_USER_DATA} are allowed", field="userData"
            )
        kind = self.type(request.type)
        if request.zone and request.zone not in kind.zones:
            raise CloudError(
                "InvalidParameter", f"{kind.name} has no zone {request.zone!r}", field="zone", known=kind.zones
            )
        return kind

    def _place(self, kind: InstanceType, zone: str) -> str:
        """The zone asked for, or the emptiest with room."""
        room = [name for name in ([zone] if zone else kind.zones) if self._has_room(kind, name)]
        if not room:
            raise CloudError("InsufficientCapacity", f"no {kind.name} left in {zone or ', '.join(kind.zones)}")
        return min(room, key=lambda name: self._used[kind.name, name])

    def _has_room(self, kind: InstanceType, zone: str) -> bool:
        limit = self.knobs.limits.get(f"{kind.name}/{zone}", kind.limit_per_zone)
        return limit is None or self._used[kind.name, zone] < limit

    def _check_quota(self, kind: InstanceType) -> None:
        quota = self.knobs.quota
        if quota.instances is not None and len(self._alive) >= quota.instances:
            raise CloudError("QuotaExceeded", f"quota of {quota.instances} instances is used up")
        if quota.cpus is not None:
            used = sum((self._cpus[name] * times for (name, _), times in self._used.items() if times), Decimal(0))
            if used + self._cpus[kind.name] > Decimal(str(quota.cpus)):
                raise CloudError(
                    "QuotaExceeded", f"quota of {quota.cpus:g} cpus: {used:f} in use, {kind.name} is too much"
                )

    def _find(self, instance_id: str, cluster: str, now: float) -> Record:
        record = self._alive.get(instance_id)
        if record is None or record.cluster != cluster or not self._seen(record, now):
            raise CloudError("InstanceNotFound", f"no instance {instance_id}")
        return record

    def _seen(self, record: Record, now: float) -> bool:
        return record.alive(now) and now >= record.created_at + self._settings.visibility_delay

    def _settle(self) -> float:
        """Drop what is gone by now from everything that counts. Answers the time."""
        now = self._clock()
        while self._going and self._going[0][0] <= now:
            record = self._alive.pop(heapq.heappop(self._going)[1])
            self._used[record.type, record.zone] -= 1
        return now
