"""Virtual machines that never join: a condition says what their console last said, and nothing is left of them."""

from typing import Any

import pytest
from testbed.real_world import RealWorld

_HOPELESS_SECONDS = 90
"""For a machine whose fate is sealed before it has an operating system: its kernel gives up after half a minute."""

_NO_KUBELET = {"commands": ["mv /usr/bin/kubelet /usr/bin/kubelet.away"]}


@pytest.fixture(scope="module")
def bad(world: RealWorld) -> RealWorld:
    """A machine of each kind, all at once: most of their time is waiting.

    They get as long as three boots of before took, so that each console comes to what went wrong.
    """
    patience = max(180, 3 * round(world.slowest_boot()))
    classes: dict[str, dict[str, Any]] = {
        "no-kubelet": {"provisioning": _NO_KUBELET},
        "no-root": {"config": _elsewhere(world)},
        "no-reader": {"join": {"format": "Ignition"}},
    }
    for name, spec in classes.items():
        world.libvirt_class(name, launchTimeoutSeconds=patience, **spec)
        world.node_set(name, name, replicas=1)
    return world


def _elsewhere(world: RealWorld) -> dict[str, str]:
    """Config of a machine whose kernel looks for a root file system that nobody made."""
    return {"kernelCommandLine": world.real.image.command_line.replace("LABEL=node", "LABEL=elsewhere")}


def _words(world: RealWorld, name: str) -> str:
    """What the Machines of a set say of their failures."""
    return " ".join(
        text
        for machine in world.machines(name)
        for status in [machine.get("status", {})]
        for text in (
            status.get("lastFailure", {}).get("message", ""),
            *(condition.get("message", "") for condition in status.get("conditions", [])),
        )
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("no-root", "LABEL=elsewhere does not exist", id="kernel that finds no root file system"),
        pytest.param("no-reader", "Used fallback datasource", id="guest that does not read the user-data"),
        pytest.param("no-kubelet", "The kubelet ended: exit-code exited 203", id="kubelet that does not start"),
    ],
)
def test_machine_that_never_joins_is_explained_by_its_console_and_removed(bad: RealWorld, name: str, said: str) -> None:
    bad.wait(lambda: said in _words(bad, name), f"the failure tells {said!r}")
    failure = bad.machines(name)[0]["status"]["lastFailure"]
    bad.patch("nodeset", name, {"spec": {"replicas": 0}})
    bad.wait(lambda: not bad.remains(name), "nothing is left")
    assert failure["code"] == "RegistrationTimeout"


def test_next_machine_joins_once_the_class_is_mended(bad: RealWorld) -> None:
    name = "no-kubelet"
    bad.libvirt_class(name)
    bad.wait(lambda: bad.condition("nodeclass", name, "Ready").get("status") == "True", "the class is ready")
    bad.patch("nodeset", name, {"spec": {"replicas": 1}})
    bad.wait(lambda: len(bad.joined(name)) == 1, "its machine joins")
    bad.delete("nodeset", "no-kubelet", "no-root", "no-reader")
    bad.wait(lambda: not bad.remains(name), "nothing is left")


def test_autoscaler_takes_a_machine_away_that_never_joins(world: RealWorld) -> None:
    name = "never"
    world.libvirt_class(name, config=_elsewhere(world), launchTimeoutSeconds=_HOPELESS_SECONDS)
    world.node_set(name, name, autoscaling={"minReplicas": 0, "maxReplicas": 3}, nodeLabels={"pool": name})
    world.workload(name, replicas=1, nodeSelector={"pool": name})
    patient = ["--max-node-provision-time=20m", "--initial-node-group-backoff-duration=20m"]
    with world.autoscaler(flags=patient):
        world.wait(lambda: world.replicas(name) == 1, "the autoscaler asks for a machine")
        world.wait(
            lambda: any("LABEL=elsewhere" in event["message"] for event in world.warnings("NodeSet", name)),
            "an event says why it never joins",
        )
        world.wait(lambda: world.replicas(name) == 0, "the autoscaler takes it back")
        world.wait(lambda: not world.remains(name), "nothing is left")
        assert world.replicas(name) == 0, "the autoscaler does not try the same again at once"
    world.delete("deployment", name)
    world.delete("nodeset", name)


@pytest.mark.parametrize("what", ["image", "network"])
def test_what_does_not_exist_on_the_host_is_said_at_the_class(world: RealWorld, what: str) -> None:
    world.libvirt_class(f"no-{what}", config={what: "not-there"})
    world.wait(
        lambda: "not-there" in world.condition("nodeclass", f"no-{what}", "Valid").get("message", ""),
        "the class names what is not there",
        seconds=120,
    )
