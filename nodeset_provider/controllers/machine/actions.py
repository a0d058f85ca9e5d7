"""What a phase may ask for: the vocabulary between ``decide`` (pure) and ``effects`` (thin). Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nodeset_provider.api.node import Node


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something changes, or until ``seconds`` have passed."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """The Machine was made by hand without it: nothing may be launched before it is there."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the cloud whether the machine of this attempt exists."""


@dataclass(frozen=True, slots=True)
class Diagnose:
    """Ask what the machine itself last said, for people: it failed, and the cloud does not say why."""


@dataclass(frozen=True, slots=True)
class EnsureToken:
    """See to it that a machine that is still to join has a valid bootstrap token until its time is over."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Make the token's Secret, then the machine."""


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Take away what is left of an attempt that failed: the machine and its Node."""


@dataclass(frozen=True, slots=True)
class Destroy:
    """Ask the cloud to take the machine away for good (the Machine is being deleted)."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A Warning event on the Machine and on its NodeSet."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """One merge patch of ``status``. ``drop_token``: the bootstrap token is deleted first, it has done its work."""

    status: dict[str, Any]
    drop_token: bool = False
    ensure_token: bool = False
    """The machine was found again after a crash and has still to join: its token gets its full time."""
    announcement: Announcement | None = None


@dataclass(frozen=True, slots=True)
class SyncNode:
    """One merge patch of the Node, with its resourceVersion as a precondition."""

    name: str
    patch: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReleaseNode:
    """Take our finalizer off that Node: the cloud has said that its machine is gone."""

    node: Node


@dataclass(frozen=True, slots=True)
class DeleteNode:
    """Delete that very Node (``uid`` is a precondition)."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class DeleteMachine:
    """Ask for the end of the Machine, because somebody asked for the end of its Node, ``node``."""

    node: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """Write down that the placeholder of that uid is no longer waited for, because we are about to delete it."""

    uid: str


@dataclass(frozen=True, slots=True)
class FindNode:
    """Ask the API server itself for the Node: the cache may be a moment behind a kubelet that was just taken away."""


@dataclass(frozen=True, slots=True)
class DropToken:
    """Delete the bootstrap token's Secret."""


@dataclass(frozen=True, slots=True)
class Release:
    """Take our finalizer away: the cloud has said that the machine is gone."""


Action = (
    Wait
    | AddFinalizer
    | LookUp
    | Diagnose
    | EnsureToken
    | Launch
    | CleanUp
    | Destroy
    | WriteStatus
    | SyncNode
    | ReleaseNode
    | DeleteNode
    | DeleteMachine
    | HandOver
    | FindNode
    | DropToken
    | Release
)
