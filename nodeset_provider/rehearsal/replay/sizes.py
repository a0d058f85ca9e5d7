"""Judges what a call did to a group's sizes, from a look before it and a look after it.

The sizes of a group hang together, so one fault would break several rules. Judges here answer with the first rule that
explains what was seen; ``Sizes`` then stops judging that group's sizes for the rest of the trace. Pure, but for the
few things that ``Sizes`` remembers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import grpc

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.replay.rules import Finding, look

_State: Final = pb.InstanceStatus.InstanceState


@dataclass(frozen=True, slots=True)
class View:
    """A group at one moment: its target size, and id → listed instance."""

    target: int
    instances: dict[str, pb.Instance]

    @property
    def live(self) -> frozenset[str]:
        """Ids of the instances that are not being deleted."""
        return frozenset(
            id_ for id_, it in self.instances.items() if it.status.instanceState != _State.instanceDeleting
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    ok: bool
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""

    def __str__(self) -> str:
        return "OK" if self.ok else f"{self.code.name}: {self.details}"


@dataclass(frozen=True, slots=True)
class Deletion:
    """What one or more DeleteNodes calls (``at_once``) asked of a group.

    ``fresh``: ids that were there to be deleted; ``gone``: ids deleted before; ``foreign``: ids of another group;
    ``twice``: a fresh id stood in the request more than once; ``placeholders``: nodes named by their instance id.
    """

    fresh: frozenset[str]
    gone: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()
    twice: bool = False
    placeholders: bool = False
    at_once: bool = False

    def rule(self, *, target: int, minimum: int, reverted: bool) -> str:
        """The rule that this deletion exercises: the special one rather than the general."""
        cases = (
            (bool(self.foreign), "delete-foreign-refused"),
            (bool(self.gone and self.fresh), "delete-missing-node"),
            (bool(self.gone) or self.twice, "delete-idempotent"),
            (reverted, "revert-then-delete"),
            (self.at_once, "delete-concurrent"),
            (target - len(self.fresh) < minimum, "delete-below-min"),
            (self.placeholders, "delete-placeholder"),
        )
        return next((rule for applies, rule in cases if applies), "delete-lowers")


def judge_increase(before: View, after: View, delta: int, maximum: int, outcome: Outcome) -> Iterator[Finding]:
    """IncreaseSize(delta): the target, then the list."""
    asked = f"IncreaseSize({delta:+d}) at target {before.target}, maxSize {maximum}, answered {outcome}"
    if delta <= 0 or before.target + delta > maximum:
        yield look("bad-delta-refused" if delta <= 0 else "beyond-max-refused", not outcome.ok, asked)
    if not outcome.ok:
        yield look("refused-unchanged", after.target == before.target, f"{asked}; target is {after.target} after it")
        return
    if delta <= 0 or before.target + delta > maximum:
        return
    yield look("target-rises", after.target == before.target + delta, f"{asked}; target is {after.target} after it")
    if after.target == before.target + delta:
        yield look(
            "creating-listed",
            len(after.live) >= after.target,
            f"{asked}; {len(after.live)} instances are listed for target {after.target}",
        )


def judge_decrease(before: View, after: View, delta: int, outcome: Outcome) -> Iterator[Finding]:
    """DecreaseTargetSize(delta): clamped at the instances that live, none of them lost."""
    asked = (
        f"DecreaseTargetSize({delta:+d}) at target {before.target} with {len(before.live)} instances answered {outcome}"
    )
    if delta >= 0:
        yield look("bad-delta-refused", not outcome.ok, asked)
        if not outcome.ok:
            yield look("refused-unchanged", after.target == before.target, f"{asked}; target is {after.target} after")
        return
    lost = len(before.live) - len(after.live)
    yield look("decrease-deletes-nothing", lost <= 0, f"{asked}; {lost} instances fewer after it")
    if lost > 0:
        return
    floor = min(before.target, max(before.target + delta, len(before.live)))
    yield look("decrease-clamps", outcome.ok and after.target == floor, f"{asked}; target is {after.target} after it")


def judge_delete(
    before: View, after: View, asked_for: Deletion, outcome: Outcome, *, minimum: int, reverted: bool
) -> Iterator[Finding]:
    """DeleteNodes: the target lowered once per fresh node, the node no longer counted."""
    rule = asked_for.rule(target=before.target, minimum=minimum, reverted=reverted)
    asked = f"DeleteNodes at target {before.target}, minSize {minimum}, answered {outcome}"
    if asked_for.foreign:
        yield look(rule, not outcome.ok, asked)
        if not outcome.ok:
            yield look("refused-unchanged", after.target == before.target, f"{asked}; target is {after.target} after")
        return
    expected = before.target - len(asked_for.fresh)
    yield look(
        rule,
        outcome.ok and after.target == expected,
        f"{asked}; target is {after.target} after it, {expected} would be right",
    )
    if outcome.ok and after.target == expected:
        counted = sorted((asked_for.fresh | asked_for.gone) & after.live)
        yield look("deleted-not-counted", not counted, f"{asked}; {', '.join(counted)} is listed as not being deleted")


def renamed(before: View, after: View, victims: frozenset[str] | set[str]) -> set[str]:
    """Those of the ``victims`` that were given another id while they were to be deleted.

    They are listed no more, not even as Deleting, and yet as many machines live as before.
    """
    vanished = set(victims) - after.instances.keys()
    kept = len(after.live) + len(victims) - len(vanished) >= len(before.live)
    return vanished if vanished and kept and after.live - before.live else set()


@dataclass(slots=True)
class Sizes:
    """What a trace has to remember of a group's sizes.

    ``expected``: the target as the calls left it; ``spoiled``: already reported wrong, so no longer judged;
    ``lost``: a call ended so that nobody knows what it did; ``reverted``: a DecreaseTargetSize was answered OK.
    """

    expected: int
    spoiled: bool = False
    lost: bool = False
    reverted: bool = False
    deleted: set[str] = field(default_factory=set)

    def judge_target(self, target: int) -> Iterator[Finding]:
        """A TargetSize answer between calls that change it."""
        if not self.spoiled:
            finding = look("target-steady", target == self.expected, f"target is {target}, was left at {self.expected}")
            self.spoiled = not finding.held
            yield finding

    def judge_view(self, view: View) -> Iterator[Finding]:
        """Target and list, seen together."""
        yield from self.judge_target(view.target)
        if not self.spoiled:
            finding = look(
                "target-is-instances",
                len(view.live) == view.target,
                f"target is {view.target}, {len(view.live)} instances are listed that are not being deleted",
            )
            self.spoiled = not finding.held
            yield finding

    def settle(self, after: View, findings: list[Finding]) -> list[Finding]:
        """Takes ``after`` as the new state; returns the findings of a call, or none where the group is spoiled."""
        self.expected = after.target
        if self.spoiled:
            return []
        self.spoiled = any(not finding.held for finding in findings)
        return findings


@dataclass(slots=True)
class Memory:
    """What one trace has to tell the next about groups whose sizes were reported wrong already."""

    spoiled: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def begin(self, group: str, view: View) -> Sizes:
        """Sizes of a group at the start of a trace: what an earlier trace left wrong is not reported again."""
        left_wrong = group in self.spoiled and len(view.live) != view.target
        return Sizes(view.target, spoiled=left_wrong or group in self.lost)

    def end(self, group: str, sizes: Sizes) -> None:
        """Takes note of how a trace left the group."""
        if sizes.spoiled:
            self.spoiled.add(group)
        if sizes.lost:
            self.lost.add(group)
