"""A token outlives the time that its machine has to join."""

import asyncio
from datetime import datetime

from testbed.memory_world import World

from nodeset_provider.api.meta import find_condition
from nodeset_provider.controllers.account import CallLimits
from nodeset_provider.controllers.times import from_rfc3339
from nodeset_provider.kube.resources import SECRETS


def expiration(world: World) -> float:
    (secret,) = world.all(SECRETS.within("kube-system"))
    return datetime.fromisoformat(secret.data["expiration"].decode()).timestamp()


async def test_token_outlives_the_launch_deadline_of_a_machine_whose_create_took_its_whole_time() -> None:
    world = World()
    world.put_class(launchTimeoutSeconds=600)
    world.put_set(replicas=1)
    slow = CallLimits().create_seconds - 1
    done = asyncio.Event()

    async def linger(where: str) -> None:
        if where == "create after":
            await done.wait()

    world.cloud.point = linger
    await world.start()
    await world.pass_time(slow, step=10)
    done.set()
    await world.pass_time(2)
    launched = find_condition(world.machines[0].status.conditions, "Launched")
    assert launched is not None
    assert launched.status == "True"
    deadline = from_rfc3339(launched.last_transition_time, default=0.0) + 600
    assert expiration(world) > deadline
    await world.stop()
