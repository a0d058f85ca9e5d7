"""Whether pods fit a node, and how many nodes of a kind a crowd of pods needs. Pure.

Looks at requests (extended resources too), node selector, required node affinity, taints and tolerations, as
kube-scheduler does. It does not look at affinity between pods, topology spread, host ports and volumes: a pod that
depends on them may be given a node in vain. Amounts are thousandths, rounded up: integers add without surprises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from nodeset_provider.rehearsal.autoscale.kinds import (
    STARTUP_TAINT_PREFIX,
    DaemonSet,
    Node,
    Pod,
    PodSpec,
    Requirement,
    Taint,
    Term,
    Toleration,
)
from nodeset_provider.rehearsal.quantity import amount

_IGNORED_TAINT_PREFIXES: Final = (
    STARTUP_TAINT_PREFIX,
    "status-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
)
"""Taints that a node will have lost by the time pods come to it."""

_REPELLING: Final = frozenset({"NoSchedule", "NoExecute"})
_PODS: Final = "pods"
_THOUSANDTHS: Final = 1000


def thousandths(text: str) -> int:
    """A quantity in thousandths, rounded up; raises ValueError."""
    return math.ceil(amount(text) * _THOUSANDTHS)


@dataclass(slots=True)
class Host:
    """A node, real or of a template, with what is ``free`` on it (thousandths). ``put`` uses it up."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Taint]
    free: dict[str, int]
    pods: list[Pod] = field(default_factory=list)
    closed: bool = False

    def copy(self, name: str) -> Host:
        """An equal host of its own, with nothing put on it."""
        return replace(self, name=name, free=dict(self.free), pods=[])

    def put(self, pod: Pod) -> None:
        """Takes the pod's requests off what is free."""
        take(self.free, requests_of(pod.spec))
        self.pods.append(pod)


def take(free: dict[str, int], wanted: Mapping[str, int]) -> None:
    """Lowers ``free`` by ``wanted``."""
    for resource, value in wanted.items():
        free[resource] = free.get(resource, 0) - value


def host_of_node(node: Node, pods: Iterable[Pod]) -> Host:
    """A real node with the ``pods`` that are on it."""
    host = Host(
        name=node.metadata.name,
        labels=node.metadata.labels,
        taints=node.spec.taints,
        free={resource: thousandths(text) for resource, text in node.status.allocatable.items()},
        closed=node.spec.unschedulable,
    )
    for pod in pods:
        if not pod.finished:
            take(host.free, requests_of(pod.spec))
    return host


def host_of_template(node: Node, daemon_sets: Iterable[DaemonSet]) -> Host:
    """A node that does not exist yet: startup taints gone, the DaemonSets' pods on it."""
    taints = [taint for taint in node.spec.taints if not taint.key.startswith(_IGNORED_TAINT_PREFIXES)]
    host = host_of_node(node, ())
    host.taints = taints
    for daemon_set in daemon_sets:
        template = daemon_set.spec.template
        pod = Pod(metadata=template.metadata, spec=template.spec)
        if not repels(pod.spec, host):
            take(host.free, requests_of(pod.spec))
    return host


def requests_of(spec: PodSpec) -> dict[str, int]:
    """What a pod takes (KEP-753): containers and sidecars together, or the most that init needs at a time; overhead.

    Requests of the pod as a whole win over the sum of its containers. One of ``pods``.
    """
    running: dict[str, int] = {}
    for container in spec.containers:
        _add(running, container.resources.requests)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.init_containers:
        if container.restart_policy == "Always":
            _add(sidecars, container.resources.requests)
            at_once = sidecars
        else:
            at_once = dict(sidecars)
            _add(at_once, container.resources.requests)
        for resource, value in at_once.items():
            peak[resource] = max(peak.get(resource, 0), value)
    for resource, value in sidecars.items():
        running[resource] = running.get(resource, 0) + value
    total = {resource: max(running.get(resource, 0), peak.get(resource, 0)) for resource in {*running, *peak}}
    total.update({resource: thousandths(text) for resource, text in spec.resources.requests.items()})
    _add(total, spec.overhead)
    total[_PODS] = _THOUSANDTHS
    return total


def _add(total: dict[str, int], requests: Mapping[str, str]) -> None:
    for resource, text in requests.items():
        total[resource] = total.get(resource, 0) + thousandths(text)


def why_not(pod: Pod, host: Host) -> str:
    """Why the pod cannot run there, '' where it can."""
    if reason := repels(pod.spec, host):
        return reason
    for resource, wanted in requests_of(pod.spec).items():
        if wanted > max(0, host.free.get(resource, 0)):
            return f"not enough {resource}"
    return ""


def repels(spec: PodSpec, host: Host) -> str:
    """Why the host does not take such pods, however much room it has."""
    if host.closed:
        return "unschedulable"
    for key, value in spec.node_selector.items():
        if host.labels.get(key) != value:
            return f"no label {key}={value}"
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if required is not None and not any(_matches(term, host) for term in required.node_selector_terms):
        return "required node affinity does not match"
    for taint in host.taints:
        if taint.effect in _REPELLING and not any(tolerates(it, taint) for it in spec.tolerations):
            return f"taint {taint.key}={taint.value}:{taint.effect}"
    return ""


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """As kube-scheduler understands the two."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.operator == "Exists":
        return toleration.key in {"", taint.key}
    return toleration.key == taint.key and toleration.value == taint.value


def _matches(term: Term, host: Host) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": host.name}
    return all(_holds(it, host.labels) for it in term.match_expressions) and all(
        _holds(it, fields) for it in term.match_fields
    )


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return _compares(requirement, value)
    return False


def _compares(requirement: Requirement, value: str | None) -> bool:
    try:
        have, bound = int(value or ""), int(requirement.values[0])
    except (ValueError, IndexError):
        return False
    return have > bound if requirement.operator == "Gt" else have < bound


def place(pods: Iterable[Pod], hosts: Sequence[Host]) -> list[Pod]:
    """Puts each pod on the first host that takes it; returns those that none takes."""
    left: list[Pod] = []
    for pod in pods:
        host = next((host for host in hosts if not why_not(pod, host)), None)
        if host is None:
            left.append(pod)
        else:
            host.put(pod)
    return left


def pack(pods: Sequence[Pod], template: Host, limit: int) -> list[Host]:
    """New hosts of ``template``, at most ``limit``, with the pods on them: first fit, the biggest pods first."""
    hosts: list[Host] = []
    for pod in sorted(pods, key=lambda pod: _size(pod, template), reverse=True):
        host = next((host for host in hosts if not why_not(pod, host)), None)
        if host is None and len(hosts) < limit and not why_not(pod, template):
            host = template.copy(f"{template.name}-{len(hosts)}")
            hosts.append(host)
        if host is not None:
            host.put(pod)
    return hosts


def _size(pod: Pod, template: Host) -> float:
    """The share of a node that the pod takes, by the resource of which it takes most."""
    wanted = requests_of(pod.spec)
    shares = [value / room for resource, value in wanted.items() if (room := template.free.get(resource, 0)) > 0]
    return max(shares, default=0.0)
