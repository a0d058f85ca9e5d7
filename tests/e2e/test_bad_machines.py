"""Virtual machines that never join: the condition says what their console last said, and nothing is left of them."""

import pytest
from testbed.real_world import RealWorld

_LAUNCH_SECONDS = 240
"""Long enough for a boot, so that the console tells of what went wrong in it."""


def _fails(world: RealWorld, name: str, said: str, **spec: object) -> None:
    """A machine of that class is given up with ``said`` in the condition, and removed; mended, the next one joins."""
    world.libvirt_class(name, launchTimeoutSeconds=_LAUNCH_SECONDS, **spec)
    world.node_set(name, name, replicas=1)
    world.wait(lambda: said in _words(world, name), f"the failure tells {said!r}")
    world.patch("nodeset", name, {"spec": {"replicas": 0}})
    world.wait(lambda: not world.remains(name), "nothing is left")


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


def test_kubelet_that_does_not_start_is_explained_by_the_console(world: RealWorld) -> None:
    _fails(world, "no-kubelet", "kubelet", provisioning={"commands": ["mv /usr/bin/kubelet /usr/bin/kubelet.away"]})


def test_kernel_that_finds_no_disk_is_explained_by_the_console(world: RealWorld) -> None:
    line = world.real.image.command_line.replace("LABEL=node", "LABEL=elsewhere")
    _fails(world, "no-root", "LABEL=elsewhere", config={"kernelCommandLine": line})


@pytest.mark.parametrize("what", ["image", "network"])
def test_what_does_not_exist_on_the_host_is_said_at_the_class(world: RealWorld, what: str) -> None:
    world.libvirt_class(f"no-{what}", config={what: "not-there"})
    world.wait(
        lambda: "not-there" in world.condition("nodeclass", f"no-{what}", "Ready").get("message", ""),
        "the class names what is not there",
        seconds=120,
    )
