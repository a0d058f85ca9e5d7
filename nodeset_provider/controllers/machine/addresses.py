"""Addresses: a machine whose addresses are not known is looked up until its cloud tells them. Pure.

A kubelet's serving certificate is approved for addresses that the Machine knows and for no others, so they have to be
known soon after its Node says that it has them. What is written down is always what the driver says: a Node that could
name its own addresses could have a certificate for anybody's.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import msgspec

from nodeset_provider.controllers.drivers import AccountUnusable
from nodeset_provider.controllers.machine.actions import Action, LookUp, Wait, WriteStatus
from nodeset_provider.controllers.machine.memory import Memory
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.controllers.machine.watch import launched_moment
from nodeset_provider.driverkit.contract import Instance
from nodeset_provider.driverkit.errors import DriverError, NotFound

FIRST_SECONDS = 2.0
BOOTING_SECONDS = 30.0
"""The longest pause while the machine boots, which its launch time-out bounds."""
JOINED_SECONDS = 6 * 3600.0
"""The longest pause once its Node is there: some clouds never tell, and a thousand machines that are asked for every
ten minutes use up the quota of calls that the next launch needs."""
SETTLED_SECONDS = 600.0
"""The first pause at least of a machine as old as that which this process begins to look at: after a change of leader
all of them are looked at once, and not as often as if all had just been made."""


def decide(o: Observed) -> Action | None:
    """What to do beside a phase that waits; None where all is known, or nothing is to be known."""
    if not o.is_launched or o.timed_out:
        return None
    told = o.memory.instance.addresses if o.memory.instance is not None else ()
    addresses = [msgspec.to_builtins(address) for address in told]
    if addresses and addresses != msgspec.to_builtins(o.machine.status.addresses):
        return WriteStatus({"addresses": addresses})
    if not _unknown(o):
        return None
    left = _next_look(o) - o.moment
    return Wait(left) if left > 0 else LookUp()


def _unknown(o: Observed) -> bool:
    """Whether the machine has an address that is not written down, or none that is."""
    known = {address.address for address in o.machine.status.addresses}
    return not known or not known.issuperset(_of_node(o))


def _of_node(o: Observed) -> tuple[str, ...]:
    if o.node is None or not o.owns_node:
        return ()
    return tuple(sorted(a.address for a in o.node.status.addresses if a.type == "InternalIP"))


def _next_look(o: Observed) -> float:
    """Moment. The pauses double; a Node that comes with addresses, or with others, begins them anew."""
    memory = o.memory
    last, since = memory.address_looked_at, memory.addresses_sought_since
    if last is None:
        last = since = max(memory.known_since, memory.made_at or memory.known_since)
    elif since is None or memory.looked_for != _of_node(o):
        since = last
    longest = BOOTING_SECONDS if o.node is None else JOINED_SECONDS
    return max(last + min(longest, FIRST_SECONDS + last - since), memory.not_before)


def after_look(memory: Memory, o: Observed, moment: float) -> Memory:
    """Any look at a launched machine counts, whatever came of it."""
    node, since = _of_node(o), memory.addresses_sought_since
    if memory.address_looked_at is None:
        made = memory.made_at if memory.made_at is not None else launched_moment(o)
        since = max(made, moment - SETTLED_SECONDS)
    elif since is None or memory.looked_for != node:
        since = moment - FIRST_SECONDS
    return replace(memory, addresses_sought_since=since, address_looked_at=moment, looked_for=node)


def after_joined_look(
    memory: Memory, outcome: Instance | DriverError | AccountUnusable, moment: float, random: Random
) -> Memory:
    """What is known once ``get`` answered for a machine that has joined: its addresses, and nothing about its end."""
    match outcome:
        case Instance():
            return replace(memory.recovered(), instance=outcome)
        case NotFound():
            return memory
        case _:
            return replace(memory.struggling(outcome, moment, random), trouble=None)
