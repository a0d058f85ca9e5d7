"""Which nodes may go: empty ones that nobody has needed for a while. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from nodeset_provider.rehearsal.autoscale.groups import View
from nodeset_provider.rehearsal.autoscale.kinds import Node, Pod


@dataclass(frozen=True, slots=True)
class Victim:
    """A node that goes, and its group."""

    group: str
    node: Node
    idle_seconds: float


def is_empty(pods: Iterable[Pod]) -> bool:
    """Whether a node with these pods runs nothing that would be missed."""
    return all(pod.goes_with_its_node for pod in pods)


def idle_nodes(groups: Iterable[View], pods_on: Mapping[str, Collection[Pod]], needed: Collection[str]) -> list[str]:
    """Names of usable, empty nodes that no pending pod is about to use (``needed``)."""
    return [
        node.metadata.name
        for group in groups
        for node in group.nodes
        if node.usable and node.metadata.name not in needed and is_empty(pods_on.get(node.metadata.name, ()))
    ]


def victims(groups: Iterable[View], idle_seconds: Mapping[str, float], unneeded_time: float) -> list[Victim]:
    """Nodes idle for ``unneeded_time`` seconds, the longest idle first, never below a group's minimum."""
    chosen: list[Victim] = []
    for group in groups:
        ripe = [node for node in group.nodes if idle_seconds.get(node.metadata.name, -1.0) >= unneeded_time]
        ripe.sort(key=lambda node: (-idle_seconds[node.metadata.name], node.metadata.name))
        spare = max(0, group.target - group.minimum)
        chosen.extend(Victim(group.id, node, idle_seconds[node.metadata.name]) for node in ripe[:spare])
    return chosen
