"""What may become of a certificate request. Values only."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE_SECONDS = 30.0
"""How long a request may wait before somebody is told."""


@dataclass(frozen=True, slots=True)
class Approve:
    """It is that machine's own request."""


@dataclass(frozen=True, slots=True)
class Deny:
    """It came in the name of a machine of ours and will never be right. ``why`` begins in lower case."""

    why: str


@dataclass(frozen=True, slots=True)
class LeaveAlone:
    """It may be right later. Somebody is told once it has waited for ``patience`` seconds."""

    why: str
    patience: float = PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Ignore:
    """Not ours, or decided already."""


Verdict = Approve | Deny | LeaveAlone | Ignore
