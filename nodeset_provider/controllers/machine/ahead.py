"""A Node that was made ahead of the machine: when it is in the way, who takes it away, and in which order. Pure.

That it is to go is written on the Machine *before* it is deleted: whoever crashes in between comes back to a Machine
that knows why its Node is missing. What a deletion by somebody else means, :mod:`..placeholder.lost` decides.
"""

from __future__ import annotations

from nodeset_provider.controllers.machine.actions import Action, DeleteNode, HandOver, Wait
from nodeset_provider.controllers.machine.observed import Observed
from nodeset_provider.controllers.placeholder.recognise import is_handed_over, is_placeholder, placeholder_uid


def before_launch(o: Observed) -> Action | None:
    """What has to be done, or waited for, before a machine may boot under this name; None where nothing has."""
    node = o.standing_node
    handed_over = is_handed_over(o.machine)
    if not placeholder_uid(o.machine):
        return None
    if node is None:
        return None if handed_over else Wait()
    if not o.has_placeholder:
        # Somebody made the Node again. Whether the machine is for that one is written on the Machine in a moment.
        return Wait() if is_placeholder(node) else None
    if node.metadata.deleting:
        return Wait()  # its last finalizer wakes us: nothing boots under a name that is not free
    if handed_over:
        return DeleteNode(node.metadata.name, node.metadata.uid)
    return HandOver(node.metadata.uid) if o.machine.spec.template.registration == "Handover" else None


def before_next_attempt(o: Observed) -> HandOver | None:
    """The Node that a failed machine had registered as goes with it: the next machine's kubelet makes its own."""
    uid = placeholder_uid(o.machine)
    return HandOver(uid) if uid and not is_handed_over(o.machine) else None


def take_away(o: Observed) -> DeleteNode | None:
    """The placeholder goes with its Machine, which would otherwise be made once more."""
    node = o.standing_node
    if node is None or node.metadata.deleting or not o.has_placeholder:
        return None
    return DeleteNode(node.metadata.name, node.metadata.uid)
