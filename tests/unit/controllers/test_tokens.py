"""A token lives as long as its machine may join, and is as good as its join mode needs."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

import pytest
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


async def launched(join: Mapping[str, object] | None = None) -> World:
    """A world with one launched machine that has not joined."""
    world = World()
    world.put_class(launchTimeoutSeconds=600, join=join or {})
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(2)
    assert world.machines[0].status.provider_id
    return world


@pytest.mark.parametrize(
    ("join", "usages"),
    [
        pytest.param({"mode": "Bootstrap"}, {"authentication"}, id="Bootstrap"),
        pytest.param({"mode": "Kubeadm"}, {"authentication", "signing"}, id="Kubeadm, discovery by token"),
        pytest.param(
            {"mode": "Kubeadm", "kubeadm": {"discovery": "File"}}, {"authentication"}, id="Kubeadm, discovery by file"
        ),
        pytest.param({"mode": "K3s"}, {"authentication"}, id="K3s"),
    ],
)
async def test_token_is_good_for_what_its_join_mode_needs(join: Mapping[str, object], usages: set[str]) -> None:
    world = await launched(join=join)
    (secret,) = world.all(SECRETS.within("kube-system"))
    prefix = "usage-bootstrap-"
    assert {key.removeprefix(prefix) for key in secret.data if key.startswith(prefix)} == usages
    await world.stop()


async def test_machine_with_another_identity_gets_no_token_at_all() -> None:
    eks: dict[str, object] = {"mode": "EKS", "eks": {"clusterName": "one", "cidr": "10.100.0.0/16"}}
    world = await launched(join=eks)
    assert not world.tokens
    await world.restart()
    await world.pass_time(120, step=10)
    assert not world.tokens
    world.delete_machine(world.machines[0].metadata.name)
    await world.pass_time(60, step=10)
    asked = [name for verb, name in world.api.log if verb in {"create", "patch", "delete"}]
    assert not [name for name in asked if name.startswith("bootstrap-token-")]
    await world.stop()


async def test_token_goes_when_its_machine_has_joined() -> None:
    world = await launched()
    world.join(world.machines[0])
    await world.pass_time(10)
    assert world.machines[0].status.node_ref is not None
    assert not world.tokens
    await world.stop()


@pytest.mark.parametrize("autoscaling", [None, {"maxReplicas": 3}], ids=["people", "autoscaler"])
async def test_token_goes_when_its_machine_is_given_up(autoscaling: dict[str, int] | None) -> None:
    world = await launched()
    world.edit_set(autoscaling=autoscaling)
    (token,) = world.tokens
    await world.pass_time(620, step=10)
    assert token not in world.tokens
    await world.stop()


async def test_token_goes_with_a_machine_that_is_deleted_while_it_boots() -> None:
    world = await launched()
    world.edit_set(replicas=0)
    await world.pass_time(60, step=5)
    assert not world.machines
    assert not world.tokens
    await world.stop()


async def test_token_that_somebody_took_away_is_made_anew_by_the_next_leader_for_a_machine_that_still_boots() -> None:
    """As the cluster's token cleaner does after an outage that was longer than the launch time-out."""
    world = await launched()
    (token,) = world.tokens
    await world.stop()
    world.api.remove(SECRETS.within("kube-system").path(), token)
    await world.start()
    await world.pass_time(2)
    assert world.tokens == [token]
    assert expiration(world) > world.clock.now().timestamp() + 600
    await world.stop()
