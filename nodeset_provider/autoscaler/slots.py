"""Which slot numbers were given back, so that giving the same one back twice lowers the size once. No I/O.

Slots are a count, not objects: without a memory the slot behind a deleted one would take its number, and a repeated
DeleteNodes would take that one too. The memory is this process's own and ends when the group has no slot left; after a
restart in the middle of a repetition a slot (never a Machine) may be taken back that the autoscaler then asks for anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodeset_provider.autoscaler.groups import slot_numbers


class Slots:
    """The numbers of a group's slots."""

    def __init__(self) -> None:
        self._retired: dict[str, set[int]] = {}

    def numbers(self, group: str, count: int) -> list[int]:
        """The numbers of ``count`` slots; with none left the numbering begins anew."""
        if not count:
            self._retired.pop(group, None)
            return []
        return slot_numbers(count, self._retired.get(group, ()))

    def retire(self, group: str, numbers: Iterable[int]) -> None:
        """These were given back."""
        self._retired.setdefault(group, set()).update(numbers)
