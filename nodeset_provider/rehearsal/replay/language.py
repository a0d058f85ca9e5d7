"""The trace language: a sequence of the autoscaler's calls in which machines are named by their part in the story.

A recording holds instance ids that exist nowhere else, so a trace says ``a[1]``: the first instance that group ``a``
got since the trace began. Who that is at another provider is found out while playing (see ``cast``). One line a call::

    trace ca-1.36.1-stuck
    release 1.36
    groups a b
    @8.14 NodeGroupIncreaseSize a +1
    @10.15 NodeGroupForNode a[1]:unregistered
    @30.5 NodeGroupDeleteNodes a a[1]
    @30.5 & NodeGroupDeleteNodes a a[2]        # &: at the same time as the line before

``@`` is followed by seconds since the start. Subjects: ``a[1]`` (registered as a Node), ``a[1]:unregistered`` and
``a[1]:create-error`` (the autoscaler's placeholders), ``stranger[1]`` (a Node that is nobody's), ``template[a]`` (the
node that the price expander makes up). The group ``nowhere`` is one that no provider has; the delta ``beyond-max`` is
one more than the group may grow. Pure: text in, data out, and back.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from nodeset_provider.rehearsal.connection import RPCS

NOWHERE: Final = "nowhere"
BEYOND_MAX: Final = "beyond-max"

_NAME: Final = r"[a-z][a-z0-9-]*"
_INSTANCE: Final = re.compile(rf"({_NAME})\[([1-9]\d*)\](?::([a-z-]+))?")
_TEMPLATE: Final = re.compile(rf"template\[({_NAME})\]")
_STRANGER: Final = "stranger"
_RESERVED: Final = frozenset({NOWHERE, _STRANGER, "template"})

_DELTA: Final = frozenset({"NodeGroupIncreaseSize", "NodeGroupDecreaseTargetSize"})
_GROUP: Final = _DELTA | {
    "NodeGroupTargetSize",
    "NodeGroupDeleteNodes",
    "NodeGroupNodes",
    "NodeGroupTemplateNodeInfo",
    "NodeGroupGetOptions",
}
_SUBJECTS: Final = frozenset({"NodeGroupForNode", "NodeGroupDeleteNodes", "PricingNodePrice"})


class TraceError(ValueError):
    """The text or recording is no trace; the message names the line and what was expected there."""


class Shape(enum.StrEnum):
    """How the autoscaler knows a machine: as a Node, or as a placeholder named by the instance id."""

    NODE = "node"
    UNREGISTERED = "unregistered"
    CREATE_ERROR = "create-error"


@dataclass(frozen=True, slots=True)
class Machine:
    """The ``number``-th (from 1) instance that ``group`` got since the trace began."""

    group: str
    number: int
    shape: Shape = Shape.NODE

    def __str__(self) -> str:
        suffix = "" if self.shape is Shape.NODE else f":{self.shape}"
        return f"{self.group}[{self.number}]{suffix}"


@dataclass(frozen=True, slots=True)
class Stranger:
    """A Node of the cluster that belongs to no group."""

    number: int

    def __str__(self) -> str:
        return f"{_STRANGER}[{self.number}]"


@dataclass(frozen=True, slots=True)
class TemplateNode:
    """The node that the price expander makes of a group's template."""

    group: str

    def __str__(self) -> str:
        return f"template[{self.group}]"


Subject = Machine | Stranger | TemplateNode


@dataclass(frozen=True, slots=True)
class Step:
    """One call. ``at`` is seconds since the start; ``together`` means at the same time as the step before."""

    at: float
    rpc: str
    group: str = ""
    delta: int | str = 0
    subjects: tuple[Subject, ...] = ()
    together: bool = False

    def __str__(self) -> str:
        words = [f"@{self.at:g}", *(["&"] if self.together else []), self.rpc]
        if self.group:
            words.append(self.group)
        if self.rpc in _DELTA:
            words.append(self.delta if isinstance(self.delta, str) else f"{self.delta:+d}")
        words.extend(str(subject) for subject in self.subjects)
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Trace:
    """A named sequence. ``release`` is the autoscaler's (major, minor): it decides which fields a request fills."""

    name: str
    release: tuple[int, int]
    groups: tuple[str, ...]
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        head = [f"trace {self.name}", f"release {self.release[0]}.{self.release[1]}", f"groups {' '.join(self.groups)}"]
        return "\n".join([*head, *(str(step) for step in self.steps), ""])


def parse(text: str) -> Trace:
    """Reads one trace; raises TraceError naming the line that is wrong."""
    head: dict[str, list[str]] = {}
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if not words[0].startswith("@"):
            if words[0] not in {"trace", "release", "groups"} or steps:
                raise TraceError(f"line {number}: {words[0]!r}: expected @SECONDS and a call (or a header at the top)")
            head[words[0]] = words[1:]
            continue
        try:
            steps.append(_step(words, head.get("groups", [])))
        except TraceError as error:
            raise TraceError(f"line {number}: {error}") from None
    return Trace(_name(head), release_of(" ".join(head.get("release", []))), _groups(head), tuple(steps))


def release_of(text: str) -> tuple[int, int]:
    """(major, minor) of ``1.36`` or ``1.36.1``; raises TraceError."""
    found = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", text)
    if not found:
        raise TraceError(f"release {text!r}: expected a release of the autoscaler, such as 1.36")
    return int(found[1]), int(found[2])


def _name(head: dict[str, list[str]]) -> str:
    match head.get("trace"):
        case [name]:
            return name
        case _:
            raise TraceError("expected one line 'trace NAME'")


def _groups(head: dict[str, list[str]]) -> tuple[str, ...]:
    groups = head.get("groups", [])
    wrong = [name for name in groups if not re.fullmatch(_NAME, name) or name in _RESERVED]
    if not groups or wrong or len(set(groups)) != len(groups):
        raise TraceError(f"groups {' '.join(groups)!r}: expected different names of lower-case letters and digits")
    return tuple(groups)


def _step(words: list[str], groups: list[str]) -> Step:
    try:
        at = float(words[0][1:])
    except ValueError:
        raise TraceError(f"{words[0]!r}: expected @ and seconds") from None
    rest = words[1:]
    together = rest[:1] == ["&"]
    rest = rest[together:]
    if not rest or rest[0] not in RPCS:
        raise TraceError(f"{' '.join(rest[:1])!r} is no call of the protocol")
    rpc, rest = rest[0], rest[1:]
    group: str = ""
    delta: int | str = 0
    if rpc in _GROUP:
        group, rest = _known_group(rest[0] if rest else "", groups), rest[1:]
    if rpc in _DELTA:
        delta, rest = _delta(rest[0] if rest else ""), rest[1:]
    subjects = tuple(_subject(word, groups) for word in rest)
    if bool(subjects) != (rpc in _SUBJECTS) or (rpc != "NodeGroupDeleteNodes" and len(subjects) > 1):
        raise TraceError(f"{rpc}: {'a machine is missing' if not subjects else f'{rest[-1]!r} is one word too many'}")
    return Step(at, rpc, group, delta, subjects, together)


def _known_group(word: str, groups: list[str]) -> str:
    if word != NOWHERE and word not in groups:
        raise TraceError(f"{word!r}: expected one of the groups {', '.join([*groups, NOWHERE])}")
    return word


def _delta(word: str) -> int | str:
    if word == BEYOND_MAX:
        return word
    try:
        return int(word)
    except ValueError:
        raise TraceError(f"{word!r}: expected a number or {BEYOND_MAX}") from None


def _subject(word: str, groups: list[str]) -> Subject:
    if template := _TEMPLATE.fullmatch(word):
        return TemplateNode(_known_group(template[1], groups))
    found = _INSTANCE.fullmatch(word)
    if not found:
        raise TraceError(f"{word!r}: expected a machine such as a[1], stranger[1] or template[a]")
    if found[1] == _STRANGER:
        return Stranger(int(found[2]))
    try:
        shape = Shape(found[3] or Shape.NODE)
    except ValueError:
        raise TraceError(f"{word!r}: a machine is {', '.join(Shape)}") from None
    return Machine(_known_group(found[1], groups), int(found[2]), shape)
