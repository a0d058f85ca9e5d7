"""A host that was there before is claimed over SSH, joins, runs pods, and is given back as it was."""

from testbed.real_world import RealWorld
from testbed.virtual_host import VirtualHost

_FILES = "ls -d /etc/kubernetes/* /var/lib/kubelet/* /etc/systemd/system/kubelet* 2>/dev/null | sort"
_BUSY = "systemctl is-active kubelet; pgrep -l kubelet; ctr -n k8s.io tasks list -q; hostname"


def test_host_joins_over_ssh_is_reset_and_can_be_claimed_again(world: RealWorld, metal: VirtualHost) -> None:
    before, idle = metal.shell(_FILES), metal.shell(f"{_BUSY} || true")
    world.metal_class("metal", [metal])
    world.node_set("metal", "metal", replicas=1, nodeLabels={"pool": "metal"})
    world.workload("on-metal", replicas=1, nodeSelector={"pool": "metal"})
    world.wait(lambda: len(world.pods("on-metal")) == 1, "its pod runs")
    (pod,) = world.pods("on-metal")
    world.wait(lambda: world.answers(pod), "logs and exec work", seconds=120)
    (first,) = world.names("metal")
    world.note(first)
    assert metal.shell("systemctl is-active kubelet").strip() == "active"

    world.delete("machine", first)
    world.wait(
        lambda: bool(world.names("metal")) and first not in world.names("metal"), "another Machine takes its place"
    )
    world.wait(lambda: len(world.joined("metal")) == 1, "the same host has joined again")
    (second,) = world.names("metal")
    world.wait(lambda: list(world.pods("on-metal").values()) == [second], "a pod runs again")
    world.note(second)

    world.delete("deployment", "on-metal")
    world.delete("nodeset", "metal")
    world.wait(lambda: not world.remains("metal"), "Machine and Node are gone")
    assert metal.shell(_FILES) == before
    assert metal.shell(f"{_BUSY} || true") == idle
