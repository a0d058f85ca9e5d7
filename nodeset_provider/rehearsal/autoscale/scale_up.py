"""Which group to grow for pods that fit nowhere, and by how much. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nodeset_provider.rehearsal.autoscale.expander import Option
from nodeset_provider.rehearsal.autoscale.fit import Host, pack, place, why_not
from nodeset_provider.rehearsal.autoscale.groups import View
from nodeset_provider.rehearsal.autoscale.kinds import Pod


@dataclass(frozen=True, slots=True)
class Demand:
    """Pending pods after those that have a place: ``needed``: names of hosts, real or upcoming, that they wait for."""

    left: list[Pod]
    needed: frozenset[str]


def demand(pending: Iterable[Pod], hosts: Sequence[Host], upcoming: Sequence[Host]) -> Demand:
    """Places pods on the nodes there are, then on those that are coming: only what is left needs more."""
    left = place(place(pending, hosts), upcoming)
    return Demand(left, frozenset(host.name for host in (*hosts, *upcoming) if host.pods))


def options(
    left: Sequence[Pod],
    groups: Iterable[View],
    templates: Mapping[str, Host],
    prices: Mapping[str, float],
    blocked: Mapping[str, str],
) -> tuple[list[Option], dict[str, dict[str, str]]]:
    """What growing each group would do for the pods ``left``.

    ``blocked``: group → why it is not grown now. Returns the options, and for each pod that no option helps the reason
    by group.
    """
    found: list[Option] = []
    reasons: dict[str, dict[str, str]] = {pod.key: {} for pod in left}
    for group in groups:
        template = templates.get(group.id)
        room = group.maximum - group.target
        closed = blocked.get(group.id) or ("max node group size reached" if room <= 0 else "")
        if template is None:
            closed = closed or "no template"
        for pod in left:
            why = closed or (why_not(pod, template) if template else "")
            if why:
                reasons[pod.key][group.id] = why
        if closed or template is None:
            continue
        hosts = pack([pod for pod in left if not why_not(pod, template)], template, room)
        if hosts:
            found.append(Option(group.id, template, tuple(hosts), prices.get(group.id)))
    helped = {pod.key for option in found for pod in option.pods}
    return found, {key: why for key, why in reasons.items() if key not in helped}
