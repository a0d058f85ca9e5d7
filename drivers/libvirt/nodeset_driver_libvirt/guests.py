"""What a host can run, as its libvirt says: machine types, and whether it has found KVM. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from xml.etree import ElementTree as ET

import msgspec

from nodeset_driver_libvirt.config import Config
from nodeset_driver_libvirt.domain_xml import ARCHITECTURE
from nodeset_provider.driverkit.errors import InvalidSpec


class Guests(msgspec.Struct, frozen=True):
    """``machines``: type → how many virtual CPUs it takes, 0 where that is not said."""

    kvm: bool
    machines: Mapping[str, int]

    def check(self, config: Config, where: str) -> None:
        """Raises InvalidSpec for a machine type or a number of CPUs that the host's QEMU does not have."""
        if not self.machines:
            raise InvalidSpec(f"{where} has no QEMU for {ARCHITECTURE}; install it there", field="uri")
        if config.machine not in self.machines:
            near = difflib.get_close_matches(config.machine, self.machines, n=3) or ["q35"]
            raise InvalidSpec(
                f"{where}: its QEMU has no machine type {config.machine}; near are {', '.join(near)}", field="machine"
            )
        most = self.machines[config.machine]
        if most and config.vcpus > most:
            raise InvalidSpec(
                f"{where}: machine type {config.machine} takes at most {most} vcpus there, not {config.vcpus}",
                field="vcpus",
            )


def read_guests(capabilities: str) -> Guests:
    """From virConnectGetCapabilities (https://libvirt.org/formatcaps.html#guest-capabilities)."""
    kvm, machines = False, dict[str, int]()
    for arch in ET.fromstring(capabilities).iterfind("guest/arch"):  # noqa: S314 - libvirt's own words
        if arch.get("name") != ARCHITECTURE:
            continue
        kvm = kvm or arch.find("domain[@type='kvm']") is not None
        for machine in arch.iter("machine"):
            for name in (machine.text, machine.get("canonical")):
                if name:
                    machines[name.strip()] = int(machine.get("maxCpus", "0"))
    return Guests(kvm, machines)
