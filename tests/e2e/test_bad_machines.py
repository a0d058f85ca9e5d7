"""Virtual machines that never join: a condition says what their console last said, and nothing is left of them."""

from typing import Any

import pytest
from testbed.real_world import RealWorld

_LAUNCH_SECONDS = 240
"""Long enough for a boot on a busy computer, so that the console tells of what went wrong in it."""

_NO_KUBELET = {"commands": ["mv /usr/bin/kubelet /usr/bin/kubelet.away"]}


@pytest.fixture(scope="module")
def bad(world: RealWorld) -> RealWorld:
    """A machine of each kind, all at once: most of their time is waiting."""
    elsewhere = world.real.image.command_line.replace("LABEL=node", "LABEL=elsewhere")
    classes: dict[str, dict[str, Any]] = {
        "no-kubelet": {"provisioning": _NO_KUBELET},
        "no-root": {"config": {"kernelCommandLine": elsewhere}},
        "no-reader": {"join": {"format": "Ignition"}},
    }
    for name, spec in classes.items():
        world.libvirt_class(name, launchTimeoutSeconds=_LAUNCH_SECONDS, **spec)
        world.node_set(name, name, replicas=1)
    return world


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


@pytest.mark.parametrize("what", ["image", "network"])
def test_what_does_not_exist_on_the_host_is_said_at_the_class(world: RealWorld, what: str) -> None:
    world.libvirt_class(f"no-{what}", config={what: "not-there"})
    world.wait(
        lambda: "not-there" in world.condition("nodeclass", f"no-{what}", "Valid").get("message", ""),
        "the class names what is not there",
        seconds=120,
    )
