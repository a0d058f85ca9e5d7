"""Does the cloud hold exactly the machines that the cluster knows? Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nodeset_driver_simulated.wire import Instance, Ledger

from nodeset_provider.api.machine import Machine


def disagreements(instances: Collection[Instance], ledger: Ledger, machines: Mapping[str, Machine]) -> list[str]:
    """One line for each thing that is wrong; empty when cloud and cluster agree.

    Args:
        instances: everything that the cloud bills for this cluster.
        ledger: everything that it ever made.
        machines: Machine objects by name.
    """
    found = []
    seen: set[str] = set()
    for instance in instances:
        machine = machines.get(instance.machine)
        if machine is None:
            found.append(f"leaked: {instance.id} was made for Machine {instance.machine}, which is gone")
        elif not machine.status.provider_id.endswith(instance.id):
            found.append(f"unknown: Machine {instance.machine} is {machine.status.provider_id}, not {instance.id}")
        if instance.machine in seen:
            found.append(f"twice: Machine {instance.machine} has more than one machine")
        seen.add(instance.machine)
    for name, machine in machines.items():
        if machine.status.provider_id and name not in seen:
            found.append(f"lost: Machine {name} says {machine.status.provider_id}, and the cloud has none")
    for key, entry in ledger.machines.items():
        if entry.most_alive > 1:
            found.append(f"twice: {key} had {entry.most_alive} machines at one time")
    if not instances and ledger.disks:
        found.append(f"leaked: {ledger.disks} disks without a machine")
    return found
