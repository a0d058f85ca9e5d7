"""What the placeholder controller may do: the words between ``decide`` (pure) and ``effects`` (thin). Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.node import Node


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something changes, or until ``seconds`` have passed."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """A Warning on the Node: no machine can be made for it. Looked at again after ``seconds``, or on a change."""

    node: Node
    reason: str
    message: str
    seconds: float | None = None
    passing: bool = False
    """It may pass by itself, and its words be others at each try (a request's id): said once."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One merge patch of the Node, with its resourceVersion as a precondition."""

    node: Node
    patch: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask the driver what machines of the class are."""


@dataclass(frozen=True, slots=True)
class MakeMachine:
    """Create the Machine, if the Node is still exactly this one."""

    node: Node
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Annotate:
    """Annotations of the Machine (None takes one away), with its resourceVersion as a precondition; ``say`` why."""

    machine: Machine
    annotations: dict[str, str | None]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class AskWhoDeleted:
    """Ask the API server whether a cloud-controller-manager said that it deletes the Node of that uid."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask for the end of that very Machine; ``message`` says why."""

    machine: Machine
    message: str


Action = Wait | Tell | Mark | Resolve | MakeMachine | Annotate | AskWhoDeleted | Cancel
