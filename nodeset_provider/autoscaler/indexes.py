"""How the front door finds Machines in the informer's cache. Pure.

Whoever makes the Machine informer passes :data:`MACHINE_INDEXERS` to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_NODESET

BY_NODE_SET: Final = "autoscaler/nodeset"
BY_PROVIDER_ID: Final = "autoscaler/provider-id"


def _node_set(machine: Machine) -> Iterable[str]:
    name = machine.metadata.labels.get(LABEL_NODESET)
    return (name,) if name else ()


def _provider_id(machine: Machine) -> Iterable[str]:
    return (machine.status.provider_id,) if machine.status.provider_id else ()


MACHINE_INDEXERS: Final[dict[str, Callable[[Machine], Iterable[str]]]] = {
    BY_NODE_SET: _node_set,
    BY_PROVIDER_ID: _provider_id,
}
