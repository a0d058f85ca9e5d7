"""Which Machines of a NodeSet go and how many come. Pure.

Invariant: whatever the order of calls, ``Machines that stay + Machines still to be made = spec.replicas``; nothing is
deleted but what ``removeFirst`` names, what is surplus, and attempts that failed under a template that nobody wants any
more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import Condition, is_true
from nodeset_provider.api.names import (
    CONDITION_INITIALIZED,
    CONDITION_LAUNCHED,
    CONDITION_REGISTERED,
    LABEL_TEMPLATE_HASH,
)
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers.machine.observed import cannot_become


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    ``prune``: entries of ``removeFirst`` that have done their work. Those in ``confirm`` only if the API server itself
    says that no such Machine exists: another replica's cache may be ahead of ours.
    """

    delete: tuple[Machine, ...] = ()
    create: int = 0
    prune: tuple[str, ...] = ()
    confirm: tuple[str, ...] = ()


def decide(nodeset: NodeSet, machines: Iterable[Machine], *, template_hash: str = "") -> Plan:
    """The plan for the set's own ``machines``; without a ``template_hash`` none can be made for the moment."""
    if nodeset.metadata.deleting:
        return Plan()  # the garbage collector takes its Machines along
    by_name = {machine.metadata.name: machine for machine in machines}
    named = set(nodeset.spec.remove_first)
    victims = [m for name, m in by_name.items() if name in named and not m.metadata.deleting]
    staying = active(nodeset, by_name.values())
    # Without the autoscaler, nobody else would replace what can never start as it is.
    hopeless = [m for m in staying if is_hopeless(nodeset, m, template_hash)]
    gone = {machine.metadata.name for machine in hopeless}
    staying = [machine for machine in staying if machine.metadata.name not in gone]
    missing = nodeset.spec.replicas - len(staying)
    # Only a surplus is worth the sorting: this is decided again for every change among thousands of Machines.
    surplus = sorted(staying, key=_last_to_stay, reverse=True)[:-missing] if missing < 0 else []
    return Plan(
        delete=(*victims, *hopeless, *surplus),
        create=max(0, missing) if template_hash else 0,
        prune=tuple(name for name in nodeset.spec.remove_first if name in by_name and by_name[name].metadata.deleting),
        confirm=tuple(name for name in nodeset.spec.remove_first if name not in by_name),
    )


def active(nodeset: NodeSet, machines: Iterable[Machine]) -> list[Machine]:
    """The Machines that stay: neither deleting nor named in ``removeFirst``."""
    named = set(nodeset.spec.remove_first)
    return [m for m in machines if not m.metadata.deleting and m.metadata.name not in named]


def belongs(machine: Machine, nodeset: NodeSet) -> bool:
    """Whether the Machine is that very set's, and not of one of the same name that was deleted before."""
    owner = next((reference for reference in machine.metadata.owner_references if reference.controller), None)
    return owner is None or owner.uid == nodeset.metadata.uid


def is_hopeless(nodeset: NodeSet, machine: Machine, template_hash: str) -> bool:
    """Whether it failed to start or to join by a template that was mended since: what it is made from never changes.

    A set of the autoscaler leaves that to it.
    """
    if not template_hash or nodeset.spec.autoscaling is not None:
        return False
    return machine.metadata.labels.get(LABEL_TEMPLATE_HASH) != template_hash and cannot_become(machine)


def _last_to_stay(machine: Machine) -> tuple[int, str, str]:
    """The greater, the sooner it goes: what gives least goes first, of equals the youngest."""
    conditions: list[Condition] = machine.status.conditions
    if cannot_become(machine):
        rank = 4
    elif not is_true(conditions, CONDITION_LAUNCHED):
        rank = 3
    elif not is_true(conditions, CONDITION_REGISTERED):
        rank = 2
    elif not is_true(conditions, CONDITION_INITIALIZED):
        rank = 1
    else:
        rank = 0
    return rank, machine.metadata.creation_timestamp or "", machine.metadata.name
