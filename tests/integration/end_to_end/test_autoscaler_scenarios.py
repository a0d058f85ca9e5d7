"""The scenarios of the recorded traces, played by an autoscaler on a real control plane.

By the stand-in always; by the real Cluster Autoscaler where ``CLUSTER_AUTOSCALER`` names one.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from nodeset_driver_simulated.knobs import Fault
from testbed.autoscaler import ClusterAutoscaler, StandInAutoscaler, real_autoscaler
from testbed.world import World

REAL = real_autoscaler()
SHORT_PATIENCE = ["--max-node-provision-time=8s"]


@pytest.fixture(
    params=[
        pytest.param(None, id="stand-in"),
        pytest.param(
            REAL, id="real", marks=pytest.mark.skipif(REAL is None, reason="CLUSTER_AUTOSCALER names no autoscaler")
        ),
    ]
)
def autoscaled(world: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with an autoscaler in it."""
    binary: Path | None = request.param
    parts = world.cluster.control_plane, world.cluster.provider
    with (
        ClusterAutoscaler(*parts, binary, flags=SHORT_PATIENCE)
        if binary
        else StandInAutoscaler(*parts, flags=SHORT_PATIENCE)
    ):
        yield world


def _group(world: World, name: str, instance_type: str, **spec: object) -> None:
    world.node_class(name, instance_type, nodeLabels={"group": name})
    world.node_set(name, name, autoscaling={"minReplicas": 0, "maxReplicas": 5}, **spec)


def _gone(world: World) -> bool:
    return not world.alive() and not world.items("machines") and not world.items("nodes")


def test_up_and_down_makes_what_is_needed_and_takes_it_all_away(autoscaled: World) -> None:
    world = autoscaled
    _group(world, "a", "small-2")
    _group(world, "b", "big-8")
    world.load("for-a", replicas=2, cpu="1500m", nodeSelector={"group": "a"})
    world.load("for-b", replicas=1, cpu="6", nodeSelector={"group": "b"})
    world.wait(lambda: world.running("for-a") == 2 and world.running("for-b") == 1, "all pods run")
    assert (world.replicas("a"), world.replicas("b")) == (2, 1)
    world.wait(world.settled, "cloud and cluster agree")
    assert world.cloud(lambda admin: admin.ledger()).made == 3, "one machine for each replica, none too many"
    world.cluster.kubectl("delete", "deployment", "for-a", "for-b")
    world.wait(lambda: _gone(world), "everything is gone")
    assert (world.replicas("a"), world.replicas("b")) == (0, 0)
    assert world.never_twice()


def test_create_errors_fall_over_to_the_other_group_and_leak_nothing(autoscaled: World) -> None:
    world = autoscaled
    _group(world, "scarce", "scarce-4")
    _group(world, "none-left", "big-8")
    for zone in ("sim-1a", "sim-1b", "sim-1c"):
        world.cloud(lambda admin, zone=zone: admin.set_capacity("big-8", zone, 0))
    world.load("load", replicas=1, cpu="3")
    world.wait(
        lambda: (
            {"scarce", "none-left"}
            <= {
                event["involvedObject"]["name"].rpartition("-")[0] or event["involvedObject"]["name"]
                for event in world.items("events")
                if event["reason"] == "InsufficientCapacity"
            }
        ),
        "both groups were tried, and both said why not",
    )
    world.wait(lambda: world.replicas("scarce") + world.replicas("none-left") == 0, "both are back at zero")
    assert world.cloud(lambda admin: admin.ledger()).made == 0
    world.cloud(lambda admin: admin.set_capacity("big-8", "sim-1b", None))
    world.wait(lambda: world.running("load") == 1, "it is tried again once the cloud has some", seconds=150)
    world.wait(world.settled, "cloud and cluster agree")
    assert len(world.alive()) == 1
    assert world.never_twice()


def test_a_machine_that_never_registers_is_taken_away_and_counted_once(autoscaled: World) -> None:
    world = autoscaled
    _group(world, "a", "small-2")
    world.cloud(lambda admin: admin.fault(Fault(kind="bootNever", count=1)))
    world.load("load", replicas=1, cpu="1")
    world.wait(lambda: len(world.alive()) == 1, "a machine is made")
    stuck = world.alive()
    world.wait(lambda: stuck[0] not in world.alive(), "the stuck one is taken away")
    world.wait(lambda: world.running("load") == 1, "another one takes its place", seconds=150)
    world.wait(world.settled, "cloud and cluster agree")
    assert world.replicas("a") == len(world.alive()) == 1, "reverted and deleted, and yet lowered only once"
    world.cluster.kubectl("delete", "deployment", "load")
    world.wait(lambda: _gone(world), "everything is gone")
    assert world.replicas("a") == 0
    assert world.never_twice()
