"""What is asked for on top of a NodeClass, by a NodeSet or by a Node that was made with kubectl. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nodeset_provider.api.meta import Taint
from nodeset_provider.api.nodeset import NodeSet


@dataclass(frozen=True, slots=True)
class Asked:
    """Equal values of one class give equal machines."""

    nodeset: str = ""
    """Name of the NodeSet, whose label the Node will carry; empty where none asks."""
    config: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    taints: list[Taint] = field(default_factory=list)
    startup_taints: list[Taint] = field(default_factory=list)
    price_per_hour: str = ""
    """Counts instead of what the driver says."""
    node_exists: bool = False
    """Whether a Node was made ahead of the machine: what becomes of it is then part of what the machine is."""


NOTHING = Asked()
"""A machine as the class alone describes it."""


def asked_by(nodeset: NodeSet) -> Asked:
    """What that set asks for; how many it wants is no part of it."""
    spec = nodeset.spec
    return Asked(
        nodeset=nodeset.metadata.name,
        config=spec.config,
        labels=spec.node_labels,
        annotations=spec.node_annotations,
        taints=spec.taints,
        startup_taints=spec.startup_taints,
        price_per_hour=spec.autoscaling.price_per_hour if spec.autoscaling is not None else "",
    )
