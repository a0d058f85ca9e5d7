"""The rules of the autoscaler's contract that a replay can judge, and what has been found out about each.

A rule is passed, violated (with evidence) or was not exercised by the traces played. One fault is one finding: what
merely follows from an earlier finding is not reported again (see ``sizes``). Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """``id`` is stable: scripts may name it. ``text`` is one line for people."""

    id: str
    text: str


_RULES: Final = (
    # -- what every answer owes
    Rule("in-time", "every call is answered within the autoscaler's time-out"),
    Rule("no-internal-unknown", "no call ends in INTERNAL or UNKNOWN, whatever is asked"),
    Rule("mandatory-implemented", "UNIMPLEMENTED is answered for prices, templates and options only"),
    Rule("served-before-refresh", "NodeGroups, nodes, GPU label are answered before the first Refresh"),
    Rule("reads-answered", "questions about groups that exist are answered"),
    Rule("unknown-group-refused", "a call for a group that does not exist is refused"),
    # -- groups and their nodes
    Rule("groups-complete", "NodeGroups gives every group a unique id, 0 ≤ minSize ≤ maxSize and maxSize > 0"),
    Rule("groups-steady", "NodeGroups is never a partial or empty list"),
    Rule("for-node-complete", "NodeGroupForNode gives the group's minSize and maxSize, not its id alone"),
    Rule("for-node-unmanaged", "NodeGroupForNode answers OK with id '' for a node of no group"),
    Rule("for-node-after-delete", "NodeGroupForNode answers id '' once DeleteNodes has taken the node"),
    Rule("instance-id-is-provider-id", "an instance's id is its Node's providerID, unique, and finds its group"),
    Rule("instance-state-set", "every instance has a state (without one its error is dropped)"),
    Rule("error-only-on-creating", "errorInfo is on Creating instances only (on others it is ignored and leaks)"),
    Rule("error-complete", "errorInfo has a code and an error class (1 out of resources, 99 other)"),
    # -- options, templates, prices
    Rule("options-unset-or-complete", "GetOptions answers OK with options unset, or with every duration, old and new"),
    Rule("template-every-group", "every group has a template (one without it can block every scale-up)"),
    Rule("template-complete", "a template has allocatable cpu, memory and pods"),
    Rule("template-both-fields", "a template is in nodeInfo and in nodeBytes, the same bytes"),
    Rule(
        "price-template-node", "NodePrice prices the node made of a template (labels, no providerID), or UNIMPLEMENTED"
    ),
    # -- growing
    Rule("target-rises", "TargetSize has risen by the delta when IncreaseSize returns"),
    Rule("creating-listed", "each requested machine is listed at once, as Creating"),
    Rule("beyond-max-refused", "IncreaseSize beyond maxSize is refused, never cut to fit"),
    Rule("bad-delta-refused", "IncreaseSize takes a delta > 0, DecreaseTargetSize one < 0"),
    Rule("refused-unchanged", "a refused call leaves the target size as it was"),
    Rule("target-is-instances", "target size = instances that are not being deleted, pending ones included"),
    Rule("target-steady", "the target size stays as the calls left it"),
    # -- shrinking
    Rule("delete-lowers", "DeleteNodes lowers the target at once by one a node"),
    Rule("delete-placeholder", "DeleteNodes takes a placeholder (name = providerID = instance id, no labels)"),
    Rule("delete-idempotent", "the same node twice lowers the target once and is no error"),
    Rule("delete-missing-node", "a node that is gone does not fail the others of the request"),
    Rule("delete-concurrent", "DeleteNodes calls at the same time lower the target by one each"),
    Rule("delete-below-min", "DeleteNodes does not enforce minSize"),
    Rule("delete-foreign-refused", "DeleteNodes refuses a node of another group"),
    Rule("deleted-not-counted", "a deleted node is listed as Deleting or not at all"),
    Rule("decrease-clamps", "DecreaseTargetSize answers OK and stops at the instances that are not being deleted"),
    Rule("decrease-deletes-nothing", "DecreaseTargetSize takes no instance away"),
    Rule("revert-then-delete", "DeleteNodes after a reverted scale-up lowers the target once, none is left over"),
)
RULES: Final = {rule.id: rule for rule in _RULES}


class Result(enum.StrEnum):
    """What is known of a rule after a replay."""

    PASSED = "passed"
    VIOLATED = "violated"
    NOT_EXERCISED = "not exercised"


@dataclass(frozen=True, slots=True)
class Finding:
    """One look at one rule. ``evidence`` says what was asked and what came back; empty where the rule held."""

    rule: str
    evidence: str = ""

    @property
    def held(self) -> bool:
        """Whether the rule was kept."""
        return not self.evidence


def look(rule: str, held: object, evidence: str) -> Finding:
    """A finding of ``rule``: ``evidence`` counts only where it was not ``held``."""
    return Finding(rule, "" if held else evidence)


@dataclass(slots=True)
class Verdict:
    """All looks at one rule. ``evidence`` keeps the first few, ``violations`` counts all."""

    rule: Rule
    looks: int = 0
    violations: int = 0
    evidence: list[str] = field(default_factory=list)

    @property
    def result(self) -> Result:
        """Violated by one bad look; passed by good ones only."""
        if self.violations:
            return Result.VIOLATED
        return Result.PASSED if self.looks else Result.NOT_EXERCISED


class Verdicts:
    """What a replay has found out; the mutable part of judging."""

    KEPT: Final = 3
    """Pieces of evidence kept per rule: the first shows the fault, a thousand show nothing more."""

    def __init__(self) -> None:
        self._by_rule = {rule.id: Verdict(rule) for rule in _RULES}

    def note(self, findings: Iterable[Finding], *, where: str) -> None:
        """Adds findings; ``where`` (trace, time, call) leads the evidence."""
        for finding in findings:
            verdict = self._by_rule[finding.rule]
            verdict.looks += 1
            if finding.held:
                continue
            verdict.violations += 1
            if len(verdict.evidence) < self.KEPT:
                verdict.evidence.append(f"{where}: {finding.evidence}")

    def all(self) -> list[Verdict]:
        """One verdict per rule, in the order of the rules."""
        return list(self._by_rule.values())

    def violated(self) -> set[str]:
        """Ids of the violated rules."""
        return {verdict.rule.id for verdict in self.all() if verdict.result is Result.VIOLATED}
