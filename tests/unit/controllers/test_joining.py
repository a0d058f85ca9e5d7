"""A machine that boots keeps a valid token, whoever leads; one that has joined, or will not, has none."""

from testbed.memory_world import World

from nodeset_provider.kube.resources import SECRETS


async def launched(seconds: int = 300) -> World:
    world = World()
    world.put_class(launchTimeoutSeconds=seconds)
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(3)
    assert len(world.tokens) == 1
    return world


def expire(world: World) -> None:
    """As the controller-manager's token cleaner."""
    (name,) = world.tokens
    world.api.remove(SECRETS.within("kube-system").path(), name)


def renewals(world: World) -> int:
    return sum(verb in {"create", "patch"} and name.startswith("bootstrap-token-") for verb, name in world.api.log)


async def test_new_leader_sees_to_it_that_a_machine_that_boots_has_its_token() -> None:
    world = await launched()
    before = list(world.tokens)
    expire(world)
    await world.restart()
    assert world.tokens == before, "computed, so it is the same that the machine was given"
    await world.stop()


async def test_token_is_renewed_once_a_leader_and_not_at_every_look() -> None:
    world = await launched()
    made = renewals(world)
    await world.pass_time(200, step=5)
    assert renewals(world) == made
    await world.restart()
    await world.pass_time(50, step=5)
    assert renewals(world) == made + 2, "the create that finds it, and the patch"
    await world.stop()


async def test_machine_that_has_joined_gets_no_token_from_a_new_leader() -> None:
    world = await launched()
    world.join(world.machines[0])
    await world.pass_time(5)
    assert not world.tokens
    await world.restart()
    await world.pass_time(30)
    assert not world.tokens
    await world.stop()


async def test_machine_that_was_given_up_gets_no_token_from_a_new_leader() -> None:
    world = World()
    world.put_class(launchTimeoutSeconds=60)
    world.put_set(replicas=1, autoscaling={"maxReplicas": 3})
    await world.start()
    await world.pass_time(70)
    if world.tokens:
        expire(world)
    await world.restart()
    await world.pass_time(30)
    assert not world.tokens
    await world.stop()


async def test_machine_whose_tokens_id_another_one_took_is_replaced() -> None:
    world = await launched()
    path = SECRETS.within("kube-system").path()
    (name,) = world.tokens
    body = world.api.objects[path, name]
    groups = {
        "auth-extra-groups": "c3lzdGVtOmJvb3RzdHJhcHBlcnM6bm9kZXNldCxzeXN0ZW06Ym9vdHN0cmFwcGVyczpub2Rlc2V0OnNvbWVib2R5"
    }
    world.api.write(path, name, {**body, "data": {**body["data"], **groups}})
    first = world.machines[0].status.client_token
    await world.restart()
    await world.pass_time(60)
    assert world.machines[0].status.client_token != first
    assert name in world.tokens, "it is not this machine's"
    assert len(world.cloud.machines) == 1
    await world.stop()
