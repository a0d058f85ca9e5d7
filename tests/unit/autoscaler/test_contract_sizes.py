"""What the autoscaler changes. Each docstring names the contract's section and rule."""

import asyncio
from collections.abc import Awaitable

import grpc
import pytest
from autoscaler_world import Denied, World

from nodeset_provider.kube.errors import Forbidden, Invalid, TooManyRequests, Unauthorized, Unavailable
from nodeset_provider.kube.resources import NODE_SETS
from nodeset_provider.protocol import externalgrpc_pb2 as pb


async def denied(call: Awaitable[object]) -> Denied:
    with pytest.raises(Denied) as caught:
        await call
    return caught.value


def running(world: World, *names: str, group: str = "a") -> None:
    for name in names:
        world.machine(group, name, provider_id=f"cloud://{name}", registered=True)


# --- IncreaseSize ----------------------------------------------------------------------------------------------------


async def test_the_target_has_risen_before_increase_size_returns(world: World) -> None:
    """§3: TargetSize must have risen before IncreaseSize returns, though the watch has not brought the change yet."""
    world.deliver = False
    world.node_set(replicas=1)
    world.catch_up()
    await world.call("NodeGroupIncreaseSize", id="a", delta=2)
    assert world.replicas() == 3
    assert await world.target() == 3
    assert len(await world.instances()) == 3


async def test_increase_size_is_one_write_with_a_precondition(world: World) -> None:
    """§2: slow IncreaseSize: persist the intent, answer fast."""
    world.node_set(replicas=1)
    version = world.api.objects["/apis/nodeset.dev/v1alpha1/nodesets", "a"]["metadata"]["resourceVersion"]
    sent = []
    patch = world.client.patch
    world.client.patch = lambda resource, name, body: sent.append(body) or patch(resource, name, body)
    await world.call("NodeGroupIncreaseSize", id="a", delta=1)
    assert sent == [{"metadata": {"resourceVersion": version}, "spec": {"replicas": 2}}]
    assert world.api.log == [("patch", "a")]


async def test_an_increase_beyond_the_maximum_is_rejected_never_truncated(world: World) -> None:
    """§3: above max → reject, never truncate."""
    world.node_set(replicas=2, maximum=3)
    refusal = await denied(world.call("NodeGroupIncreaseSize", id="a", delta=2))
    assert refusal.code is grpc.StatusCode.OUT_OF_RANGE
    for part in ("'a'", "2 replicas", "2 more", "spec.autoscaling.maxReplicas of 3"):
        assert part in refusal.message
    assert world.replicas() == 2
    await world.call("NodeGroupIncreaseSize", id="a", delta=1)
    assert world.replicas() == 3


async def test_a_cache_that_is_behind_refuses_no_increase(world: World) -> None:
    """§3: somebody has made room that the cache has not heard of."""
    world.deliver = False
    world.node_set(replicas=3, maximum=3)
    world.catch_up()
    world.change_spec(replicas=1)
    await world.call("NodeGroupIncreaseSize", id="a", delta=1)
    assert world.replicas() == 2


async def test_a_cache_that_is_behind_hides_nothing_from_a_decrease(world: World) -> None:
    """§4 scenario 14: the increase that is to be taken back has not been heard of."""
    world.deliver = False
    world.node_set(replicas=0)
    world.catch_up()
    world.change_spec(replicas=2)
    await world.call("NodeGroupDecreaseTargetSize", id="a", delta=-1)
    assert world.replicas() == 1


async def test_an_increase_that_would_overflow_is_out_of_range(world: World) -> None:
    """§3: above max → reject; int32 is the protocol's own limit."""
    world.node_set(replicas=2, maximum=2**31 - 1)
    refusal = await denied(world.call("NodeGroupIncreaseSize", id="a", delta=2**31 - 1))
    assert refusal.code is grpc.StatusCode.OUT_OF_RANGE


@pytest.mark.parametrize("delta", [0, -1])
async def test_an_increase_takes_a_positive_delta(world: World, delta: int) -> None:
    """§3: delta > 0."""
    world.node_set(replicas=2)
    assert (await denied(world.call("NodeGroupIncreaseSize", id="a", delta=delta))).code is (
        grpc.StatusCode.INVALID_ARGUMENT
    )
    assert world.replicas() == 2


async def test_concurrent_increases_add_up(world: World) -> None:
    """§3: nothing is lost when several calls arrive at once."""
    world.node_set(replicas=0)
    await asyncio.gather(*(world.call("NodeGroupIncreaseSize", id="a", delta=1) for _ in range(5)))
    assert world.replicas() == 5


async def test_a_conflict_is_decided_again_on_the_fresh_object(world: World) -> None:
    """Another writer came between: the delta is applied to what it wrote, and the bound holds for the sum."""
    world.deliver = False
    world.node_set(replicas=1, maximum=5)
    world.catch_up()
    world.change_spec(replicas=3)
    await world.call("NodeGroupIncreaseSize", id="a", delta=2)
    assert world.replicas() == 5
    world.change_spec(replicas=4)
    assert (await denied(world.call("NodeGroupIncreaseSize", id="a", delta=2))).code is grpc.StatusCode.OUT_OF_RANGE


async def test_an_endless_conflict_ends_in_aborted(world: World) -> None:
    """Bounded: the autoscaler's own time-out must not be the end of it."""
    world.node_set(replicas=1)

    async def meddle(verb: str, name: str) -> None:
        if verb == "patch":
            world.touch()

    world.client.fault = meddle
    assert (await denied(world.call("NodeGroupIncreaseSize", id="a", delta=1))).code is grpc.StatusCode.ABORTED
    assert world.replicas() == 1


async def test_a_lost_answer_is_applied_once(world: World) -> None:
    """§4 scenario 19: IncreaseSize time-out: applied once."""
    world.node_set(replicas=1)
    world.client.lose_answer = True
    await world.call("NodeGroupIncreaseSize", id="a", delta=2)
    assert world.replicas() == 3
    assert await world.target() == 3


async def test_a_lost_answer_and_a_status_write_are_told_apart(world: World) -> None:
    """§4 scenario 19: the version moved on, the generation says that the change is in."""
    world.node_set(replicas=1)
    gets = 0

    async def meddle(verb: str, name: str) -> None:
        nonlocal gets
        if verb == "get":
            gets += 1
            world.touch()

    world.client.fault = meddle
    world.client.lose_answer = True
    await world.call("NodeGroupIncreaseSize", id="a", delta=2)
    assert (world.replicas(), gets) == (3, 1)


async def test_a_repetition_never_takes_the_lost_change_before_it_for_its_own(world: World) -> None:
    """§4 scenario 19: the first call took effect and was reported as failed; the second one asks for as much again."""
    world.deliver = False
    world.node_set(replicas=1)
    world.catch_up()
    incidents = ["lose", "refuse", "", "refuse"]

    async def meddle(verb: str, name: str) -> None:
        happening = incidents.pop(0) if incidents else ""
        world.client.lose_answer = happening == "lose"
        if happening == "refuse":
            raise Unavailable(503, "ServiceUnavailable", "restarting")

    world.client.fault = meddle
    assert (await denied(world.call("NodeGroupIncreaseSize", id="a", delta=2))).code is grpc.StatusCode.UNAVAILABLE
    assert world.replicas() == 3
    await world.call("NodeGroupIncreaseSize", id="a", delta=2)
    assert world.replicas() == 5


async def test_a_write_that_never_arrived_is_sent_again(world: World) -> None:
    """§4 scenario 19."""
    world.node_set(replicas=1)
    failures = [Unavailable(503, "ServiceUnavailable", "restarting")]

    async def fail(verb: str, name: str) -> None:
        if verb == "patch" and failures:
            raise failures.pop()

    world.client.fault = fail
    await world.call("NodeGroupIncreaseSize", id="a", delta=2)
    assert world.replicas() == 3


async def test_an_effect_that_nobody_knows_is_not_guessed(world: World) -> None:
    """§4 scenario 19: a second change came in after the lost one; UNAVAILABLE, and nothing is sent again."""
    world.node_set(replicas=1)

    async def meddle(verb: str, name: str) -> None:
        if verb == "get":
            world.change_spec(replicas=world.replicas() + 5)

    world.client.fault = meddle
    world.client.lose_answer = True
    refusal = await denied(world.call("NodeGroupIncreaseSize", id="a", delta=2))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert "unknown" in refusal.message
    assert world.replicas() == 8


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Forbidden(403, "Forbidden", "may not patch nodesets"), grpc.StatusCode.PERMISSION_DENIED),
        (Unauthorized(401, "Unauthorized", "who are you"), grpc.StatusCode.PERMISSION_DENIED),
        (Invalid(422, "Invalid", "replicas must be 0 or more"), grpc.StatusCode.FAILED_PRECONDITION),
        (TooManyRequests(429, "TooManyRequests", "later"), grpc.StatusCode.UNAVAILABLE),
        (Unavailable(0, "ClientConnectorError", "connection refused"), grpc.StatusCode.UNAVAILABLE),
        (TimeoutError(), grpc.StatusCode.DEADLINE_EXCEEDED),
        (RuntimeError("a bug"), grpc.StatusCode.UNAVAILABLE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
async def test_failures_have_a_status_that_fits(world: World, error: Exception, code: grpc.StatusCode) -> None:
    """Never INTERNAL or UNKNOWN, never a traceback at the client."""
    world.node_set(replicas=1)

    async def fail(verb: str, name: str) -> None:
        raise error

    world.client.fault = fail
    refusal = await denied(world.call("NodeGroupIncreaseSize", id="a", delta=1))
    assert refusal.code is code
    assert "Traceback" not in refusal.message
    assert "a bug" not in refusal.message
    assert world.replicas() == 1


async def test_a_node_set_that_was_made_again_is_another_one(world: World) -> None:
    """The uid tells: the old group's change never lands on its successor."""
    world.deliver = False
    world.node_set(replicas=1)
    world.catch_up()
    world.api.remove("/apis/nodeset.dev/v1alpha1/nodesets", "a")
    world.node_set(replicas=7)
    assert (await denied(world.call("NodeGroupIncreaseSize", id="a", delta=1))).code is grpc.StatusCode.NOT_FOUND
    assert world.replicas() == 7


# --- DeleteNodes -----------------------------------------------------------------------------------------------------


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


# --- DecreaseTargetSize ----------------------------------------------------------------------------------------------


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
