"""What a NodeSet says of itself: counts, template, and one line that answers "is it healthy, and if not why". Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition, is_true
from nodeset_provider.api.names import (
    CONDITION_DELETED,
    CONDITION_INITIALIZED,
    CONDITION_LAUNCHED,
    CONDITION_READY,
    CONDITION_REGISTERED,
    LABEL_NODESET,
)
from nodeset_provider.api.nodeset import NodeSet, NodeSetStatus
from nodeset_provider.controllers.conditions import to_wire, with_condition
from nodeset_provider.controllers.merge import diff_patch
from nodeset_provider.controllers.nodeset_plan import active
from nodeset_provider.controllers.resolver import Problem, Resolution


def summarise(
    nodeset: NodeSet,
    machines: Sequence[Machine],
    *,
    has_ready_node: Callable[[Machine], bool],
    resolution: Resolution | None,
    problem: Problem | None,
    now: float,
) -> NodeSetStatus:
    """The status that should stand there now.

    A problem keeps the last template: the autoscaler cannot plan around a group that has none (releases up to 1.30
    then scale nothing up at all), and what the machines were is still the best guess.
    """
    staying = active(nodeset, machines)
    ready = sum(1 for m in staying if is_true(m.status.conditions, CONDITION_INITIALIZED) and has_ready_node(m))
    status, reason, message = _health(nodeset, machines, staying, ready, problem)
    before = nodeset.status
    return NodeSetStatus(
        observed_generation=nodeset.metadata.generation,
        replicas=len(staying),
        ready_replicas=ready,
        selector=f"{LABEL_NODESET}={nodeset.metadata.name}",
        template=resolution.resolved if resolution is not None else before.template,
        template_hash=resolution.hash if resolution is not None else before.template_hash,
        conditions=with_condition(
            before.conditions,
            CONDITION_READY,
            "True" if status else "False",
            reason=reason,
            message=message,
            now=now,
            generation=nodeset.metadata.generation,
        ),
    )


def _health(
    nodeset: NodeSet, machines: Sequence[Machine], staying: Sequence[Machine], ready: int, problem: Problem | None
) -> tuple[bool, str, str]:
    count = f"{ready} of {nodeset.spec.replicas} ready"
    if problem is not None:
        return False, problem.reason, f"{count}; {problem.message}"
    failures = [(m, what) for m in staying if (what := machine_trouble(m)) is not None]
    stuck = [(m, what) for m in machines if m.metadata.deleting and (what := deletion_trouble(m)) is not None]
    going = f"; {len(machines) - len(staying)} going" if len(machines) > len(staying) else ""
    for found in (failures, stuck):
        if found:
            machine, (code, why) = found[0]
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            return False, code, f"{count}; {machine.metadata.name}: {code}: {why}{more}{going}"
    if ready == nodeset.spec.replicas == len(staying):
        return True, "AllReady", count + going
    phases = Counter(_phase(m) for m in staying)
    phases["to be made"] = max(0, nodeset.spec.replicas - len(staying))
    phases["not Ready"] = phases.pop("running", 0) - ready
    parts = [f"{number} {phase}" for phase, number in phases.items() if number > 0]
    reason = "NodesNotReady" if phases["not Ready"] > 0 else "Progressing"
    return False, reason, "; ".join([count, *parts]) + going


def machine_trouble(machine: Machine) -> tuple[str, str] | None:
    """(code, message) of what keeps a Machine from running."""
    for kind in (CONDITION_LAUNCHED, CONDITION_REGISTERED, CONDITION_INITIALIZED):
        condition = find_condition(machine.status.conditions, kind)
        if condition is not None and condition.status == "False":
            return condition.reason, condition.message
    return None


def deletion_trouble(machine: Machine) -> tuple[str, str] | None:
    """(code, message) of what keeps a Machine from going."""
    condition = find_condition(machine.status.conditions, CONDITION_DELETED)
    return (condition.reason, condition.message) if condition is not None and condition.status == "False" else None


def _phase(machine: Machine) -> str:
    conditions = machine.status.conditions
    if not is_true(conditions, CONDITION_LAUNCHED):
        return "launching"
    if not is_true(conditions, CONDITION_REGISTERED):
        return "joining"
    return "running" if is_true(conditions, CONDITION_INITIALIZED) else "initializing"


def status_patch(before: NodeSetStatus, after: NodeSetStatus) -> dict[str, Any]:
    """The merge patch of ``status``; empty where nothing changed."""
    return diff_patch(to_document(before) if before.selector else {}, to_document(after))


def to_document(status: NodeSetStatus) -> dict[str, Any]:
    """The status as JSON with its counts written out: a column that is empty does not say 0."""
    document: dict[str, Any] = {
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "readyReplicas": status.ready_replicas,
        **msgspec.to_builtins(status),
    }
    document["conditions"] = to_wire(status.conditions)
    return document
