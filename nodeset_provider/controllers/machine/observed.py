"""What a phase decides on: one consistent look at a Machine and all that belongs to it. Values, no effects."""

from __future__ import annotations

from dataclasses import dataclass

from nodeset_provider.api.machine import Machine, client_token
from nodeset_provider.api.meta import Condition, find_condition
from nodeset_provider.api.names import (
    CONDITION_LAUNCHED,
    CONDITION_REGISTERED,
    REASON_REGISTRATION_TIMEOUT,
    TAINT_UNINITIALIZED,
    TAINT_UNREGISTERED,
)
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.machine.memory import HICCUPS, REASON_TOKEN_NOT_WRITTEN, Memory
from nodeset_provider.controllers.placeholder.recognise import is_placeholder_of, placeholder_uid
from nodeset_provider.controllers.times import from_rfc3339
from nodeset_provider.driverkit.contract import InstanceKey
from nodeset_provider.driverkit.errors import InsufficientCapacity, InvalidSpec, QuotaExceeded, Unauthorized

REASON_INSTANCE_FAILED = "InstanceFailed"
REASON_INSTANCE_GONE = "InstanceGone"
REASON_TOKEN_TAKEN = "BootstrapTokenTaken"  # noqa: S105
REASON_INVALID_JOIN = "InvalidJoin"
REASON_NOT_SETTLED = "NotSettled"
"""Of Launched=False while the cloud cannot be asked what became of the attempt; ``lastFailure`` says why."""

NOTHING_MADE = frozenset(
    {
        *(error.__name__ for error in (InsufficientCapacity, InvalidSpec, QuotaExceeded, Unauthorized)),
        REASON_TOKEN_TAKEN,
        REASON_INVALID_JOIN,
    }
)
"""Reasons of Launched=False with which it is vouched for that the attempt left nothing in the cloud."""
FINAL = NOTHING_MADE | {REASON_INSTANCE_FAILED, REASON_INSTANCE_GONE}
"""Reasons of Launched=False that close the attempt. All others are troubles that may pass."""

_PASSING = HICCUPS | {REASON_NOT_SETTLED, REASON_TOKEN_NOT_WRITTEN}
"""Reasons of Launched=False that have nothing to do with what the machine is made from."""


@dataclass(frozen=True, slots=True)
class Observed:
    """``now`` is wall-clock time, ``moment`` the monotonic one."""

    machine: Machine
    node: Node | None
    """The Node that it registered as, or is to register as: the one of our name, or where the cloud chooses the names
    (EKS) the one with our provider id."""
    memory: Memory
    cluster: str
    now: float
    moment: float
    retries: bool = False
    """Whether we are the ones who try again: a NodeSet with ``autoscaling`` leaves that to the autoscaler."""
    namesake: Node | None = None
    """A Node with another name that carries this machine's provider id (a kubelet that ignored its host name)."""

    @property
    def launched(self) -> Condition | None:
        """The condition Launched."""
        return find_condition(self.machine.status.conditions, CONDITION_LAUNCHED)

    @property
    def registered(self) -> Condition | None:
        """The condition Registered."""
        return find_condition(self.machine.status.conditions, CONDITION_REGISTERED)

    @property
    def is_launched(self) -> bool:
        """Whether the cloud has made the machine and we wrote it down."""
        return self.launched is not None and self.launched.status == "True"

    @property
    def has_failed(self) -> bool:
        """Whether this attempt is over without a machine."""
        return has_failed(self.machine)

    @property
    def is_registered(self) -> bool:
        """Whether the Node was synced."""
        return self.registered is not None and self.registered.status == "True"

    @property
    def timed_out(self) -> bool:
        """Whether the machine was given up because it did not join in time."""
        return self.registered is not None and self.registered.reason == REASON_REGISTRATION_TIMEOUT

    @property
    def launched_at(self) -> float:
        """Wall-clock seconds at which the machine was made."""
        return from_rfc3339(self.launched.last_transition_time if self.launched else None, default=self.now)

    @property
    def failed_at(self) -> float:
        """Wall-clock seconds of the last failure."""
        failure = self.machine.status.last_failure
        return from_rfc3339(failure.time if failure else None, default=self.launched_at)

    @property
    def provider_id(self) -> str:
        """As written down, or as the cloud just said."""
        if self.machine.status.provider_id:
            return self.machine.status.provider_id
        return self.memory.instance.provider_id if self.memory.instance is not None else ""

    @property
    def key(self) -> InstanceKey:
        """How the cloud knows the machine."""
        token = client_token(self.machine.metadata.uid, self.machine.status.attempt)
        config = self.machine.spec.template.config
        return InstanceKey(cluster=self.cluster, token=token, provider_id=self.provider_id, config=config)

    @property
    def owns_node(self) -> bool:
        """Whether the Node of our name is this machine's.

        By provider id, the one that the join configuration gave it where the cloud's answer was lost; one that has
        none yet is ours if it still carries the taint that only our join configuration gives, or the one of a Node made
        ahead of its machine that a kubelet runs as by now: no other machine has a certificate for that name.
        """
        if self.node is None or self.node.metadata.uid == self.memory.node_deleted:
            return False
        if claims(self.machine, self.node, self.provider_id):
            return True
        if self.node.spec.provider_id:
            return False
        keys = {taint.key for taint in self.node.spec.taints}
        return TAINT_UNREGISTERED in keys or (TAINT_UNINITIALIZED in keys and self.node.has_kubelet)

    @property
    def standing_node(self) -> Node | None:
        """The Node, but for one that we deleted and of whose end the cache has not heard yet."""
        node = self.node
        gone = node is not None and node.metadata.uid == self.memory.node_deleted and not node.metadata.deleting
        return None if gone else node

    @property
    def has_placeholder(self) -> bool:
        """Whether the Node of our name was made ahead of this machine, and nothing runs as it yet."""
        return self.node is not None and is_placeholder_of(self.node, self.machine)


def is_reference_to(machine: Machine, node: Node) -> bool:
    """Whether that very Node is written down as the machine's."""
    reference = machine.status.node_ref
    return reference is not None and reference.uid == node.metadata.uid


def claims(machine: Machine, node: Node, provider_id: str = "") -> bool:
    """Whether the Node is the Machine's by what is written down, or by its provider id.

    ``provider_id`` is what the cloud just said, not written down yet. Where it never answered, the one counts that the
    join configuration of the current attempt carries.
    """
    if is_reference_to(machine, node):
        return True
    if not node.spec.provider_id:
        # Adopted, and not complete yet: only this machine's certificate lets a kubelet run as it.
        return node.has_kubelet and node.metadata.uid == placeholder_uid(machine)
    token = client_token(machine.metadata.uid, machine.status.attempt)
    known = machine.status.provider_id or provider_id or machine.spec.template.provider_id_of(token)
    return node.spec.provider_id == known


def has_failed(machine: Machine) -> bool:
    """Whether its current attempt is over without a machine."""
    launched = find_condition(machine.status.conditions, CONDITION_LAUNCHED)
    return launched is not None and launched.status == "False" and launched.reason in FINAL


def cannot_become(machine: Machine) -> bool:
    """Whether it gets no further as it is: its attempt is over, or what keeps it from starting will not pass."""
    launched = find_condition(machine.status.conditions, CONDITION_LAUNCHED)
    registered = find_condition(machine.status.conditions, CONDITION_REGISTERED)
    if registered is not None and registered.reason == REASON_REGISTRATION_TIMEOUT:
        return True
    return launched is not None and launched.status == "False" and launched.reason not in _PASSING


def is_unsettled(machine: Machine) -> bool:
    """Whether the API server leaves it open if a create of the current attempt ever reached the cloud."""
    launched = find_condition(machine.status.conditions, CONDITION_LAUNCHED)
    if launched is None or launched.status == "Unknown":
        return True
    return launched.status == "False" and launched.reason not in FINAL
