"""Wrong input becomes one line that names the field and the remedy, costs next to nothing, and mends itself."""

import base64
from random import Random
from typing import Any

import pytest
from testbed.memory_world import World

from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import CONDITION_READY, CONDITION_VALID
from nodeset_provider.driverkit.errors import InsufficientCapacity, InvalidSpec, Transient
from nodeset_provider.kube.errors import Forbidden
from nodeset_provider.kube.resources import EVENTS


def ready(world: World) -> tuple[str, str, str]:
    condition = find_condition(world.nodeset().status.conditions, CONDITION_READY)
    assert condition is not None
    return condition.status, condition.reason, condition.message


def valid(world: World) -> tuple[str, str, str]:
    condition = find_condition(world.node_class().status.conditions, CONDITION_VALID)
    assert condition is not None
    return condition.status, condition.reason, condition.message


def writes(world: World) -> int:
    return sum(1 for verb, _ in world.api.log if verb in {"create", "patch", "replace", "delete"})


async def started(*, node_class: bool = True, replicas: int = 1, **spec: object) -> World:
    world = World()
    if node_class:
        world.put_class(**spec)  # type: ignore[arg-type]
    world.put_set(replicas=replicas)
    await world.start()
    await world.pass_time(5)
    return world


async def test_missing_class_is_named_and_its_creation_noticed_at_once() -> None:
    world = await started(node_class=False)
    assert ready(world)[1] == "NodeClassNotFound"
    assert "'small'" in ready(world)[2]
    quiet = writes(world)
    await world.pass_time(600, step=30)
    assert writes(world) == quiet
    world.put_class()
    await world.pass_time(2)
    assert len(world.machines) == 1
    await world.stop()


async def test_class_that_comes_a_moment_after_its_set_is_never_called_missing() -> None:
    world = World()
    world.put_set(replicas=1)
    await world.start()
    world.put_class()
    await world.pass_time(5)
    assert not any("NodeClassNotFound" in str(event) for event in world.all(EVENTS.within("default")))
    assert ready(world)[1] == "Progressing"
    await world.stop()


async def test_config_that_the_driver_refuses_is_told_with_its_field_and_makes_no_machine() -> None:
    world = await started(config={})
    assert valid(world) == ("False", "InvalidConfig", "spec.config.type: name one of small, big")
    assert ready(world)[1] == "NodeClassInvalid"
    assert "spec.config.type" in ready(world)[2]
    assert not world.machines
    quiet = writes(world)
    await world.pass_time(600, step=30)
    assert writes(world) == quiet
    world.put_class()
    await world.pass_time(2)
    assert len(world.machines) == 1
    assert valid(world)[0] == "True"
    await world.stop()


async def test_machine_that_the_api_server_does_not_delete_is_told_and_holds_up_no_other() -> None:
    world = await started(replicas=3)
    assert world.client is not None
    stuck, other, stays = (machine.metadata.name for machine in world.machines)

    async def webhook(verb: str, name: str) -> None:
        if (verb, name) == ("delete", stuck):
            raise Forbidden(403, "Forbidden", "the webhook says no")
        await world.healthy(verb, name)

    world.client.fault = webhook
    world.edit_set(replicas=2, removeFirst=[stuck, other])
    await world.pass_time(10)
    assert ready(world)[:2] == ("False", "MachineNotDeleted")
    assert stuck in ready(world)[2]
    assert "the webhook says no" in ready(world)[2]
    names = {machine.metadata.name for machine in world.machines}
    assert {stuck, stays} < names
    assert other not in names
    assert len(names) == 3, "the replacement did not wait"
    tries = sum(1 for request in world.api.log if request == ("delete", stuck))
    await world.pass_time(120, step=5)
    assert sum(1 for request in world.api.log if request == ("delete", stuck)) - tries < 10
    world.client.fault = world.healthy
    await world.pass_time(90, step=5)
    assert stuck not in {machine.metadata.name for machine in world.machines}
    assert ready(world)[1] == "Progressing"
    await world.stop()


async def test_missing_secret_is_told_and_noticed_when_it_appears() -> None:
    world = World()
    world.take_secret()
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(5)
    assert valid(world)[1] == "SecretNotFound"
    assert not world.machines
    quiet = writes(world)
    await world.pass_time(300, step=10)
    assert writes(world) == quiet
    world.give_secret({"token": "good"})
    await world.pass_time(80, step=5)
    assert valid(world)[0] == "True"
    assert len(world.machines) == 1
    await world.stop()


async def test_wrong_credentials_are_told_and_noticed_when_they_are_right() -> None:
    world = World()
    world.give_secret({"token": "bad"})
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(5)
    assert valid(world)[1] == "Unauthorized"
    world.give_secret({"token": "good"})
    await world.pass_time(80, step=5)
    assert len(world.cloud.machines) == 1
    await world.stop()


async def test_driver_that_is_away_makes_no_valid_class_invalid() -> None:
    world = await started()
    world.cloud.config_error = Transient("no route")
    quiet = writes(world)
    await world.pass_time(800, step=30)
    assert valid(world)[0] == "True"
    assert writes(world) == quiet
    world.edit_set(replicas=2)
    await world.pass_time(3)
    assert len(world.cloud.machines) == 2, "a known resolution is used while the driver cannot be asked"
    await world.stop()


async def test_driver_that_is_away_from_the_start_leaves_the_class_unknown_until_it_answers() -> None:
    world = World()
    world.cloud.config_error = Transient("no route")
    world.put_class()
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(10)
    assert valid(world)[:2] == ("Unknown", "Transient")
    assert ready(world)[1] == "NodeClassPending"
    world.cloud.config_error = None
    await world.pass_time(70, step=5)
    assert len(world.machines) == 1
    await world.stop()


async def test_config_of_a_set_that_the_driver_refuses_is_told_at_the_set() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1, config={"type": None})
    await world.start()
    await world.pass_time(5)
    assert ready(world)[1] == "InvalidConfig"
    assert not world.machines
    world.edit_set(config={"type": "big"})
    await world.pass_time(3)
    assert world.machines[0].spec.template.config == {"type": "big"}
    await world.stop()


def _noise(size: int) -> dict[str, str]:
    """A file that no compression makes smaller."""
    content = base64.b64encode(Random(0).randbytes(size)).decode()
    return {"path": "/etc/big", "content": content, "encoding": "Base64"}


async def test_class_whose_user_data_is_over_the_limit_says_so_without_any_set() -> None:
    world = World()
    world.cloud.user_data_limit = 4000
    world.put_class(provisioning={"files": [_noise(5000)]})
    await world.start()
    await world.pass_time(5)
    assert valid(world)[:2] == ("False", "UserDataTooLarge")
    assert "the driver takes 4000" in valid(world)[2]
    assert "spec.provisioning.files[0]" in valid(world)[2]
    world.put_set(replicas=1)
    await world.pass_time(5)
    assert ready(world)[1] == "NodeClassInvalid"
    assert "spec.provisioning.files[0]" in ready(world)[2]
    assert not world.machines
    world.put_class()
    await world.pass_time(5)
    assert len(world.machines) == 1
    await world.stop()


async def test_set_that_adds_too_much_to_its_class_is_told_before_any_machine_is_made() -> None:
    world = World()
    world.cloud.user_data_limit = 5000
    world.put_class()
    random = Random(0)
    taints = [{"key": f"taint-{random.randbytes(16).hex()}", "effect": "NoSchedule"} for _ in range(300)]
    world.put_set(replicas=1, taints=taints)
    await world.start()
    await world.pass_time(5)
    assert ready(world)[1] == "UserDataTooLarge"
    assert "fewer labels, taints" in ready(world)[2]
    assert not world.machines
    await world.stop()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"provisioning": {"files": [{"path": "etc/x"}]}}, "spec.provisioning.files[0].path"),
        ({"join": {"endpoint": "http://10.0.0.1"}}, "spec.join.endpoint"),
    ],
)
async def test_class_that_no_machine_could_join_with_names_the_field_without_any_set(
    changes: dict[str, Any], field: str
) -> None:
    world = World()
    world.put_class(**changes)
    await world.start()
    await world.pass_time(5)
    assert valid(world)[:2] == ("False", "InvalidJoin")
    assert valid(world)[2].startswith(f"{field}: ")
    await world.stop()


async def test_format_that_the_drivers_machines_do_not_read_is_told_at_the_class() -> None:
    world = World()
    world.cloud.user_data_formats = ("CloudInit",)
    world.put_class(join={"format": "Ignition"})
    await world.start()
    await world.pass_time(5)
    assert valid(world)[:2] == ("False", "InvalidJoin")
    assert valid(world)[2].startswith(
        "spec.join.format: machines of driver faulty do not read Ignition; write CloudInit"
    )
    await world.stop()


async def test_failed_machine_is_told_in_one_line_of_its_set_and_in_events() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=2)
    world.cloud.fail("create", InsufficientCapacity("no small left in zone-a"))
    await world.start()
    await world.pass_time(5)
    status, reason, message = ready(world)
    assert (status, reason) == ("False", "InsufficientCapacity")
    assert message.startswith("0 of 2 ready; web-")
    assert message.endswith("InsufficientCapacity: no small left in zone-a")
    about = {event.involved_object.kind for event in world.all(EVENTS.within("default"))}
    assert {"Machine", "NodeSet"} <= about
    await world.stop()


async def test_mended_class_replaces_machines_that_could_never_start() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=1)
    world.cloud.fail("create", InvalidSpec("no such image", field="type"))
    await world.start()
    await world.pass_time(5)
    failed = world.machines[0].metadata.name
    world.put_class(config={"type": "big"})
    await world.pass_time(5)
    assert [m.metadata.name for m in world.machines] != [failed]
    assert len(world.cloud.machines) == 1
    await world.stop()


async def test_class_of_another_driver_and_its_sets_are_left_alone() -> None:
    world = World()
    world.put_class(driver="aws")
    world.put_set(replicas=2)
    await world.start()
    await world.pass_time(30)
    assert not world.node_class().status.conditions
    assert not world.nodeset().status.conditions
    assert not world.machines
    await world.stop()


async def test_machines_that_start_cost_their_set_one_write_a_second() -> None:
    world = await started(replicas=30)
    before = sum(1 for verb, name in world.api.log if (verb, name) == ("patch", "web"))
    for machine in world.machines:
        world.join(machine)
    await world.pass_time(5)
    assert ready(world) == ("True", "AllReady", "30 of 30 ready")
    assert sum(1 for verb, name in world.api.log if (verb, name) == ("patch", "web")) - before <= 3
    await world.stop()


@pytest.mark.parametrize(("seconds", "at_most"), [(0.5, 7), (30, 8)], ids=["Ready at once", "Ready later"])
async def test_machine_costs_at_most_eight_writes(seconds: float, at_most: int) -> None:
    world = await started(replicas=20)
    before = writes(world)
    for machine in world.machines:
        world.join(machine, status={"conditions": []})
    await world.pass_time(seconds)
    for machine in world.machines:
        world.become_ready(machine.metadata.name)
    await world.pass_time(5)
    assert ready(world)[0] == "True"
    of_machines = (
        writes(world) - before - sum(1 for verb, name in world.api.log[-200:] if (verb, name) == ("patch", "web"))
    )
    made_and_launched = 3
    approved = 1
    assert of_machines / 20 + made_and_launched + approved <= at_most
    await world.stop()


async def test_scale_down_goes_on_without_a_class() -> None:
    world = await started(replicas=3)
    world.api.remove("/apis/nodeset.dev/v1alpha1/nodeclasses", "small")
    world.edit_set(replicas=1)
    await world.pass_time(10)
    assert len(world.machines) == len(world.cloud.machines) == 1
    await world.stop()


async def test_status_template_loses_labels_that_were_taken_away() -> None:
    world = World()
    world.put_class()
    world.put_set(replicas=0, nodeLabels={"a": "1", "b": "2"})
    await world.start()
    await world.pass_time(3)
    world.edit_set(nodeLabels={"b": "2"})
    await world.pass_time(3)
    template = world.nodeset().status.template
    assert template is not None
    assert "a" not in template.labels
    assert template.labels["b"] == "2"
    await world.stop()
