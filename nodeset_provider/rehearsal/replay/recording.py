"""Turns a recording (one JSON object per call that a real autoscaler made) into a trace.

A recording's line has ``t``, ``rpc``, ``request`` and ``response`` in protobuf's JSON form. Instances are numbered in
the order in which the recorded NodeGroupNodes answers first showed them; a node that no answer showed is a stranger.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from nodeset_provider.rehearsal.messages import FAKE_NODE_REASON
from nodeset_provider.rehearsal.replay.language import Machine, Shape, Step, Stranger, Subject, Trace, TraceError

_AT_ONCE: Final = 0.05
"""Seconds: DeleteNodes calls of one loop that came closer together were sent at once, one goroutine a node."""


class _Line(msgspec.Struct):
    t: float
    rpc: str
    request: dict[str, Any] = {}
    response: dict[str, Any] = {}
    loop: int = 0


def trace_of_recording(text: str, *, name: str, release: tuple[int, int]) -> Trace:
    """Reads a recording; raises TraceError naming the line that is none."""
    lines = list(_lines(text))
    places: dict[str, tuple[str, int]] = {}
    groups: list[str] = []
    for line in lines:
        if line.rpc == "NodeGroups":
            groups.extend(g["id"] for g in line.response.get("nodeGroups", []) if g["id"] not in groups)
        elif line.rpc == "NodeGroupNodes":
            group = line.request["id"]
            for instance in line.response.get("instances", []):
                taken = sum(1 for owner, _ in places.values() if owner == group)
                places.setdefault(instance["id"], (group, taken + 1))
    strangers: dict[str, Stranger] = {}
    steps: list[Step] = []
    previous: _Line | None = None
    for line in lines:
        together = (
            previous is not None
            and line.rpc == previous.rpc == "NodeGroupDeleteNodes"
            and line.loop == previous.loop
            and line.t - previous.t < _AT_ONCE
        )
        previous = line
        nodes = line.request.get("nodes", []) or ([line.request["node"]] if "node" in line.request else [])
        steps.append(
            Step(
                at=line.t,
                rpc=line.rpc,
                group=line.request.get("id", ""),
                delta=line.request.get("delta", 0),
                subjects=tuple(_subject(node, places, strangers) for node in nodes),
                together=together,
            )
        )
    return Trace(name, release, tuple(groups), tuple(steps))


def _lines(text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            yield msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError as error:
            raise TraceError(f"line {number}: {error}") from None


def _subject(node: Mapping[str, Any], places: Mapping[str, tuple[str, int]], strangers: dict[str, Stranger]) -> Subject:
    provider_id = node.get("providerID", "")
    if provider_id not in places:
        return strangers.setdefault(node.get("name", ""), Stranger(len(strangers) + 1))
    reason = node.get("annotations", {}).get(FAKE_NODE_REASON)
    return Machine(*places[provider_id], shape=Shape(reason) if reason else Shape.NODE)
