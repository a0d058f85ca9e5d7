"""CEL rules of CRD schemas (x-kubernetes-validations), and the ones that more than one field shares.

A rule that a value of a map or list breaks is reported by the API server with the path of that very value, so rules
stand as close to the value as they can. Rules about the keys of a map cannot: they are reported for the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
DNS_LABEL = f"^{_LABEL}$"
DNS_SUBDOMAIN = f"^{_LABEL}([.]{_LABEL})*$"
LABEL_KEY = f"^({_LABEL}([.]{_LABEL})*/)?{_NAME}$"
LABEL_VALUE = f"^({_NAME})?$"
LABEL_KEY_LENGTH = 253 + 1 + 63


@dataclass(frozen=True, slots=True)
class Rule:
    """``rule`` must hold, else the write is refused with ``message``, which names the field and the remedy."""

    rule: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        """As in x-kubernetes-validations."""
        return {"rule": self.rule, "message": self.message}


def rules(*entries: Rule) -> dict[str, Any]:
    """The schema keys for these rules."""
    return {"x-kubernetes-validations": [entry.as_dict() for entry in entries]}


def text(longest: int, *entries: Rule, **keys: Any) -> dict[str, Any]:
    """A string of at most ``longest`` characters that these rules hold for. CEL's cost is worked out from the limit."""
    return {**keys, "maxLength": longest, **(rules(*entries) if entries else {})}


def matches(pattern: str, message: str) -> Rule:
    """The string matches this RE2 pattern."""
    return Rule(f"self.matches({literal(pattern)})", message)


def keys_match(pattern: str, message: str) -> Rule:
    """All keys of the map match this RE2 pattern."""
    return Rule(f"self.all(key, key.matches({literal(pattern)}))", message)


def keys_among(allowed: Sequence[str], what: str) -> Rule:
    """All keys of the map are in this list."""
    listed = ", ".join(literal(key) for key in allowed)
    return Rule(f"self.all(key, key in [{listed}])", f"{what} takes the keys {', '.join(allowed)}")


def between(least: int, most: int, what: str) -> Rule:
    """The integer lies in the range, both ends included."""
    return Rule(f"self >= {least} && self <= {most}", f"{what} must be between {least} and {most}")


def literal(value: str) -> str:
    """A CEL string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
