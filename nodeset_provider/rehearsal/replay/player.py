"""Plays one trace on its stage: keeps the recorded time, sends the steps, and judges what the changing ones did.

Effects: calls, waits, and a thread per call where the autoscaler sent several at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal import messages
from nodeset_provider.rehearsal.connection import Exchange
from nodeset_provider.rehearsal.replay import answers, sizes
from nodeset_provider.rehearsal.replay.language import BEYOND_MAX, NOWHERE, Machine, Shape, Step, Subject, Trace
from nodeset_provider.rehearsal.replay.rules import Finding
from nodeset_provider.rehearsal.replay.stage import Group, Played, Session, Stage

_NO_SUCH_GROUP: Final = "no-such-group"
_TRIES: Final = 3
"""Times that a deletion is sent while the machine that it means is being renamed."""


@dataclass(frozen=True, slots=True)
class _DeleteCall:
    """One DeleteNodes call: the machines that the trace names, and the request that names their instances."""

    group: Group
    machines: tuple[Machine, ...]
    request: pb.NodeGroupDeleteNodesRequest


def play(session: Session, trace: Trace, mapping: Mapping[str, str]) -> Played:
    """Plays ``trace`` with its groups mapped by ``mapping`` (trace's name → provider's id), then deletes what it made.

    Raises ProviderError where nothing can be played.
    """
    stage, pace = Stage(session, trace), session.pace
    stage.open(mapping)
    player = _Player(stage)
    began = pace.clock()
    try:
        for batch in _batches(trace.steps):
            if pace.speed > 0:
                pace.sleep(max(0.0, began + batch[0].at / pace.speed - pace.clock()))
            player.batch(batch)
        for name, group in stage.groups.items():
            stage.where = f"{trace.name} end {name}"
            stage.look(group)
    finally:
        _clean_up(stage)
        for group in stage.groups.values():
            session.memory.end(group.id, group.sizes)
    return stage.played


def _clean_up(stage: Stage) -> None:
    """Deletes the machines that the trace left, so that the next one finds the provider as this one did."""
    stage.where = f"{stage.played.name} clean-up"
    for group in stage.groups.values():
        if stage.see(group) is None:
            continue
        if made := group.cast.made():
            nodes = [messages.machine_node(id_, Shape.UNREGISTERED, {}) for id_ in made]
            gone = stage.send("NodeGroupDeleteNodes", pb.NodeGroupDeleteNodesRequest(id=group.id, nodes=nodes))
            if not gone.ok:
                stage.played.notes.append(f"{', '.join(made)} of {group.id} are left over: {gone.details}")


class _Player:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._played = stage.played

    def batch(self, batch: Sequence[Step]) -> None:
        self._stage.where = f"{self._played.name} {batch[0]}"
        if batch[0].rpc == "NodeGroupDeleteNodes" and batch[0].group != NOWHERE:
            self._delete(batch)
            return
        for step in batch:
            self._stage.where = f"{self._played.name} {step}"
            self._step(step)

    def _step(self, step: Step) -> None:
        group = self._stage.groups.get(step.group)
        if step.group == NOWHERE:
            self._stage.note(answers.judge_unknown_group(self._stage.send(step.rpc, _nowhere(step))))
        elif step.group and group is None:
            self._played.skipped += 1
        elif group is not None and step.rpc in answers.MUTATIONS:
            self._resize(group, step)
        elif step.subjects:
            self._about_node(step.rpc, step.subjects[0])
        elif step.rpc == "Refresh":
            self._stage.refresh()
        else:
            self._stage.read(step.rpc, group)

    def _about_node(self, rpc: str, subject: Subject) -> None:
        node = self._stage.node(subject)
        if node is None:
            self._played.skipped += 1
        elif rpc == "NodeGroupForNode":
            owner = self._stage.groups[subject.group] if isinstance(subject, Machine) else None
            self._stage.ask_for_node(node, owner)
        else:
            answer = self._stage.question(rpc, messages.node_price(node))
            if isinstance(answer, pb.PricingNodePriceResponse):
                self._stage.note(answers.judge_price(rpc, answer.price))

    # --- calls that change sizes -------------------------------------------------------------------------------------
    def _resize(self, group: Group, step: Step) -> None:
        before = self._stage.look(group)
        if before is None:
            return
        growing = step.rpc == "NodeGroupIncreaseSize"
        delta = group.maximum - before.target + 1 if step.delta == BEYOND_MAX else int(step.delta)
        request: Message = (
            pb.NodeGroupIncreaseSizeRequest(id=group.id, delta=delta)
            if growing
            else pb.NodeGroupDecreaseTargetSizeRequest(id=group.id, delta=delta)
        )
        outcome = self._outcome(group, self._stage.send(step.rpc, request))
        after = self._stage.see(group)
        if outcome is None or after is None:
            return
        if growing:
            group.grown += delta if outcome.ok else 0
            if not outcome.ok and delta > 0 and step.delta != BEYOND_MAX:
                asked = f"IncreaseSize({delta:+d}) of {group.id} at {before.target} of {group.maximum}"
                self._played.notes.append(f"{asked} was refused, what needs its machines is skipped: {outcome}")
            self._settle(group, after, sizes.judge_increase(before, after, delta, group.maximum, outcome))
        else:
            group.sizes.reverted |= outcome.ok and delta < 0
            self._settle(group, after, sizes.judge_decrease(before, after, delta, outcome))

    def _delete(self, batch: Sequence[Step], tries: int = _TRIES) -> None:
        groups = {group.id: group for step in batch if (group := self._stage.groups.get(step.group))}
        before = {id_: self._stage.look(group) for id_, group in groups.items()}
        calls = [call for step in batch if (call := self._delete_call(step))]
        self._played.skipped += len(batch) - len(calls)
        with ThreadPoolExecutor(max_workers=max(1, len(calls))) as pool:
            came = list(pool.map(lambda call: self._stage.send("NodeGroupDeleteNodes", call.request), calls))
        for id_, group in groups.items():
            pairs = [pair for pair in zip(calls, came, strict=True) if pair[0].group is group]
            if not pairs:
                continue
            renamed = self._judge_deletion(group, before[id_], [call for call, _ in pairs], [it for _, it in pairs])
            if renamed and len(batch) == 1 and tries > 1:
                self._delete(batch, tries - 1)

    def _delete_call(self, step: Step) -> _DeleteCall | None:
        group = self._stage.groups.get(step.group)
        machines = tuple(subject for subject in step.subjects if isinstance(subject, Machine))
        nodes = [node for machine in machines if (node := self._stage.node(machine))]
        if group is None or len(nodes) < len(step.subjects):
            return None
        return _DeleteCall(group, machines, pb.NodeGroupDeleteNodesRequest(id=group.id, nodes=nodes))

    def _judge_deletion(
        self, group: Group, before: sizes.View | None, calls: Sequence[_DeleteCall], came: Sequence[Exchange]
    ) -> bool:
        """Judges what calls did to one group; returns whether a machine had another id by the time they arrived."""
        outcomes = [self._outcome(group, exchange) for exchange in came]
        outcome = next((it for it in outcomes if it is None or not it.ok), outcomes[0])
        after = self._stage.see(group)
        if before is None or outcome is None or after is None:
            return False
        named = [
            (machine, node.providerID)
            for call in calls
            for machine, node in zip(call.machines, call.request.nodes, strict=True)
        ]
        own = {id_ for machine, id_ in named if self._stage.groups.get(machine.group) is group}
        if lost := sizes.renamed(before, after, own - group.sizes.deleted):
            # A pending id may become the cloud's own at any moment: the old one then names nobody, and that is right.
            group.sizes.deleted.update(own - lost)
            group.cast.deleted(own - lost)
            self._settle(group, after, [])
            return True
        deletion = sizes.Deletion(
            fresh=frozenset(own - group.sizes.deleted),
            gone=frozenset(own & group.sizes.deleted),
            foreign=frozenset(id_ for _, id_ in named) - own,
            twice=len(named) > len({id_ for _, id_ in named}),
            placeholders=any(machine.shape is not Shape.NODE for machine, _ in named),
            at_once=len(calls) > 1,
        )
        reverted = group.sizes.reverted
        self._settle(
            group,
            after,
            sizes.judge_delete(before, after, deletion, outcome, minimum=group.minimum, reverted=reverted),
        )
        if outcome.ok:
            group.sizes.deleted.update(own)
            group.cast.deleted(own)
            for id_ in sorted(deletion.fresh):
                self._stage.ask_for_node(messages.machine_node(id_, Shape.NODE, group.labels), group)
        return False

    def _outcome(self, group: Group, exchange: Exchange) -> sizes.Outcome | None:
        """How a changing call ended; None where its status breaks a rule of its own, so that the rest is open."""
        self._stage.note(answers.judge_manner(exchange))
        if answers.explains_itself(exchange):
            group.sizes.spoiled = group.sizes.lost = True
            return None
        return sizes.Outcome(exchange.ok, exchange.code, exchange.details)

    def _settle(self, group: Group, after: sizes.View, findings: Iterable[Finding]) -> None:
        self._stage.note(group.sizes.settle(after, list(findings)))
        self._stage.note(group.sizes.judge_view(after))


def _nowhere(step: Step) -> Message:
    """The step's request for a group that no provider has."""
    match step.rpc:
        case "NodeGroupIncreaseSize":
            return pb.NodeGroupIncreaseSizeRequest(id=_NO_SUCH_GROUP, delta=int(step.delta))
        case "NodeGroupDecreaseTargetSize":
            return pb.NodeGroupDecreaseTargetSizeRequest(id=_NO_SUCH_GROUP, delta=int(step.delta))
        case "NodeGroupDeleteNodes":
            return pb.NodeGroupDeleteNodesRequest(id=_NO_SUCH_GROUP, nodes=[messages.stranger_node(1)])
        case rpc:
            return messages.simple(rpc, _NO_SUCH_GROUP, (1, 36))


def _batches(steps: Sequence[Step]) -> Iterable[list[Step]]:
    """Steps in order; those marked as together with the one before in one batch with it."""
    numbers = itertools.accumulate(0 if step.together else 1 for step in steps)
    for _, batch in itertools.groupby(zip(numbers, steps, strict=True), key=lambda pair: pair[0]):
        yield [step for _, step in batch]
