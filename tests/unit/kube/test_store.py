"""Which of two versions wins, and what a list, an event and an own write each may change."""

from __future__ import annotations

import pytest

from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.api.node import Node
from nodeset_provider.kube.store import Store


def node(version: int, *, name: str = "n", uid: str = "u", colour: str = "red") -> Node:
    return Node(ObjectMeta(name=name, uid=uid, resource_version=str(version), labels={"colour": colour}))


@pytest.fixture
def store() -> Store[Node]:
    store = Store(lambda item: item.metadata.name, {"colour": lambda item: [item.metadata.labels["colour"]]})
    store.begin_list()
    store.put_listed(node(50), version=100)
    store.finish_list(100, {"n"})
    return store


def test_newer_wins_and_older_changes_nothing(store: Store[Node]) -> None:
    new = node(110)
    assert [change[1] for change in store.put(new)] == [new]
    assert store.put(node(105)) == []
    assert store.put(node(110, colour="blue")) == []
    assert store.get("n") is new


def test_versions_are_compared_as_numbers(store: Store[Node]) -> None:
    assert store.put(node(1000))
    assert store.put(node(999)) == []


def test_a_late_answer_does_not_revive_a_deleted_object(store: Store[Node]) -> None:
    store.delete("n", 120)
    store.advance(120)
    assert store.put(node(115)) == []
    assert store.get("n") is None


def test_an_answer_newer_than_the_watch_is_taken_although_nothing_was_there(store: Store[Node]) -> None:
    assert store.put(node(101, name="mine"))
    assert store.get("mine") is not None


def test_a_deletion_older_than_what_is_here_is_another_incarnations(store: Store[Node]) -> None:
    store.put(node(130, uid="second"))
    assert store.delete("n", 120) == []
    assert store.delete("n", 131) != []


def test_an_object_made_anew_is_a_deletion_and_an_addition(store: Store[Node]) -> None:
    old, new = store.get("n"), node(130, uid="second", colour="blue")
    assert store.put(new) == [(old, None), (None, new)]
    assert store.by_index("colour", "red") == []
    assert store.by_index("colour", "blue") == [new]


def test_what_a_list_does_not_hold_was_deleted(store: Store[Node]) -> None:
    store.begin_list()
    assert [change[1] for change in store.finish_list(200, set())] == [None]
    assert len(store) == 0


def test_an_own_write_after_the_list_survives_it(store: Store[Node]) -> None:
    store.begin_list()
    store.put(node(201, name="mine"))
    store.put(node(202, colour="blue"))
    store.put_listed(node(150), version=200)
    store.finish_list(200, {"n"})
    assert {item.metadata.name: item.metadata.resource_version for item in store.items()} == {"n": "202", "mine": "201"}


def test_a_list_from_before_what_was_seen_replaces_everything(store: Store[Node]) -> None:
    """As after etcd was restored from a backup: higher versions are not newer then."""
    store.put(node(150, colour="blue"))
    store.put(node(151, name="never-happened"))
    store.begin_list()
    store.put_listed(node(60), version=90)
    store.finish_list(90, {"n"})
    assert [item.metadata.resource_version for item in store.items()] == ["60"]
    assert store.by_index("colour", "blue") == []
    assert store.put(node(91)), "and from there on all is as ever"


def test_a_list_that_shows_nothing_new_changes_nothing(store: Store[Node]) -> None:
    store.begin_list()
    assert store.put_listed(node(50), version=120) == []
    assert store.finish_list(120, {"n"}) == []


def test_an_index_follows_its_objects(store: Store[Node]) -> None:
    store.put(node(110, colour="blue"))
    assert store.by_index("colour", "red") == []
    assert [item.metadata.name for item in store.by_index("colour", "blue")] == ["n"]
    store.delete("n", 111)
    assert store.by_index("colour", "blue") == []
    assert store._indexes == {"colour": {}}, "nothing is left of values that nobody has any more"


def test_an_indexer_that_stumbles_hides_one_object_from_one_index(store: Store[Node]) -> None:
    plain = Node(ObjectMeta(name="plain", resource_version="120"))
    store.put(plain)
    assert store.get("plain") is plain
    assert [item.metadata.name for item in store.by_index("colour", "red")] == ["n"]
    assert store.delete("plain", 121)


def test_an_unknown_index_is_an_error(store: Store[Node]) -> None:
    with pytest.raises(KeyError):
        store.by_index("size", "large")


def test_items_are_the_callers_own(store: Store[Node]) -> None:
    items = store.items()
    store.delete("n", 120)
    assert len(items) == 1
