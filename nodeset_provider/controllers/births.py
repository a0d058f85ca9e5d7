"""Which Machines this process made itself: for those, and only those, it is certain that nobody asked a cloud yet.

Shared by the NodeSet controller, which makes Machines, and the Machine controller, which launches them. It lives as
long as one term of leadership; a successor knows nothing and looks every unlaunched Machine up before it creates
anything.
"""

from __future__ import annotations


class Births:
    """Names on their way to the API server, and UIDs of what has arrived."""

    def __init__(self) -> None:
        self._announced: set[str] = set()
        self._ours: set[str] = set()

    def announce(self, name: str) -> None:
        """A Machine of that name is about to be created; its watch event may overtake the answer to the create."""
        self._announced.add(name)

    def settle(self, name: str, uid: str = "") -> None:
        """The answer is there: ``uid`` where this process made it, empty where it may have been somebody else."""
        self._announced.discard(name)
        if uid:
            self._ours.add(uid)

    def is_announced(self, name: str) -> bool:
        """Whether it is open who made the Machine of that name; it will be settled in a moment."""
        return name in self._announced

    def is_ours(self, uid: str) -> bool:
        """Whether this process made that Machine in this term."""
        return uid in self._ours

    def forget(self, uid: str) -> None:
        """The Machine is gone."""
        self._ours.discard(uid)
