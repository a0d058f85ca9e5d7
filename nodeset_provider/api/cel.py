"""One CEL rule of a CRD schema (x-kubernetes-validations)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """``rule`` must hold, else the write is refused with ``message``.

    ``message_rule`` is a CEL expression that makes the message where it has to quote a value; ``message`` then stands
    in when it fails.
    """

    rule: str
    message: str
    message_rule: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As in x-kubernetes-validations."""
        entry = {"rule": self.rule, "message": self.message}
        if self.message_rule:
            entry["messageExpression"] = self.message_rule
        return entry
