"""Pending pods become virtual machines that join, run them, and go with them."""

import pytest
from testbed.real_world import RealWorld


@pytest.mark.usefixtures("autoscaler")
def test_pending_pods_become_machines_and_these_go_with_the_load(world: RealWorld) -> None:
    world.libvirt_class("vm", nodeLabels={"pool": "vm"})
    world.wait(lambda: world.condition("nodeclass", "vm", "Ready").get("status") == "True", "the class is ready")
    world.node_set("vm", "vm", autoscaling={"minReplicas": 0, "maxReplicas": 3})
    world.workload("web", replicas=2, nodeSelector={"pool": "vm"})
    world.wait(lambda: len(world.pods("web")) == 2, "both pods run")
    pods = world.pods("web")
    machines = world.names("vm")
    assert sorted(pods.values()) == machines, "one pod on each of two machines, and no third machine"
    assert {name.split(".")[0] for name in world.real.domains()} >= set(machines)
    for pod in pods:
        world.wait(lambda pod=pod: world.answers(pod), "logs and exec work", seconds=120)
    world.wait(lambda: world.joined("vm") == machines, "both are initialized")
    world.note(*machines)
    world.delete("deployment", "web")
    world.wait(lambda: not world.remains("vm"), "machines, Nodes, domains and volumes are gone")
    assert world.replicas("vm") == 0


def test_machine_joins_by_kubeadm(world: RealWorld) -> None:
    world.real.prepare_kubeadm()
    world.libvirt_class("kubeadm", join={"mode": "Kubeadm"})
    world.node_set("kubeadm", "kubeadm", replicas=1, nodeLabels={"pool": "kubeadm"})
    world.workload("by-kubeadm", replicas=1, nodeSelector={"pool": "kubeadm"})
    world.wait(lambda: len(world.pods("by-kubeadm")) == 1, "its pod runs")
    (pod,) = world.pods("by-kubeadm")
    world.wait(lambda: world.answers(pod), "logs and exec work", seconds=120)
    world.note(*world.names("kubeadm"))
    world.delete("deployment", "by-kubeadm")
    world.delete("nodeset", "kubeadm")
    world.wait(lambda: not world.remains("kubeadm"), "machine, Node, domain and volumes are gone")
