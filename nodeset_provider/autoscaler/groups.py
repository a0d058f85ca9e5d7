"""What the autoscaler sees of a NodeSet and its Machines: the group, its target, its instances. Pure.

The invariant of every answer (contract §3): target = instances that are not being deleted + pending slots. The target
is ``spec.replicas``; a replica for which there is no Machine yet is listed as a slot ``nodeset://pending/<nodeset>/<n>``
at once, and a Machine without provider id as ``nodeset://pending/<machine>``.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition, is_true
from nodeset_provider.api.names import (
    CONDITION_LAUNCHED,
    CONDITION_READY,
    CONDITION_REGISTERED,
    PENDING_PROVIDER_ID_PREFIX,
    REASON_REGISTRATION_TIMEOUT,
)
from nodeset_provider.api.nodeset import Autoscaling, NodeSet
from nodeset_provider.autoscaler.statuses import invalid, not_found
from nodeset_provider.protocol import externalgrpc_pb2 as pb

OUT_OF_RESOURCES: Final = 1
"""cloudprovider.OutOfResourcesErrorClass: the autoscaler tries another group."""
OTHER_ERROR: Final = 99
"""cloudprovider.OtherErrorClass."""
MESSAGE_LIMIT: Final = 256
"""Characters of a failure's message: the autoscaler repeats it in a log line for each instance and each loop. People
read the whole of it at the Machine."""
_SLOT_DIGITS: Final = 10
"""Of a replica's number (int32). Python refuses to read numbers that are much longer."""
_OUT_OF_RESOURCES_CODES: Final = frozenset({"InsufficientCapacity", "QuotaExceeded"})
_NO_MACHINES: Final = frozenset(
    {"NodeClassNotFound", "NodeClassDeleting", "NodeClassInvalid", "InvalidConfig", "InvalidJoin", "UserDataTooLarge"}
)
"""Reasons of a NodeSet's Ready=False for which none is made until a person mends the class or the set."""


@dataclass(frozen=True, slots=True)
class SlotId:
    """The n-th replica of a NodeSet that has no Machine yet."""

    node_set: str
    number: int

    def __str__(self) -> str:
        return f"{PENDING_PROVIDER_ID_PREFIX}{self.node_set}/{self.number}"


def is_group(node_set: NodeSet | None) -> bool:
    """Whether the autoscaler may see it: it has ``spec.autoscaling`` and nobody is deleting it."""
    return node_set is not None and node_set.spec.autoscaling is not None and not node_set.metadata.deleting


def require_group(node_set: NodeSet | None, group: str) -> tuple[NodeSet, Autoscaling]:
    """The NodeSet as a group; raises the refusal that says why it is none."""
    if not group:
        raise invalid("id is empty: it must be the name of a NodeSet")
    if node_set is None or node_set.metadata.deleting:
        raise not_found(f"there is no node group {group!r}: no NodeSet of that name, or it is being deleted")
    if node_set.spec.autoscaling is None:
        raise not_found(f"NodeSet {group!r} is no node group: it has no spec.autoscaling")
    return node_set, node_set.spec.autoscaling


def node_group(node_set: NodeSet) -> pb.NodeGroup:
    """Id, bounds and the text for the autoscaler's log: all four, wherever the protocol asks for a group."""
    bounds = node_set.spec.autoscaling or Autoscaling(max_replicas=0)
    return pb.NodeGroup(
        id=node_set.metadata.name,
        minSize=bounds.min_replicas,
        maxSize=bounds.max_replicas,
        debug=f"NodeSet {node_set.metadata.name} of NodeClass {node_set.spec.node_class_name}"
        f" ({bounds.min_replicas} to {bounds.max_replicas})",
    )


def is_leaving(machine: Machine, node_set: NodeSet) -> bool:
    """Whether it is on its way out: being deleted, or promised to be (``removeFirst``)."""
    return machine.metadata.deleting or machine.metadata.name in node_set.spec.remove_first


def staying(node_set: NodeSet, machines: Iterable[Machine]) -> int:
    """How many of these Machines are not on their way out."""
    leaving = frozenset(node_set.spec.remove_first)
    return sum(not machine.metadata.deleting and machine.metadata.name not in leaving for machine in machines)


def pending(node_set: NodeSet, machines: Iterable[Machine]) -> int:
    """How many replicas have no Machine yet."""
    return max(0, node_set.spec.replicas - staying(node_set, machines))


def slot_numbers(count: int, retired: Collection[int]) -> list[int]:
    """The numbers under which ``count`` slots are listed: the lowest ones, 1 first, that were never given back."""
    free = (number for number in itertools.count(1) if number not in retired)
    return list(itertools.islice(free, count))


def instance_id(machine: Machine) -> str:
    """What the autoscaler compares with ``node.spec.providerID``, exactly."""
    return machine.status.provider_id or pending_id(machine.metadata.name)


def pending_id(machine: str) -> str:
    """The id of a Machine for as long as the cloud has not named it."""
    return f"{PENDING_PROVIDER_ID_PREFIX}{machine}"


def parse_pending(instance: str) -> str | SlotId | None:
    """The Machine's name, or the slot, that a ``nodeset://pending/…`` id stands for; None for any other id."""
    rest = instance.removeprefix(PENDING_PROVIDER_ID_PREFIX)
    if rest == instance or not rest:
        return None
    name, slash, number = rest.partition("/")
    if not slash:
        return name
    plausible = len(number) <= _SLOT_DIGITS and number.isascii() and number.isdecimal()
    return SlotId(name, int(number)) if name and plausible else None


def instances(node_set: NodeSet, machines: Iterable[Machine], slots: Iterable[int]) -> list[pb.Instance]:
    """Every Machine, those on their way out too, and a slot for every replica that has none yet."""
    leaving = frozenset(node_set.spec.remove_first)
    listed = [_instance(machine, leaving=machine.metadata.name in leaving) for machine in machines]
    creating = pb.InstanceStatus(instanceState=pb.InstanceStatus.instanceCreating)
    _tell_obstacle(node_set, creating)
    listed += [pb.Instance(id=str(SlotId(node_set.metadata.name, slot)), status=creating) for slot in slots]
    return listed


def _instance(machine: Machine, *, leaving: bool) -> pb.Instance:
    status = pb.InstanceStatus(instanceState=pb.InstanceStatus.instanceCreating)
    if leaving or machine.metadata.deleting:
        status.instanceState = pb.InstanceStatus.instanceDeleting
    elif machine.status.node_ref is not None or is_true(machine.status.conditions, CONDITION_REGISTERED):
        # It registered once; if its Node is missing now the autoscaler finds that out itself. An error on a Running
        # instance would be ignored and leak the machine (contract §3).
        status.instanceState = pb.InstanceStatus.instanceRunning
    else:
        _tell_failure(machine, status)
    return pb.Instance(id=instance_id(machine), status=status)


def _tell_obstacle(node_set: NodeSet, status: pb.InstanceStatus) -> None:
    """Why no Machine comes for a slot, where it is known that none will: else the autoscaler waits for its time-out."""
    ready = find_condition(node_set.status.conditions, CONDITION_READY)
    if ready is None or ready.status != "False" or ready.reason not in _NO_MACHINES:
        return
    if node_set.status.observed_generation < node_set.metadata.generation:
        return  # the edit may have mended it
    _tell_error(status, ready.reason, ready.message)


def _tell_error(status: pb.InstanceStatus, code: str, message: str) -> None:
    status.errorInfo.errorCode = code
    status.errorInfo.errorMessage = _shortened(message)
    status.errorInfo.instanceErrorClass = OUT_OF_RESOURCES if code in _OUT_OF_RESOURCES_CODES else OTHER_ERROR


def _shortened(message: str) -> str:
    """Cut in its middle: the cause stands at one end or the other."""
    if len(message) <= MESSAGE_LIMIT:
        return message
    tail = MESSAGE_LIMIT // 3
    return f"{message[: MESSAGE_LIMIT - tail - 3]} … {message[-tail:]}"


def _tell_failure(machine: Machine, status: pb.InstanceStatus) -> None:
    """Creating + errorInfo: the autoscaler gives the scale-up up, backs the group off and deletes the instance.

    Either the machine could not be made, or it was made and did not join in its time.
    """
    conditions, failure = machine.status.conditions, machine.status.last_failure
    launched, registered = (find_condition(conditions, kind) for kind in (CONDITION_LAUNCHED, CONDITION_REGISTERED))
    not_made = launched is not None and launched.status == "False"
    too_late = registered is not None and registered.reason == REASON_REGISTRATION_TIMEOUT
    if failure is None or not (not_made or too_late):
        return
    # An empty code would mean "no error" to the autoscaler.
    _tell_error(status, failure.code or "LaunchFailed", failure.message)
