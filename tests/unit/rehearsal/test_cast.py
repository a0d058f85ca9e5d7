"""Parts stay with their instances through renames, deletions and machines of others."""

# Arguments are fixtures and parameters: their names say what they are.
# ruff: noqa: ANN001, ANN002, ANN201

from toy_provider import CREATING, DELETING

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.replay.cast import Cast


def instances(*ids, state=CREATING):
    return [pb.Instance(id=id_, status=pb.InstanceStatus(instanceState=state)) for id_ in ids]


def test_machines_from_before_play_no_part():
    cast = Cast(["old"])
    cast.see(instances("old"))
    assert cast.who(1) is None
    cast.see(instances("old", "new"))
    assert cast.who(1) == "new"
    assert cast.made() == ["new"]


def test_a_part_passes_on_when_its_instance_is_renamed():
    cast = Cast([])
    cast.see(instances("pending/1", "pending/2"))
    assert [cast.who(1), cast.who(2)] == ["pending/1", "pending/2"]
    cast.see(instances("pending/2", "cloud://i-1"))
    assert [cast.who(1), cast.who(2)] == ["cloud://i-1", "pending/2"]


def test_a_deleted_machine_keeps_its_part():
    cast = Cast([])
    cast.see(instances("a", "b"))
    assert cast.who(1) == "a"
    cast.deleted(["a"])
    cast.see(instances("b"))
    assert [cast.who(1), cast.who(2), cast.who(3)] == ["a", "b", None]


def test_a_machine_that_is_going_gets_no_part():
    cast = Cast([])
    cast.see(instances("a", state=DELETING))
    assert cast.who(1) is None
    assert cast.made() == []
