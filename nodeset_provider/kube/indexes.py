"""How Machines are found in the informer's cache: one set of indexes for everybody in the process. Pure.

The front door and the controllers share the Machine informer, and each index of thousands of Machines costs memory and
a look at every change. Whoever makes that informer passes :data:`MACHINE_INDEXERS` to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET

MACHINE_BY_NODESET: Final = "nodeset"
MACHINE_BY_PROVIDER_ID: Final = "provider-id"
MACHINE_BY_IP: Final = "ip"


def _nodeset(machine: Machine) -> Iterable[str]:
    name = machine.metadata.labels.get(LABEL_NODESET)
    return (name,) if name else ()


def _provider_id(machine: Machine) -> Iterable[str]:
    return (machine.status.provider_id,) if machine.status.provider_id else ()


def _ips(machine: Machine) -> Iterable[str]:
    return {address.ip for address in machine.status.addresses} - {""}


MACHINE_INDEXERS: Final[Mapping[str, Callable[[Machine], Iterable[str]]]] = {
    MACHINE_BY_NODESET: _nodeset,
    MACHINE_BY_PROVIDER_ID: _provider_id,
    MACHINE_BY_IP: _ips,
}
