"""One machine as the cloud remembers it.

Its state is a function of the record and the time, so nothing has to happen for a machine to start running or to be
gone, and a restart of the cloud loses no step.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from nodeset_driver_simulated.wire import Disk, Instance, State

Boot = Literal["pending", "joined", "failed", "never"]


class Record(msgspec.Struct, kw_only=True):
    """``seq`` orders listings; times are seconds since the epoch. ``fingerprint`` is of the request's parameters."""

    seq: int
    id: str
    token: str
    cluster: str
    machine: str
    type: str
    zone: str
    fingerprint: bytes
    address: str
    created_at: float
    running_at: float
    breaks: bool = False
    """At ``running_at`` it fails instead."""
    boot: Boot = "pending"
    """What became of its user-data: joined, given up for good, or never to be read."""
    certificate: bytes = b""
    """The kubelet's, between its issue and the Node's first status."""
    gone_at: float | None = None
    """Set by the deletion; None while nobody asked for one."""
    disk_gone_at: float | None = None
    """None with ``gone_at`` set: the disk stays until it is deleted by itself."""
    console: list[str] = []

    def state(self, now: float) -> State:
        """Where in its life it is."""
        if self.gone_at is not None:
            return "Gone" if now >= self.gone_at else "Deleting"
        if now < self.running_at:
            return "Creating"
        return "Failed" if self.breaks else "Running"

    def alive(self, now: float) -> bool:
        """Whether it is there and billed: until it is gone, not until somebody asked."""
        return self.gone_at is None or now < self.gone_at

    def disk_exists(self, now: float) -> bool:
        """Whether its disk is there and billed."""
        return self.disk_gone_at is None or now < self.disk_gone_at

    def boots(self, now: float) -> bool:
        """Whether its user-data is still to be used, now or later."""
        return self.boot == "pending" and not self.breaks and self.gone_at is None and self.alive(now)

    @property
    def disk_id(self) -> str:
        """Name of its disk."""
        return f"disk-{self.id}"

    def instance(self, now: float) -> Instance:
        """As the cloud shows it."""
        state = self.state(now)
        return Instance(
            id=self.id,
            token=self.token,
            cluster=self.cluster,
            machine=self.machine,
            type=self.type,
            zone=self.zone,
            state=state,
            created_at=self.created_at,
            address=self.address,
            message="the machine did not power on" if state == "Failed" else "",
            disks=[self.disk_id] if self.disk_exists(now) else [],
        )

    def disk(self) -> Disk:
        """Its disk, as the cloud shows it."""
        return Disk(id=self.disk_id, token=self.token, cluster=self.cluster, instance=self.id)
