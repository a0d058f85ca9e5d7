"""What real autoscalers were recorded to ask, asked of our server on a real control plane: no rule is broken."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from testbed.world import World

PROVIDER = Path(sys.executable).with_name("nodeset-provider")


def replay(world: World, *arguments: str) -> dict[str, Any]:
    """The report; ends the test where a rule was violated."""
    address = world.cluster.provider.address
    command = [PROVIDER, "rehearse", "replay", f"--address={address}", "--speed=0", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def group(world: World, name: str, instance_type: str) -> None:
    world.node_class(name, instance_type)
    world.node_set(name, name, autoscaling={"maxReplicas": 5})
    world.wait(lambda: "template" in world.get("nodeset", name).get("status", {}), f"a template of {name}")


def test_recorded_and_probing_calls_break_no_rule_and_leave_nothing(shared: World) -> None:
    group(shared, "a", "small-2")
    group(shared, "b", "big-8")
    replay(shared)
    shared.wait(lambda: not shared.alive() and not shared.items("machines"), "everything is gone")
    assert (shared.replicas("a"), shared.replicas("b")) == (0, 0)
    assert shared.never_twice()


def test_create_errors_are_told_as_the_contract_wants(shared: World) -> None:
    group(shared, "scarce", "scarce-4")
    replay(shared, "--map=a=scarce", "ca-1.36.1-error", "ca-1.30.7-error")
    shared.wait(lambda: not shared.items("machines"), "everything is gone")
    assert shared.replicas("scarce") == 0
