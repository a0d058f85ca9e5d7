"""The informer's memory: objects by name, their indexes, and which of two versions is the newer. Pure, no I/O.

Three sources write here: lists, watch events and the answers to our own writes. They overtake each other, so the store
keeps for each object the version with the highest resourceVersion, compared as integers (KEP-5504 made that a promise).

``progress`` is the resourceVersion up to which the store is complete. It makes tombstones needless: an object that is
not here although it was last written at or before ``progress`` has been deleted, so an answer that comes late revives
nothing; one that was written after ``progress`` is news.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic

import structlog

from nodeset_provider.kube.resources import T

log = structlog.get_logger(__name__)

Index = Callable[[T], Iterable[str]]
Change = tuple[T | None, T | None]
"""(old, new): new is None for a deletion."""


class Store(Generic[T]):
    """Objects by key (see ``Resource.key``). Every method that writes returns the changes it made, in order."""

    def __init__(self, key: Callable[[T], str], indexers: Mapping[str, Index[T]]) -> None:
        self._key = key
        self._indexers = dict(indexers)
        self._objects: dict[str, T] = {}
        self._indexes: dict[str, dict[str, dict[str, None]]] = {name: {} for name in indexers}
        self.progress = 0
        self._highest = 0
        self._floor = 0

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: str) -> T | None:
        """The object, None where there is none."""
        return self._objects.get(key)

    def items(self) -> list[T]:
        """All objects, in a list of the caller's own."""
        return list(self._objects.values())

    def by_index(self, index: str, value: str) -> list[T]:
        """The objects for which that indexer yielded ``value``, in the order in which they came to be so indexed."""
        return [self._objects[key] for key in self._indexes[index].get(value, ())]

    def put(self, new: T) -> list[Change[T]]:
        """An object as a watch or the answer to a write showed it; older than what is known: ignored."""
        old = self._objects.get(self._key(new))
        known = self.progress if old is None else resource_version(old)
        version = resource_version(new)
        self._highest = max(self._highest, version)
        return [] if version <= known else self._set(old, new)

    def delete(self, key: str, version: int) -> list[Change[T]]:
        """A DELETED event; ``version`` is that of the deletion."""
        old = self._objects.get(key)
        if old is None or resource_version(old) > version:
            return []
        return self._remove(key, old)

    def advance(self, version: int) -> None:
        """The watch has come this far."""
        self.progress = max(self.progress, version)

    def begin_list(self) -> None:
        """A list is about to be asked for. It will show everything that has been seen up to now."""
        self._floor = max(self._highest, self.progress)

    def put_listed(self, new: T, *, version: int) -> list[Change[T]]:
        """An object of the list at ``version``. It exists then, however long ago it was last written.

        Against what was here at ``version`` or before, the list is right, even where it shows an older object.
        """
        old = self._objects.get(self._key(new))
        if old is not None:
            if resource_version(old) > version and not self._went_back(version):
                return []  # an own write that came after the list
            if old.metadata.uid == new.metadata.uid and resource_version(old) == resource_version(new):
                return []
        return self._set(old, new)

    def finish_list(self, version: int, seen: set[str]) -> list[Change[T]]:
        """The list at ``version`` held ``seen`` and nothing else: what is not in it was deleted, unless it is newer."""
        went_back = self._went_back(version)
        gone = [
            (key, old)
            for key, old in self._objects.items()
            if key not in seen and (went_back or resource_version(old) <= version)
        ]
        changes = [change for key, old in gone for change in self._remove(key, old)]
        self.progress = version
        if went_back:
            self._highest = version
        return changes

    def _went_back(self, version: int) -> bool:
        """Whether a list shows less than was seen before it was asked for: etcd was restored from a backup.

        Then the list is right whatever the versions say.
        """
        return version < self._floor

    def _set(self, old: T | None, new: T) -> list[Change[T]]:
        if old is not None and old.metadata.uid != new.metadata.uid:
            # Deleted and made again while nobody looked: two objects, so two changes.
            return [*self._remove(self._key(old), old), *self._set(None, new)]
        key = self._key(new)
        if old is not None:
            self._unindex(key, old, new)
        self._objects[key] = new
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            for value in _values(indexer, new):
                index.setdefault(value, {})[key] = None
        return [(old, new)]

    def _remove(self, key: str, old: T) -> list[Change[T]]:
        del self._objects[key]
        self._unindex(key, old, None)
        return [(old, None)]

    def _unindex(self, key: str, old: T, new: T | None) -> None:
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            kept = _values(indexer, new) if new is not None else set()
            for value in _values(indexer, old) - kept:
                keys = index.get(value)
                if keys is not None:
                    keys.pop(key, None)
                    if not keys:
                        del index[value]


def _values(indexer: Index[T], item: T) -> set[str]:
    """What the indexer says of the object; nothing, and a line in the log, where it stumbles over it."""
    try:
        return set(indexer(item))
    except Exception:
        log.exception("an indexer failed", name=item.metadata.name)
        return set()


def resource_version(item: T) -> int:
    """The version as a number; 0 where there is none or where it is no number (a server that is not Kubernetes')."""
    text = item.metadata.resource_version
    return int(text) if text.isdecimal() else 0
