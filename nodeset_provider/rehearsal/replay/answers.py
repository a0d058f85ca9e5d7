"""Judges one answer by itself: what it must hold, and with which status it may fail. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import grpc
from google.protobuf.message import DecodeError

from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.connection import Exchange
from nodeset_provider.rehearsal.quantity import amount
from nodeset_provider.rehearsal.replay.rules import Finding, look

OPTIONAL: Final = frozenset({"PricingNodePrice", "PricingPodPrice", "NodeGroupTemplateNodeInfo", "NodeGroupGetOptions"})
"""Calls whose UNIMPLEMENTED the autoscaler understands (options from 1.29)."""

MUTATIONS: Final = frozenset({"NodeGroupIncreaseSize", "NodeGroupDeleteNodes", "NodeGroupDecreaseTargetSize"})

_NEVER: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
_REFUSAL: Final = {
    "NodeGroupTemplateNodeInfo": "template-every-group",
    "NodeGroupGetOptions": "options-unset-or-complete",
    "PricingNodePrice": "price-template-node",
    "PricingPodPrice": "price-template-node",
    "NodeGroupForNode": "for-node-unmanaged",
}
_NEEDED_RESOURCES: Final = ("cpu", "memory", "pods")
_DURATIONS: Final = (
    "scaleDownUnneededTime",
    "scaleDownUnreadyTime",
    "MaxNodeProvisionTime",
    "scaleDownUnneededDuration",
    "scaleDownUnreadyDuration",
    "MaxNodeProvisionDuration",
)
_State: Final = pb.InstanceStatus.InstanceState
_OUT_OF_RESOURCES: Final = 1
_OTHER: Final = 99


def explains_itself(exchange: Exchange) -> bool:
    """Whether the status is one that a rule of its own forbids: what follows from such an answer is not judged."""
    return (
        exchange.code in _NEVER
        or exchange.code is grpc.StatusCode.DEADLINE_EXCEEDED
        or (exchange.code is grpc.StatusCode.UNIMPLEMENTED and exchange.rpc not in OPTIONAL)
    )


def judge_status(exchange: Exchange, *, refreshed: bool) -> Iterator[Finding]:
    """Time and status of an answer to a call that a provider has to answer (``refreshed``: a Refresh came before)."""
    yield from judge_manner(exchange)
    if explains_itself(exchange) or exchange.rpc in MUTATIONS:
        return
    came = f"answered {exchange.code.name}: {exchange.details}"
    unimplemented = exchange.code is grpc.StatusCode.UNIMPLEMENTED
    if not refreshed and exchange.rpc not in {"Refresh", *_REFUSAL}:
        yield look("served-before-refresh", exchange.ok, came)
    elif not unimplemented:
        yield look(_REFUSAL.get(exchange.rpc, "reads-answered"), exchange.ok, came)


def judge_manner(exchange: Exchange) -> Iterator[Finding]:
    """What even a refusal owes: in time, and with a status that says something."""
    came = f"answered {exchange.code.name}: {exchange.details}"
    late = exchange.code is grpc.StatusCode.DEADLINE_EXCEEDED
    yield look("in-time", not late, f"no answer after {exchange.seconds:.1f} s")
    if late:
        return
    yield look("no-internal-unknown", exchange.code not in _NEVER, came)
    if exchange.rpc not in OPTIONAL:
        yield look("mandatory-implemented", exchange.code is not grpc.StatusCode.UNIMPLEMENTED, came)


def judge_unknown_group(exchange: Exchange) -> Iterator[Finding]:
    """An answer to a call for a group that does not exist."""
    yield from judge_manner(exchange)
    if not explains_itself(exchange) and exchange.code is not grpc.StatusCode.UNIMPLEMENTED:
        yield look("unknown-group-refused", not exchange.ok, "answered OK for a group that does not exist")


def judge_groups(answer: pb.NodeGroupsResponse, played: frozenset[str]) -> Iterator[Finding]:
    """NodeGroups, where the groups ``played`` are known to exist."""
    counts = Counter(group.id for group in answer.nodeGroups)
    for group in answer.nodeGroups:
        yield look(
            "groups-complete",
            group.id and counts[group.id] == 1 and 0 <= group.minSize <= group.maxSize and group.maxSize > 0,
            f"group {group.id!r} (listed {counts[group.id]} times): minSize {group.minSize}, maxSize {group.maxSize}",
        )
    missing = sorted(played - counts.keys())
    yield look("groups-steady", not missing, f"listed {len(counts)} groups, without {', '.join(missing)}")


def judge_instances(group: str, answer: pb.NodeGroupNodesResponse) -> Iterator[Finding]:
    """NodeGroupNodes of one group."""
    counts = Counter(instance.id for instance in answer.instances)
    for instance in answer.instances:
        name = f"instance {instance.id!r} of {group}"
        yield look(
            "instance-id-is-provider-id",
            instance.id and counts[instance.id] == 1,
            f"{name} is listed {counts[instance.id]} times" if instance.id else f"an instance of {group} has no id",
        )
        yield look("instance-state-set", instance.status.instanceState != _State.unspecified, f"{name} has no state")
        if not instance.status.HasField("errorInfo"):
            continue
        error = instance.status.errorInfo
        state = _State.Name(instance.status.instanceState)
        yield look(
            "error-only-on-creating",
            instance.status.instanceState == _State.instanceCreating,
            f"{name} is {state} with error {error.errorCode}",
        )
        yield look(
            "error-complete",
            error.errorCode and error.instanceErrorClass in {_OUT_OF_RESOURCES, _OTHER},
            f"{name}: errorCode {error.errorCode!r}, instanceErrorClass {error.instanceErrorClass}",
        )


def judge_options(answer: pb.NodeGroupAutoscalingOptionsResponse) -> Iterator[Finding]:
    """GetOptions: unset, or with every duration that any release reads."""
    missing: list[str] = []
    if answer.HasField("nodeGroupAutoscalingOptions"):
        options = answer.nodeGroupAutoscalingOptions
        missing = [name for name in _DURATIONS if not options.HasField(name)]
    yield look("options-unset-or-complete", not missing, f"options without {', '.join(missing)}")


def judge_template(group: str, answer: pb.NodeGroupTemplateNodeInfoResponse) -> Iterator[Finding]:
    """TemplateNodeInfo: both fields, and what the autoscaler simulates with."""
    old, new = answer.nodeInfo, answer.nodeBytes
    yield look(
        "template-both-fields",
        old == new,
        f"template of {group}: {len(old)} bytes in nodeInfo, {len(new)} in nodeBytes",
    )
    try:
        node = core_pb2.Node.FromString(new or old)
    except DecodeError:
        yield look("template-complete", held=False, evidence=f"template of {group} is no serialised v1.Node")
        return
    missing = [name for name in _NEEDED_RESOURCES if _amount(node, name) <= 0]
    yield look("template-complete", not missing, f"template of {group} has no allocatable {', '.join(missing)}")


def _amount(node: core_pb2.Node, resource: str) -> Decimal:
    text = node.status.allocatable[resource].string if resource in node.status.allocatable else "0"
    try:
        return amount(text)
    except ValueError:
        return Decimal(0)


def judge_price(rpc: str, price: float) -> Iterator[Finding]:
    """A price, where one was answered."""
    yield look("price-template-node", price >= 0, f"{rpc} answered {price}")


def judge_for_node(
    answer: pb.NodeGroupForNodeResponse, *, expected: str, deleted: bool, bounds: dict[str, tuple[int, int]]
) -> Iterator[Finding]:
    """NodeGroupForNode of a node whose group is ``expected``; '' for a stranger or a node that is ``deleted``.

    ``bounds``: (minSize, maxSize) of each group as NodeGroups gave them.
    """
    found = answer.nodeGroup
    if not expected:
        rule = "for-node-after-delete" if deleted else "for-node-unmanaged"
        yield look(rule, not found.id, f"answered group {found.id!r}")
        return
    yield look("instance-id-is-provider-id", found.id == expected, f"answered group {found.id!r}, listed by {expected}")
    if found.id == expected and found.id in bounds:
        yield look(
            "for-node-complete",
            (found.minSize, found.maxSize) == bounds[found.id],
            f"answered minSize {found.minSize}, maxSize {found.maxSize}; NodeGroups said {bounds[found.id]}",
        )
