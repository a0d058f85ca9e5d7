"""The steady loop: what the autoscaler asks again and again while nothing happens, as a benchmark of a provider.

Requests are serialised beforehand and answers are not decoded, so that what is measured is the provider and the
channel, not this client's protobuf. The mix and its formula are the contract's: Refresh 1, NodeGroups 1,
NodeGroupForNode N + 4U, TargetSize 3G, GetOptions 2 per busy and 4 per unneeded node (from 1.35 two more per node),
TemplateNodeInfo 1 per group without a good node.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal import messages
from nodeset_provider.rehearsal.connection import GRPC_TIMEOUT, SERVICE, Provider
from nodeset_provider.rehearsal.replay.language import Shape

RELEASES: Final = ("1.28", "1.30", "1.34", "1.36")
_MORE_OPTIONS_SINCE: Final = (1, 35)
_STRANGER_LOOKS: Final = 4
_TARGET_LOOKS: Final = 3
_OPTIONS_BUSY: Final = 2
_OPTIONS_UNNEEDED: Final = 4


class SteadyError(Exception):
    """The loop cannot be sent; the message says what the provider lacks or answered."""


@dataclass(frozen=True, slots=True)
class Population:
    """Who a loop asks about: ids as the provider gave them.

    ``nodes``: (instance id, group id); the first ``unneeded`` of them are idle; ``strangers``: Nodes of no group;
    ``templates``: groups without a node that the autoscaler could take as an example.
    """

    groups: tuple[str, ...]
    nodes: tuple[tuple[str, str], ...]
    unneeded: int = 0
    strangers: int = 0

    @property
    def templates(self) -> tuple[str, ...]:
        """Groups that have no node."""
        populated = {group for _, group in self.nodes}
        return tuple(group for group in self.groups if group not in populated)


def budget(release: tuple[int, int], people: Population) -> dict[str, int]:
    """Calls of one loop by the contract's formula."""
    more = _OPTIONS_BUSY if release >= _MORE_OPTIONS_SINCE else 0
    busy = len(people.nodes) - people.unneeded
    return {
        "Refresh": 1,
        "NodeGroups": 1,
        "NodeGroupForNode": len(people.nodes) + _STRANGER_LOOKS * people.strangers,
        "NodeGroupTargetSize": _TARGET_LOOKS * len(people.groups),
        "NodeGroupGetOptions": _OPTIONS_BUSY * busy + _OPTIONS_UNNEEDED * people.unneeded + more * len(people.nodes),
        "NodeGroupTemplateNodeInfo": len(people.templates),
    }


def calls(release: tuple[int, int], people: Population) -> Iterator[tuple[str, Message]]:
    """The calls of one loop, in the order in which the autoscaler comes to ask them."""

    def simple(rpc: str, group: str = "") -> tuple[str, Message]:
        return rpc, messages.simple(rpc, group, release)

    def strangers() -> Iterator[tuple[str, Message]]:
        for number in range(people.strangers):
            yield "NodeGroupForNode", pb.NodeGroupForNodeRequest(node=messages.stranger_node(number + 1))

    yield simple("Refresh")
    yield simple("NodeGroups")
    yield from strangers()
    for group in people.templates:
        yield simple("NodeGroupTemplateNodeInfo", group)
    for id_, _ in people.nodes:
        node = messages.machine_node(id_, Shape.NODE, {})
        yield "NodeGroupForNode", pb.NodeGroupForNodeRequest(node=node)
    for _ in range(_TARGET_LOOKS):
        for group in people.groups:
            yield simple("NodeGroupTargetSize", group)
        yield from strangers()
    more = _OPTIONS_BUSY if release >= _MORE_OPTIONS_SINCE else 0
    for number, (_, group) in enumerate(people.nodes):
        looks = (_OPTIONS_UNNEEDED if number < people.unneeded else _OPTIONS_BUSY) + more
        for _ in range(looks):
            yield simple("NodeGroupGetOptions", group)


def census(provider: Provider, *, groups: int | None, nodes: int | None, unneeded: int, strangers: int) -> Population:
    """Takes ids from the provider: the first ``groups`` groups and ``nodes`` instances, all where None.

    Raises SteadyError where it has fewer, or does not answer.
    """
    listing = provider.call("NodeGroups", pb.NodeGroupsRequest())
    if not isinstance(listing.answer, pb.NodeGroupsResponse):
        raise SteadyError(f"NodeGroups answered {listing.code.name}: {listing.details}")
    ids = [group.id for group in listing.answer.nodeGroups]
    if groups is not None and len(ids) < groups:
        raise SteadyError(f"--groups {groups}: the provider has {len(ids)}")
    ids = ids[:groups]
    found: list[tuple[str, str]] = []
    for group in ids:
        members = provider.call("NodeGroupNodes", pb.NodeGroupNodesRequest(id=group))
        if not isinstance(members.answer, pb.NodeGroupNodesResponse):
            raise SteadyError(f"NodeGroupNodes of {group} answered {members.code.name}: {members.details}")
        found.extend((instance.id, group) for instance in members.answer.instances)
    if nodes is not None and len(found) < nodes:
        raise SteadyError(f"--nodes {nodes}: the {len(ids)} groups have {len(found)} instances")
    found = found[:nodes]
    return Population(tuple(ids), tuple(found), min(unneeded, len(found)), strangers)


@dataclass(frozen=True, slots=True)
class Steady:
    """What was measured. Seconds throughout; ``latencies``: RPC → all its calls."""

    release: str
    people: Population
    budget: dict[str, int]
    sent: dict[str, int]
    loops: tuple[float, ...]
    latencies: dict[str, list[float]]

    @property
    def loop_seconds(self) -> float:
        """Median over the loops."""
        return statistics.median(self.loops)

    def as_json(self) -> dict[str, Any]:
        """The figures by name; ``rpcs`` holds count per loop, budget, p50_ms and p99_ms of each RPC."""
        return {
            "release": self.release,
            "groups": len(self.people.groups),
            "nodes": len(self.people.nodes),
            "loop_seconds": self.loop_seconds,
            "loops": list(self.loops),
            "rpcs_per_loop": sum(self.sent.values()),
            "budget": sum(self.budget.values()),
            "rpcs": {
                rpc: {
                    "count": self.sent[rpc],
                    "budget": self.budget.get(rpc, 0),
                    "p50_ms": _percentile(times, 0.5) * 1000,
                    "p99_ms": _percentile(times, 0.99) * 1000,
                }
                for rpc, times in self.latencies.items()
            },
        }


def run(
    channel: grpc.Channel,
    release: tuple[int, int],
    people: Population,
    loops: int,
    *,
    timeout: float = GRPC_TIMEOUT,
    clock: Callable[[], float] = time.perf_counter,
) -> Steady:
    """Sends ``loops`` loops, one call after another; raises SteadyError at the first call that is refused."""
    made: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {
        rpc: channel.unary_unary(f"/{SERVICE.full_name}/{rpc}") for rpc in budget(release, people)
    }
    script = [(rpc, made[rpc], request.SerializeToString()) for rpc, request in calls(release, people)]
    latencies: dict[str, list[float]] = defaultdict(list)
    lengths: list[float] = []
    for _ in range(loops):
        began = before = clock()
        for rpc, call, body in script:
            try:
                call(body, timeout=timeout)
            except grpc.RpcError as error:
                raise SteadyError(f"{rpc} was refused: {error}") from error
            after = clock()
            latencies[rpc].append(after - before)
            before = after
        lengths.append(before - began)
    return Steady(
        release=f"{release[0]}.{release[1]}",
        people=people,
        budget=budget(release, people),
        sent=dict(Counter(rpc for rpc, _, _ in script)),
        loops=tuple(lengths),
        latencies=dict(latencies),
    )


def show(console: Console, measured: Steady) -> None:
    """Prints one line an RPC and one for the loop."""
    facts = measured.as_json()
    table = Table("RPC", "per loop", "budget", "p50 ms", "p99 ms", title=f"Steady loop of {measured.release}")
    for rpc, it in facts["rpcs"].items():
        table.add_row(rpc, str(it["count"]), str(it["budget"]), f"{it['p50_ms']:.3f}", f"{it['p99_ms']:.3f}")
    table.add_row("all", str(facts["rpcs_per_loop"]), str(facts["budget"]), "", "", style="bold")
    console.print(table)
    console.print(
        f"{facts['groups']} groups, {facts['nodes']} nodes: {measured.loop_seconds:.3f} s a loop "
        f"(median of {len(measured.loops)})"
    )


def _percentile(times: Sequence[float], part: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
