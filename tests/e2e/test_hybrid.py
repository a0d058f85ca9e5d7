"""One cluster, machines of three kinds."""

from testbed.real_world import RealWorld
from testbed.virtual_host import VirtualHost

SETS = ("hybrid-vm", "hybrid-metal", "hybrid-cloud")


def test_sets_of_three_drivers_scale_at_once(world: RealWorld, metal: VirtualHost) -> None:
    world.libvirt_class("hybrid-vm")
    world.metal_class("hybrid-metal", [metal])
    world.node_class("hybrid-cloud", "small-2")
    for name in SETS:
        world.node_set(name, name, replicas=0, nodeLabels={"pool": name})
    world.cluster.kubectl("scale", "--replicas=1", *(f"nodeset/{name}" for name in SETS))
    world.wait(lambda: all(len(world.joined(name)) == 1 for name in SETS), "a machine of each kind has joined")
    nodes = {node["metadata"]["name"]: node["spec"]["providerID"] for node in world.items("nodes")}
    kinds = [nodes[name].partition(":")[0] for set_ in SETS for name in world.joined(set_)]
    assert kinds == ["libvirt", "ssh", "simulated"]
    for name in SETS[:2]:
        world.workload(name, replicas=1, nodeSelector={"pool": name})
    world.load(SETS[2], replicas=1, cpu="1", nodeSelector={"pool": SETS[2]})
    world.wait(lambda: all(len(world.pods(name)) == 1 for name in SETS), "a pod runs on each")
    for name in SETS[:2]:
        world.note(*world.names(name))
    world.delete("deployment", *SETS)
    world.cluster.kubectl("scale", "--replicas=0", *(f"nodeset/{name}" for name in SETS))
    world.wait(lambda: not any(world.remains(name) for name in SETS), "all machines are gone")
    world.delete("nodeset", *SETS)
