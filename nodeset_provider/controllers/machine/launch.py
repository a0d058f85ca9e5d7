"""Launch: from a Machine with its finalizer to a machine in the cloud, exactly one (design §5 rules 1 to 4). Pure.

The order of things: look up after any doubt, believe absence only after the driver's consistency delay, create with the
attempt's own token, write down what came of it. What is not known to be settled is a doubt.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import msgspec

from nodeset_provider.api.names import CONDITION_LAUNCHED, FINALIZER_MACHINE
from nodeset_provider.controllers.conditions import to_wire, with_condition
from nodeset_provider.controllers.drivers import AccountUnusable
from nodeset_provider.controllers.machine import ahead
from nodeset_provider.controllers.machine.actions import Action, AddFinalizer, Launch, LookUp, Wait, WriteStatus
from nodeset_provider.controllers.machine.failure import (
    explained,
    failed,
    is_shown,
    pause,
    show,
    try_again,
    unexplained,
)
from nodeset_provider.controllers.machine.memory import Memory, Obstacle, Trouble
from nodeset_provider.controllers.machine.observed import (
    REASON_INSTANCE_FAILED,
    REASON_INSTANCE_GONE,
    REASON_TOKEN_TAKEN,
    Observed,
)
from nodeset_provider.controllers.resolver import invalid_config
from nodeset_provider.driverkit.contract import Instance, InstanceState
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec, NotFound


def decide(o: Observed) -> Action | None:  # noqa: PLR0911 - one line per state
    """What to do next; None once the machine is launched."""
    if FINALIZER_MACHINE not in o.machine.metadata.finalizers:
        return AddFinalizer()
    if o.is_launched:
        return None
    if o.has_failed:
        return try_again(o)
    memory = o.memory
    if memory.failure is not None and memory.last_create is None:
        code = memory.failure.code
        # A token whose id is taken is another machine's, which still has to join with it.
        return failed(o, CONDITION_LAUNCHED, code, _complaint(memory.failure), final=code != REASON_TOKEN_TAKEN)
    if memory.instance is not None:
        return _record(o, memory.instance)
    if (waiting := pause(o, CONDITION_LAUNCHED)) is not None:
        return waiting
    if memory.last_create is not None:
        return LookUp()
    if (first := ahead.before_launch(o)) is not None:
        return first
    return _name_in_use(o) or Launch()


def _complaint(error: DriverError) -> str:
    """With the field to mend, where the driver named one."""
    return invalid_config(error) if isinstance(error, InvalidSpec) and error.field else error.message


def _record(o: Observed, instance: Instance) -> Action:
    known: dict[str, Any] = {
        "clientToken": o.key.token,
        "providerID": instance.provider_id,
        "addresses": [msgspec.to_builtins(address) for address in instance.addresses],
    }
    if instance.state is InstanceState.FAILED:
        return unexplained(o, instance.message) or failed(
            o, CONDITION_LAUNCHED, REASON_INSTANCE_FAILED, explained(o, instance.message), final=True, more=known
        )
    if instance.state is InstanceState.DELETING:
        why = "somebody else deleted it in the cloud"
        return failed(o, CONDITION_LAUNCHED, REASON_INSTANCE_GONE, why, final=True, more=known)
    conditions = with_condition(
        o.machine.status.conditions,
        CONDITION_LAUNCHED,
        "True",
        reason="Launched",
        message=f"the cloud made {instance.provider_id}",
        now=o.now,
    )
    known |= {"conditions": to_wire(conditions)}
    return WriteStatus(known, ensure_token=o.memory.found_again)


def _name_in_use(o: Observed) -> Action | None:
    """Nothing boots under the name of a Node that is another's, or that is still going; None where the name is free."""
    if o.standing_node is None:
        return None
    if o.owns_node or o.has_placeholder:
        # What holds up the end of a Node is somebody else's finalizer, and the end itself wakes us.
        return Wait() if o.standing_node.metadata.deleting else None
    name = o.machine.spec.node_name
    trouble = Trouble(
        "NodeNameTaken",
        f"spec.nodeName: a Node {name} exists already and is not this machine's; delete that Node or this Machine",
        o.moment,
    )
    if is_shown(o, CONDITION_LAUNCHED, trouble):
        return Wait()
    return show(o, CONDITION_LAUNCHED, trouble)


def with_token_taken(memory: Memory, instance: Instance) -> Memory:
    """What is known of a machine that was found again and whose token's id another machine has by now.

    It can never join, so it goes, and the next attempt has another id. The Secret stays: it is not this machine's.
    """
    lost = msgspec.structs.replace(
        instance, state=InstanceState.FAILED, message="another machine has its bootstrap token's id, it cannot join"
    )
    return replace(memory, instance=lost, found_again=False, token_dropped=True)


def before_create(memory: Memory, moment: float) -> Memory:
    """From now on a machine may exist, whatever happens to the answer."""
    return replace(memory, last_create=moment)


def after_create(
    memory: Memory, outcome: Instance | DriverError | AccountUnusable | Obstacle, moment: float, random: Random
) -> Memory:
    """What is known once ``create`` answered, failed, or timed out at ``moment``."""
    match outcome:
        case Instance():
            return replace(memory.recovered(), instance=outcome, made_at=moment, last_create=None, found_again=False)
        case AccountUnusable() | Obstacle():
            return memory.struggling(outcome, moment, random)
        case DriverError() if outcome.attempt_failed:
            # It vouches for this call. An earlier one of the same token that got no answer may land all the same, and
            # would be a second machine beside the next attempt's: the attempt is closed only once it can be seen.
            in_doubt = moment if memory.doubted_at is not None else None
            return replace(memory.recovered(), failure=outcome, last_create=in_doubt)
        case _:
            # It may take effect as late as the moment we stopped listening.
            return replace(memory, last_create=moment, doubted_at=moment).struggling(outcome, moment, random)


def after_lookup(
    memory: Memory, outcome: Instance | DriverError | AccountUnusable, moment: float, delay: float, random: Random
) -> Memory:
    """What is known once ``get`` by token answered; ``delay`` is the driver's consistency delay in seconds."""
    match outcome:
        case Instance():
            found = replace(memory.recovered(), instance=outcome, made_at=moment, found_again=True)
            return replace(found, last_create=None, failure=None)
        case NotFound():
            believable = (memory.last_create or 0.0) + delay
            if moment < believable:
                return replace(memory, not_before=believable)
            # The trouble stays until a create works: looking up is no progress, and must not reset the back-off.
            return replace(memory, last_create=None)
        case _:
            return memory.struggling(outcome, moment, random)
