"""What a host says of one domain of ours, and what that means as an Instance.

May touch: the host, through the domain it is given; runs in a worker thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Any, Final
from xml.etree import ElementTree as ET

import msgspec

from nodeset_driver_libvirt.identity import Belonging, Names, read_belonging
from nodeset_driver_libvirt.inspection import macs_of
from nodeset_driver_libvirt.library import Domain, Libvirt
from nodeset_provider.driverkit.contract import Address, Instance, InstanceState

# virDomainState, virDomainShutoffReason, virDomainPausedReason: include/libvirt/libvirt-domain.h
_PAUSED: Final = 3
_SHUTOFF: Final = 5
_CRASHED: Final = 6
_PAUSED_BY_IO_ERROR: Final = 5
_STARTING_UP: Final = 11
_AGENT_SECONDS: Final = 2
_ADDRESSES_LIMIT: Final = 16
_WHY_OFF: Final = {
    1: "the machine powered itself off",
    2: "somebody stopped the machine on its host",
    3: "QEMU, which ran the machine, crashed",
    5: "the machine was saved to disk on its host",
    6: "QEMU did not start the machine",
}
_WHY_OFF_ELSE: Final = "the machine is off, as after a restart of its host"


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One domain at one moment."""

    belonging: Belonging
    active: bool
    state: int
    reason: int
    kvm: bool
    addresses: tuple[Address, ...]

    @property
    def exists(self) -> bool:
        """Whether it is a machine; else a create was broken off before it was started."""
        return self.active or self.belonging.started

    def instance(self) -> Instance:
        """As the contract has it."""
        state, message = self._state()
        return Instance(
            provider_id=Names(self.belonging.token).provider_id,
            token=self.belonging.token,
            cluster=self.belonging.cluster,
            machine=self.belonging.machine,
            state=state,
            addresses=self.addresses,
            created_at=self.belonging.created_at,
            message=message,
        )

    def describe(self) -> str:
        """One line for people."""
        state, message = self._state()
        how = "on KVM" if self.kvm else "emulated, without KVM"
        return f"libvirt: {message or state.value.lower()}, {how}; the end of its serial console:"

    def _state(self) -> tuple[InstanceState, str]:
        if not self.exists:
            return InstanceState.CREATING, ""
        if not self.active:
            return InstanceState.FAILED, _WHY_OFF.get(self.reason, _WHY_OFF_ELSE)
        if self.state == _CRASHED:
            return InstanceState.FAILED, "the machine crashed"
        if self.state == _PAUSED and self.reason == _PAUSED_BY_IO_ERROR:
            return InstanceState.FAILED, "the machine was stopped by a disk error, as when its pool is full"
        if self.state == _PAUSED and self.reason == _STARTING_UP:
            return InstanceState.CREATING, ""
        return InstanceState.RUNNING, ""


def sight(libvirt: Libvirt, domain: Domain) -> Sighting | None:
    """None for a domain that is not ours. Raises libvirtError, NO_DOMAIN where it went meanwhile."""
    description = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own words
    belonging = read_belonging(description)
    if belonging is None:
        return None
    state, reason = domain.state(0)
    active = state != _SHUTOFF
    return Sighting(
        belonging=belonging,
        active=active,
        state=state,
        reason=reason,
        kvm=description.get("type") == "kvm",
        addresses=_addresses(libvirt, domain, description) if active else (),
    )


def _addresses(libvirt: Libvirt, domain: Domain, description: ET.Element) -> tuple[Address, ...]:
    """From the network's DHCP leases; where it gives none (a bridge), from the agent in the machine, if it runs one."""
    macs = macs_of(description)
    sources = [libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE]
    if description.find("devices/channel/target[@name='org.qemu.guest_agent.0'][@state='connected']") is not None:
        sources.append(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    sources.append(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
    for source in sources:
        with contextlib.suppress(libvirt.libvirtError):  # an agent that does not answer must not hide the machine
            if source == libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT:
                # libvirt waits for ever otherwise, and the guest is not ours to rely on.
                domain.agentSetResponseTimeout(_AGENT_SECONDS, 0)
            found = usable_addresses(domain.interfaceAddresses(source, 0), macs)
            if found:
                return found
    return ()


def usable_addresses(interfaces: dict[str, Any], macs: frozenset[str]) -> tuple[Address, ...]:
    """Of the machine's own interfaces, IPv4 first; none of a container's, none that is only good on one link. Pure."""
    found: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = set()
    for interface in interfaces.values():
        if (interface.get("hwaddr") or "").lower() not in macs:
            continue
        for entry in interface.get("addrs") or ():
            with contextlib.suppress(ValueError):
                address = ipaddress.ip_address(entry["addr"])
                if not (address.is_loopback or address.is_link_local or address.is_unspecified):
                    found.add(address)
    ordered = sorted(found, key=lambda address: (address.version, int(address)))
    return tuple(Address(type="InternalIP", address=str(address)) for address in ordered[:_ADDRESSES_LIMIT])
