"""IncreaseSize. Each docstring names the contract's section and rule."""

import asyncio

import grpc
import pytest
from autoscaler_world import World, denied

from nodeset_provider.kube.errors import Forbidden, Invalid, TooManyRequests, Unauthorized, Unavailable


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
