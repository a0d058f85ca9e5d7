"""Feature gates that a class sets, held against the table of the kubelet's own.

A kubelet that is given a gate it does not know, or the wrong value of one that is locked, exits at its start
(component-base/featuregate). Which release the machines of a class run, nobody knows before they boot; so a gate is
refused only where no release of the table would take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.feature_gate_table import GATES, NEWEST, OLDEST


def check_feature_gates(field: str, gates: Mapping[str, bool]) -> None:
    """Raises InvalidJoin with ``field[name]`` for a gate that no kubelet would take."""
    for name, value in gates.items():
        gate = GATES.get(name)
        if gate is None:
            near = get_close_matches(name, GATES, n=3)
            remedy = f"did you mean {' or '.join(near)}?" if near else "remove it"
            raise InvalidJoin(
                f"{field}[{name}]", f"no kubelet of Kubernetes 1.{OLDEST} to 1.{NEWEST} knows it; {remedy}"
            )
        if gate.locked and gate.locked == gate.since and value != gate.default:
            locked = str(gate.default).lower()
            raise InvalidJoin(f"{field}[{name}]", f"is locked to {locked} in every kubelet that knows it; remove it")
