"""When a machine did what, from its creation to Ready: all from timestamps that somebody else wrote. Pure.

From the API server's objects (whole seconds): Machine, certificate signing requests, Node. From the machine itself: its
serial console, whose lines bear the kernel's time since it started; kubelet's lines bear the time of day, too, and so
tie that clock to ours (guests take the time from the host).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

_UP = r"\[ *(?P<up>\d+\.\d+)\]"
_KUBELET = re.compile(rf"{_UP} kubelet\[\d+\]: [IWEF](?P<date>\d{{4}}) (?P<time>\d\d:\d\d:\d\d\.\d+)")
_CLOUD_INIT = re.compile(
    r"Cloud-init v\. \S+ (?P<what>running '\S+'|finished) at (?P<at>\w{3}, .{20} \+0000)\."
    r".*?Up (?P<up>\d+\.\d+) seconds"
)
_KERNEL = re.compile(rf"^{_UP} Linux version ", re.MULTILINE)

ORDER = (
    "created",
    "launched",
    "power on",
    "kernel",
    "cloud-init",
    "cloud-init finished",
    "kubelet",
    "CSR (client)",
    "CSR (client) approved",
    "Node",
    "CSR (serving)",
    "CSR (serving) approved",
    "registered",
    "Ready",
    "initialized",
)
"""As they usually happen; the ssh driver's hosts have been powered on long before, and a Node may be made first."""

_STARTED, _FINISHED = "running 'init-local'", "finished"


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """Something that happened (one of `ORDER`), at seconds since the epoch."""

    at: float
    what: str


def of_console(text: str, *, year: int) -> list[Step]:
    """What a console says of a boot. ``year``: kubelet's lines have none. Empty where nothing ties it to our clock."""
    cloud_init = {found["what"]: found for found in _CLOUD_INIT.finditer(text)}
    kubelet = _KUBELET.search(text)
    if kubelet is not None:
        moment = dt.datetime.strptime(f"{year}{kubelet['date']} {kubelet['time']} +0000", "%Y%m%d %H:%M:%S.%f %z")
        started = moment.timestamp() - float(kubelet["up"])
    elif cloud_init:
        found = next(iter(cloud_init.values()))
        # Whole seconds, cut off: half a second more is right on average.
        started = parsedate_to_datetime(found["at"]).timestamp() + 0.5 - float(found["up"])
    else:
        return []
    steps = [Step(started, "kernel")] if _KERNEL.search(text) else []
    for what, name in ((_STARTED, "cloud-init"), (_FINISHED, "cloud-init finished")):
        if what in cloud_init:
            steps.append(Step(started + float(cloud_init[what]["up"]), name))
    if kubelet is not None:
        steps.append(Step(started + float(kubelet["up"]), "kubelet"))
    return sorted(steps)


def of_objects(
    machine: Mapping[str, Any], node: Mapping[str, Any] | None, requests: Iterable[Mapping[str, Any]]
) -> list[Step]:
    """What Machine, Node and CertificateSigningRequests say, each as ``kubectl get -o json`` has it.

    Requests of other machines are left out: a client's is known by the Machine's bootstrap group, a server's by the
    node's user.
    """
    name = machine["metadata"]["name"]
    steps = [Step(_time(machine["metadata"]["creationTimestamp"]), "created")]
    reached = {"Launched": "launched", "Registered": "registered", "Initialized": "initialized"}
    steps += _conditions(machine, reached)
    for request in requests:
        spec = request["spec"]
        if spec["signerName"].endswith("/kube-apiserver-client-kubelet"):
            mine = f"system:bootstrappers:nodeset:{name}" in spec.get("groups", [])
            kind = "client"
        else:
            mine = node is not None and spec.get("username") == f"system:node:{node['metadata']['name']}"
            kind = "serving"
        if mine:
            steps.append(Step(_time(request["metadata"]["creationTimestamp"]), f"CSR ({kind})"))
            steps += [
                Step(_time(item["lastUpdateTime"]), f"CSR ({kind}) approved")
                for item in request.get("status", {}).get("conditions", [])
                if item["type"] == "Approved"
            ]
    if node is not None:
        steps.append(Step(_time(node["metadata"]["creationTimestamp"]), "Node"))
        steps += _conditions(node, {"Ready": "Ready"})
    return sorted(steps)


def table(timelines: Mapping[str, Sequence[Step]]) -> str:
    """One line a step and one column a machine, in seconds since that machine's first step.

    A step that happened twice (a second serving certificate) counts with its first time.
    """
    columns: dict[str, dict[str, float]] = {}
    for name, steps in timelines.items():
        first = min((step.at for step in steps), default=0.0)
        if steps:
            columns[name] = {step.what: step.at - first for step in sorted(steps, reverse=True)}
    told = [what for what in ORDER if any(what in column for column in columns.values())]
    width = max((len(what) for what in told), default=0)
    widths = {name: max(len(name), 7) for name in columns}
    lines = ["  ".join([" " * width, *(name.rjust(widths[name]) for name in columns)])]
    for what in told:
        cells = [f"{column[what]:.1f}" if what in column else "-" for column in columns.values()]
        padded = (cell.rjust(widths[name]) for cell, name in zip(cells, columns, strict=True))
        lines.append("  ".join([what.ljust(width), *padded]))
    return "\n".join(lines)


def _conditions(item: Mapping[str, Any], names: Mapping[str, str]) -> list[Step]:
    return [
        Step(_time(condition["lastTransitionTime"]), names[condition["type"]])
        for condition in item.get("status", {}).get("conditions", [])
        if condition["type"] in names and condition["status"] == "True"
    ]


def _time(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()
