"""What a trace plays on: a provider's groups, and the calls that look at them without changing anything.

Effects: calls and waits. Knows who the machines of the trace are (``cast``) and what the sizes should be (``sizes``);
every answer passes a judge here before anybody uses it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError, Message

from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal import messages
from nodeset_provider.rehearsal.connection import Exchange, Provider
from nodeset_provider.rehearsal.replay import answers, sizes
from nodeset_provider.rehearsal.replay.cast import Cast
from nodeset_provider.rehearsal.replay.language import Machine, Shape, Stranger, Subject, TemplateNode, Trace
from nodeset_provider.rehearsal.replay.rules import Finding, Verdicts

_POLL: Final = 0.2
"""Seconds between two looks while waiting for a machine that the trace speaks of."""

_RUNNING: Final = pb.InstanceStatus.InstanceState.instanceRunning


class ProviderError(Exception):
    """The provider cannot be rehearsed with at all; the message says what it answered and what to do."""


@dataclass(slots=True)
class Played:
    """What became of one trace: calls sent, steps skipped, and what a reader should know."""

    name: str
    sent: int = 0
    skipped: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Pace:
    """How time passes. ``speed``: 1 as recorded, 10 ten times faster, 0 without waiting.

    ``patience``: seconds to wait for a machine that the trace speaks of to be listed, or to run.
    """

    speed: float = 1.0
    patience: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Session:
    """One replay: a provider, and all that its traces share."""

    provider: Provider
    pace: Pace = field(default_factory=Pace)
    verdicts: Verdicts = field(default_factory=Verdicts)
    memory: sizes.Memory = field(default_factory=sizes.Memory)


@dataclass(slots=True)
class Group:
    """A provider's group during one trace. ``grown``: machines asked for so far."""

    id: str
    minimum: int
    maximum: int
    sizes: sizes.Sizes
    cast: Cast
    grown: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    waited: set[int] = field(default_factory=set)


class Stage:
    """One trace's view of one provider."""

    def __init__(self, session: Session, trace: Trace) -> None:
        self._session = session
        self._trace = trace
        self._refreshed = False
        self._counting = threading.Lock()
        self.where = trace.name
        self.groups: dict[str, Group] = {}
        self.played = Played(trace.name)

    def open(self, mapping: Mapping[str, str]) -> None:
        """Finds the provider's groups by ``mapping`` (trace's name → provider's id); raises ProviderError."""
        self.where = f"{self._trace.name} start"
        offered = self._offered(frozenset(mapping.values()))
        for name, id_ in mapping.items():
            if id_ not in offered:
                raise ProviderError(f"the provider has no group {id_!r}; it has {', '.join(sorted(offered)) or 'none'}")
            view = self.view(id_)
            if view is None:
                raise ProviderError(f"group {id_!r}: its target size and its nodes have to be answered")
            bounds = offered[id_].minSize, offered[id_].maxSize
            self.groups[name] = Group(id_, *bounds, self._session.memory.begin(id_, view), Cast(view.instances))

    def _offered(self, wanted: frozenset[str]) -> dict[str, pb.NodeGroup]:
        """The provider's groups; asked again where the first answer is an error or lacks one of ``wanted``."""
        offered: dict[str, pb.NodeGroup] = {}
        for last in (False, True):
            listing = self.ask("NodeGroups")
            if isinstance(listing, pb.NodeGroupsResponse):
                self.note(answers.judge_groups(listing, wanted))
                offered = {group.id: group for group in listing.nodeGroups}
                if wanted <= offered.keys():
                    break
            elif last:
                raise ProviderError(
                    "NodeGroups was not answered even after a Refresh: is it an external gRPC provider?"
                )
            else:
                self.refresh()
        return offered

    # --- sending and judging -----------------------------------------------------------------------------------------
    def send(self, rpc: str, request: Message) -> Exchange:
        """One call, counted and not judged."""
        with self._counting:
            self.played.sent += 1
        return self._session.provider.call(rpc, request)

    def note(self, findings: Iterable[Finding]) -> None:
        """Files findings under the step that is being played."""
        self._session.verdicts.note(findings, where=self.where)

    def question(self, rpc: str, request: Message) -> Message | None:
        """One call that has to be answered; None where it was not."""
        exchange = self.send(rpc, request)
        self.note(answers.judge_status(exchange, refreshed=self._refreshed))
        return exchange.answer

    def ask(self, rpc: str, group: str = "") -> Message | None:
        """As ``question``, for calls that take at most a group."""
        return self.question(rpc, messages.simple(rpc, group, self._trace.release))

    def refresh(self) -> None:
        """Begins a loop."""
        self.ask("Refresh")
        self._refreshed = True

    def read(self, rpc: str, group: Group | None) -> None:
        """Asks, judges the content, and keeps what later steps need."""
        answer = self.ask(rpc, group.id if group else "")
        match answer:
            case pb.NodeGroupsResponse():
                self.note(answers.judge_groups(answer, frozenset(it.id for it in self.groups.values())))
            case pb.NodeGroupAutoscalingOptionsResponse():
                self.note(answers.judge_options(answer))
            case pb.PricingPodPriceResponse():
                self.note(answers.judge_price(rpc, answer.price))
        if group is None:
            return
        match answer:
            case pb.NodeGroupTargetSizeResponse():
                self.note(group.sizes.judge_target(answer.targetSize))
            case pb.NodeGroupNodesResponse():
                self.note(answers.judge_instances(group.id, answer))
                group.cast.see(answer.instances)
            case pb.NodeGroupTemplateNodeInfoResponse():
                self.note(answers.judge_template(group.id, answer))
                group.labels = _labels(answer)

    def view(self, id_: str) -> sizes.View | None:
        """Target and list of a group; None where one of the two was not answered."""
        target = self.ask("NodeGroupTargetSize", id_)
        nodes = self.ask("NodeGroupNodes", id_)
        if not isinstance(target, pb.NodeGroupTargetSizeResponse) or not isinstance(nodes, pb.NodeGroupNodesResponse):
            return None
        self.note(answers.judge_instances(id_, nodes))
        return sizes.View(target.targetSize, {instance.id: instance for instance in nodes.instances})

    def see(self, group: Group) -> sizes.View | None:
        """As ``view``, and the group's cast learns of it. A group that is not answered is judged no more."""
        view = self.view(group.id)
        if view is None:
            group.sizes.spoiled = True
        else:
            group.cast.see(view.instances.values())
        return view

    def look(self, group: Group) -> sizes.View | None:
        """As ``see``, and target and list are judged together."""
        view = self.see(group)
        if view is not None:
            self.note(group.sizes.judge_view(view))
        return view

    def ask_for_node(self, node: pb.ExternalGrpcNode, owner: Group | None) -> None:
        """NodeGroupForNode of ``owner``'s machine, or of a stranger."""
        answer = self.question("NodeGroupForNode", pb.NodeGroupForNodeRequest(node=node))
        if not isinstance(answer, pb.NodeGroupForNodeResponse):
            return
        deleted = owner is not None and node.providerID in owner.sizes.deleted
        expected = owner.id if owner is not None and not deleted else ""
        if owner is not None and expected and not answer.nodeGroup.id:
            # Between listing and asking, a pending id may have become the cloud's own, or the machine may have died.
            view = self.view(owner.id)
            if view is None or node.providerID not in view.live:
                return
        bounds = {owner.id: (owner.minimum, owner.maximum)} if owner is not None else {}
        self.note(answers.judge_for_node(answer, expected=expected, deleted=deleted, bounds=bounds))

    # --- who is meant ------------------------------------------------------------------------------------------------
    def node(self, subject: Subject) -> pb.ExternalGrpcNode | None:
        """The node that the trace means, as the autoscaler would send it; None where nobody plays the part."""
        match subject:
            case Stranger(number):
                return messages.stranger_node(number)
            case TemplateNode(name):
                group = self.groups.get(name)
                return messages.template_node(group.id, group.labels) if group else None
            case Machine(name, number, shape):
                group = self.groups.get(name)
                id_ = self._resolve(group, number, shape) if group else None
                return messages.machine_node(id_, shape, group.labels) if group and id_ else None

    def _resolve(self, group: Group, number: int, shape: Shape) -> str | None:
        """Instance id of a part; waits for it to be listed (and to run, where the trace knows it as a Node), once."""
        deadline = self._session.pace.clock() + (0 if number in group.waited else self._session.pace.patience)
        while True:
            id_ = group.cast.who(number)
            if id_ is not None and (id_ in group.sizes.deleted or shape is not Shape.NODE or _runs(group, id_)):
                return id_
            if number > group.grown or self._session.pace.clock() >= deadline:
                group.waited.add(number)
                return id_
            self._session.pace.sleep(_POLL)
            self.see(group)


def _runs(group: Group, id_: str) -> bool:
    instance = group.cast.instance(id_)
    return instance is not None and instance.status.instanceState == _RUNNING


def _labels(answer: pb.NodeGroupTemplateNodeInfoResponse) -> dict[str, str]:
    try:
        return dict(core_pb2.Node.FromString(answer.nodeBytes or answer.nodeInfo).metadata.labels)
    except DecodeError:
        return {}
