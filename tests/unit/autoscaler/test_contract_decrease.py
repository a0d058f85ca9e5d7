"""DecreaseTargetSize. Each docstring names the contract's section and rule."""

import grpc
import pytest
from autoscaler_world import World, denied, running


async def test_decrease_takes_back_what_is_not_there_yet(world: World) -> None:
    """§4 scenario 14: target above instances → DecreaseTargetSize(-n), no machine deleted."""
    world.node_set(replicas=5)
    running(world, "a-1", "a-2")
    await world.call("NodeGroupDecreaseTargetSize", id="a", delta=-2)
    assert (world.replicas(), world.remove_first()) == (3, [])


async def test_decrease_is_clamped_at_the_instances_and_ok(world: World) -> None:
    """§3: clamp at the number of non-deleting instances, answer OK, delete nothing: an error aborts the whole loop."""
    world.node_set(replicas=4, removeFirst=["a-4"])
    running(world, "a-1", "a-2", "a-3", "a-4")
    world.delete_machine("a-3")
    await world.call("NodeGroupDecreaseTargetSize", id="a", delta=-4)
    assert (world.replicas(), world.remove_first()) == (2, ["a-4"])
    await world.call("NodeGroupDecreaseTargetSize", id="a", delta=-1)
    assert world.replicas() == 2


async def test_decrease_sees_machines_that_the_cache_has_not(world: World) -> None:
    """§3: deletes nothing: a machine that the cache has not heard of would be the surplus."""
    world.deliver = False
    world.node_set(replicas=2)
    world.catch_up()
    running(world, "a-1", "a-2")
    await world.call("NodeGroupDecreaseTargetSize", id="a", delta=-2)
    assert world.replicas() == 2


async def test_decrease_keeps_a_machine_that_is_made_at_the_same_moment(world: World) -> None:
    """§3: deletes nothing: the machine appears between the count and the write."""
    world.node_set(replicas=2)

    async def meddle(verb: str, name: str) -> None:
        if verb == "patch" and not world.machines_made:
            world.machine(name="a-1")

    world.client.fault = meddle
    await world.call("NodeGroupDecreaseTargetSize", id="a", delta=-2)
    assert await world.target() == 1
    assert await world.states() == {"nodeset://pending/a-1": "instanceCreating"}


async def test_decrease_leaves_a_size_alone_that_a_person_sets_at_the_same_moment(world: World) -> None:
    """min/max and the autoscaler's wishes never bind a person."""
    world.node_set(replicas=5)
    running(world, "a-1", "a-2", "a-3")
    lists = 0

    async def meddle(verb: str, name: str) -> None:
        nonlocal lists
        lists += verb == "list"
        if verb == "list" and lists == 2:
            world.change_spec(replicas=1)

    world.client.fault = meddle
    await world.call("NodeGroupDecreaseTargetSize", id="a", delta=-2)
    assert (world.replicas(), lists) == (1, 2)


async def test_revert_then_delete_of_a_stuck_machine_ends_at_the_right_target(world: World) -> None:
    """§3, scenario 13 (1.36+): DecreaseTargetSize(-1) first, DeleteNodes(unregistered) and a new IncreaseSize later."""
    world.node_set(replicas=0)
    await world.call("NodeGroupIncreaseSize", id="a", delta=1)
    world.machine(name="a-1", provider_id="cloud://a-1")
    await world.call("NodeGroupDecreaseTargetSize", id="a", delta=-1)
    assert await world.target() == 1
    await world.call("NodeGroupIncreaseSize", id="a", delta=1)
    await world.delete_nodes("cloud://a-1")
    assert await world.target() == 1
    assert await world.states() == {"cloud://a-1": "instanceDeleting", "nodeset://pending/a/1": "instanceCreating"}


@pytest.mark.parametrize("delta", [0, 1])
async def test_a_decrease_takes_a_negative_delta(world: World, delta: int) -> None:
    """§3: DecreaseTargetSize (negative delta)."""
    world.node_set(replicas=2)
    refusal = await denied(world.call("NodeGroupDecreaseTargetSize", id="a", delta=delta))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert world.replicas() == 2
