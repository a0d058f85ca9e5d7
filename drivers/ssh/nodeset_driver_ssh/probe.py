"""What the hosts of a pool offer: the least that any of them has, so that what is promised is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nodeset_driver_ssh.config import RESOURCES
from nodeset_driver_ssh.hosts import Host
from nodeset_driver_ssh.quantity import smaller
from nodeset_driver_ssh.remote import Answer
from nodeset_provider.driverkit.contract import Offering
from nodeset_provider.driverkit.errors import Transient

_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
ARCHITECTURE: Final = "kubernetes.io/arch"


def is_declared(host: Host) -> bool:
    """Whether nothing has to be looked up on it: capacity and architecture are in the config."""
    return all(resource in host.entry.capacity for resource in RESOURCES) and ARCHITECTURE in host.entry.labels


def read_facts(host: Host, facts: Answer) -> Offering:
    """What one host offers; the config's word is above its own. Raises Transient for an answer without sense."""
    values = {
        "cpu": facts.one("cores"),
        "memory": f"{facts.one('memory')}Ki",
        "ephemeral-storage": f"{facts.one('disk')}Ki",
    }
    if not all(value.removesuffix("Ki").isdigit() and value.isascii() for value in values.values()):
        raise Transient(f"host {host.id} does not say how much it has; declare it in {host.field}.capacity")
    architecture = _ARCHITECTURES.get(facts.one("architecture"), "")
    labels = {ARCHITECTURE: architecture} if architecture else {}
    return Offering(capacity={**values, **host.entry.capacity}, labels={**labels, **host.entry.labels})


def declared(host: Host) -> Offering:
    """What the config says that one host offers."""
    return Offering(capacity=host.entry.capacity, labels=host.entry.labels)


def common(offerings: Sequence[Offering]) -> Offering:
    """The least of each resource that all have, and the labels that are the same on all. At least one is needed."""
    capacity = dict(offerings[0].capacity)
    labels = {"kubernetes.io/os": "linux", **offerings[0].labels}
    for offering in offerings[1:]:
        capacity = _least(capacity, offering.capacity)
        labels = {
            key: value
            for key, value in labels.items()
            if {"kubernetes.io/os": "linux", **offering.labels}.get(key) == value
        }
    return Offering(capacity=capacity, labels=labels)


def _least(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    return {name: smaller(quantity, other[name]) for name, quantity in one.items() if name in other}
