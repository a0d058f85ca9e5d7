"""DeleteNodes. Each docstring names the contract's section and rule."""

import asyncio

import grpc
import pytest
from autoscaler_world import World, denied, running

from nodeset_provider.kube.errors import Unavailable
from nodeset_provider.kube.resources import NODE_SETS
from nodeset_provider.protocol import externalgrpc_pb2 as pb


async def test_delete_nodes_lowers_the_size_and_names_the_victim_in_one_write(world: World) -> None:
    """§3: lower the size at once and durably; the machine may go later."""
    world.node_set(replicas=2)
    running(world, "a-1", "a-2")
    await world.delete_nodes("cloud://a-2")
    assert (world.replicas(), world.remove_first()) == (1, ["a-2"])
    assert world.writes() == 1
    assert await world.target() == 1
    assert await world.states() == {"cloud://a-1": "instanceRunning", "cloud://a-2": "instanceDeleting"}


async def test_deleting_a_node_twice_lowers_the_size_once(world: World) -> None:
    """§3, scenario 17: idempotent: the same node twice lowers the size once; in one request, too."""
    world.node_set(replicas=3)
    running(world, "a-1", "a-2", "a-3")
    await world.delete_nodes("cloud://a-1", "cloud://a-1")
    await world.delete_nodes("cloud://a-1")
    assert (world.replicas(), world.remove_first()) == (2, ["a-1"])
    world.delete_machine("a-1")
    world.change_spec(removeFirst=[])
    await world.delete_nodes("cloud://a-1")
    world.machine_gone("a-1")
    await world.delete_nodes("cloud://a-1")
    assert (world.replicas(), world.remove_first()) == (2, [])


async def test_concurrent_deletes_lower_the_size_once_each(world: World) -> None:
    """§3, scenario 17: called concurrently, often one node a call."""
    names = [f"a-{number}" for number in range(6)]
    world.node_set(replicas=6)
    running(world, *names)
    await asyncio.gather(*(world.delete_nodes(f"cloud://{name}") for name in [*names[:4], *names[:4]]))
    assert world.replicas() == 2
    assert sorted(world.remove_first()) == names[:4]


async def test_one_missing_node_does_not_fail_the_rest(world: World) -> None:
    """§3: idempotent: one missing node must not fail the rest."""
    world.node_set(replicas=2)
    running(world, "a-1", "a-2")
    await world.delete_nodes("cloud://nobody", "cloud://a-1")
    assert (world.replicas(), world.remove_first()) == (1, ["a-1"])


async def test_a_request_of_strangers_only_is_not_found(world: World) -> None:
    """§3: an error untaints the node and the autoscaler retries."""
    world.node_set(replicas=2)
    running(world, "a-1", "a-2")
    refusal = await denied(world.delete_nodes(*(f"cloud://{number}" for number in range(7))))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert "cloud://0" in refusal.message
    assert "2 more" in refusal.message
    assert world.replicas() == 2


async def test_a_node_that_only_the_cache_does_not_know_is_not_passed_over(world: World) -> None:
    """§3: DeleteNodes lowers the size durably; a replica that is behind must not say OK and keep a machine."""
    world.node_set(replicas=3)
    running(world, "a-one")
    world.deliver = False
    running(world, "a-two", "a-three")
    await world.delete_nodes("cloud://a-two")
    assert (world.replicas(), world.remove_first()) == (2, ["a-two"])
    await world.delete_nodes("cloud://a-one", "cloud://a-three")
    assert (world.replicas(), set(world.remove_first())) == (0, {"a-one", "a-two", "a-three"})


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "1e3", "²"])
async def test_an_id_that_is_no_slot_of_ours_is_a_stranger(world: World, number: str) -> None:
    """§3: an id that cannot be ours is not found, and never a failure of the provider."""
    world.node_set(replicas=1)
    instance = f"nodeset://pending/a/{number}"
    assert (await world.group_of(instance)).id == ""
    assert (await denied(world.delete_nodes(instance))).code is grpc.StatusCode.NOT_FOUND
    assert world.replicas() == 1


async def test_a_machine_of_no_set_that_went_is_a_stranger_as_it_was_before(world: World) -> None:
    """§3: a Machine that somebody made by hand is in no group, neither while it is there nor when it is gone."""
    world.node_set(replicas=1)
    name = world.machine("a", provider_id="cloud://by-hand")
    world.change_machine(name, labels={})
    assert (await denied(world.delete_nodes("cloud://by-hand"))).code is grpc.StatusCode.NOT_FOUND
    world.machine_gone(name)
    assert (await denied(world.delete_nodes("cloud://by-hand"))).code is grpc.StatusCode.NOT_FOUND


async def test_a_node_of_another_group_changes_nothing(world: World) -> None:
    """A request that names a node of another group is wrong as a whole."""
    world.node_set("a", replicas=1)
    world.node_set("b", replicas=1)
    running(world, "a-1")
    running(world, "b-1", group="b")
    refusal = await denied(world.delete_nodes("cloud://a-1", "cloud://b-1"))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'b'" in refusal.message
    assert (world.replicas("a"), world.replicas("b"), world.writes()) == (1, 1, 0)


@pytest.mark.parametrize("nodes", [[], [pb.ExternalGrpcNode()]], ids=["none", "empty"])
async def test_delete_nodes_has_to_name_nodes(world: World, nodes: list[pb.ExternalGrpcNode]) -> None:
    """Empty ids: INVALID_ARGUMENT."""
    world.node_set(replicas=1)
    refusal = await denied(world.call("NodeGroupDeleteNodes", id="a", nodes=nodes))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_minimum_is_never_enforced_in_delete_nodes(world: World) -> None:
    """§3: never enforce the minimum in DeleteNodes (--force-delete-* falls back to it)."""
    world.node_set(replicas=2, minimum=2)
    running(world, "a-1", "a-2")
    await world.delete_nodes("cloud://a-1")
    assert world.replicas() == 1


async def test_a_placeholder_is_deleted_by_its_instance_id(world: World) -> None:
    """§3: placeholder nodes (unregistered, create-error): name = providerID = Instance.id."""
    world.node_set(replicas=2)
    world.failed(world.machine(name="a-1"), "InsufficientCapacity")
    world.machine(name="a-2", provider_id="cloud://a-2")
    await world.delete_nodes("nodeset://pending/a-1")
    await world.delete_nodes("nodeset://pending/a-2")
    assert (world.replicas(), world.remove_first()) == (0, ["a-1", "a-2"])


async def test_a_slot_is_given_back_once(world: World) -> None:
    """§3: the same node twice lowers the size once, though the slot behind it moves up."""
    world.node_set(replicas=3)
    assert len(await world.instances()) == 3
    await world.delete_nodes("nodeset://pending/a/1")
    await world.delete_nodes("nodeset://pending/a/1")
    assert world.replicas() == 2
    assert sorted(await world.instances()) == ["nodeset://pending/a/2", "nodeset://pending/a/3"]
    assert world.remove_first() == []


async def test_a_slot_that_became_a_machine_counts_as_gone(world: World) -> None:
    """§3: the autoscaler sees the machine itself in its next loop."""
    world.node_set(replicas=1)
    world.machine(name="a-1")
    await world.delete_nodes("nodeset://pending/a/1")
    assert world.replicas() == 1


async def test_a_slot_that_becomes_a_machine_at_the_same_moment_stays(world: World) -> None:
    """§3: no machine goes that nobody has named."""
    world.node_set(replicas=2)

    async def meddle(verb: str, name: str) -> None:
        if verb == "patch" and not world.machines_made:
            world.machine(name="a-1")
            world.machine(name="a-2")

    world.client.fault = meddle
    await world.delete_nodes("nodeset://pending/a/1")
    assert (world.replicas(), world.remove_first()) == (2, [])


async def test_a_machine_that_is_going_already_is_not_paid_for_again(world: World) -> None:
    """§4 scenario 15: deleting instances are not counted or deleted again."""
    world.node_set(replicas=2)
    running(world, "a-1", "a-2")
    world.delete_machine("a-1")
    await world.delete_nodes("cloud://a-1")
    assert world.replicas() == 2
    assert world.writes() == 0


async def test_a_cache_that_is_behind_lowers_nothing_twice(world: World) -> None:
    """§4 scenario 17: a replica that has just taken over has not heard yet that the machine is going."""
    world.deliver = False
    world.node_set(replicas=2)
    running(world, "a-1", "a-2")
    world.catch_up()
    await world.delete_nodes("cloud://a-1")
    world.delete_machine("a-1")
    world.change_spec(removeFirst=[])  # the controller has taken it off the list
    world.node_sets.observe(await world.client.get(NODE_SETS, "a"))
    assert not world.machines.get("a-1").metadata.deleting
    await world.delete_nodes("cloud://a-1")
    assert world.replicas() == 1


async def test_a_lost_answer_to_delete_nodes_lowers_the_size_once(world: World) -> None:
    """§4 scenarios 16 and 17, with the controller quick enough to have acted in between."""
    world.node_set(replicas=2)
    running(world, "a-1", "a-2")

    async def meddle(verb: str, name: str) -> None:
        if (verb, name) == ("get", "a"):
            world.delete_machine("a-1")
            world.change_spec(removeFirst=[])

    world.client.fault = meddle
    world.client.lose_answer = True
    await world.delete_nodes("cloud://a-1")
    assert world.replicas() == 1


async def test_a_refused_delete_changes_nothing_and_can_be_repeated(world: World) -> None:
    """§4 scenario 16: DeleteNodes refused → untaint, retry."""
    world.node_set(replicas=2)
    running(world, "a-1", "a-2")

    async def fail(verb: str, name: str) -> None:
        raise Unavailable(503, "ServiceUnavailable", "restarting")

    world.client.fault = fail
    assert (await denied(world.delete_nodes("cloud://a-1"))).code is grpc.StatusCode.UNAVAILABLE
    assert world.replicas() == 2
    world.client.fault = None
    await world.delete_nodes("cloud://a-1")
    assert world.replicas() == 1
