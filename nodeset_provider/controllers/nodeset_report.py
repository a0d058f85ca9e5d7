"""What a NodeSet is told to say of itself, and which entries of ``removeFirst`` have done their work.

May touch: NodeSets (status, ``removeFirst``), Machines (read), events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import API_VERSION, CONDITION_READY
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import NodeClass
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import nodeset_plan
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.nodeset_status import status_patch, summarise
from nodeset_provider.controllers.resolutions import Resolutions
from nodeset_provider.controllers.resolver import Problem
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import NotFound
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET, MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODE_SETS

_log = structlog.get_logger(__name__)

STATUS_SECONDS = 1.0
"""Status and pruning are written at most this often: a thousand Machines that start are one set that starts."""
CLASS_SECONDS = 2.0
"""Two kinds come by two watches, in any order."""


@dataclass(slots=True)
class _State:
    """Of one NodeSet, in this process and this term."""

    uid: str
    written_at: float = float("-inf")
    classless_since: float | None = None


def machines_of(nodeset: NodeSet, machines: Informer[Machine]) -> list[Machine]:
    """The set's own Machines in the cache."""
    named = machines.by_index(MACHINE_BY_NODESET, nodeset.metadata.name)
    return [machine for machine in named if nodeset_plan.belongs(machine, nodeset)]


def nodes_ready(nodes: Informer[Node]) -> Callable[[Machine], bool]:
    """Whether a Machine's Node is Ready, by the cache."""

    def has_ready_node(machine: Machine) -> bool:
        node = nodes.get(machine.node_name)
        return node is not None and node.ready

    return has_ready_node


class NodeSetReports:
    """See the module."""

    def __init__(
        self,
        *,
        client: Api,
        nodesets: Informer[NodeSet],
        node_classes: Informer[NodeClass],
        machines: Informer[Machine],
        nodes: Informer[Node],
        resolutions: Resolutions,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._client = client
        self._nodesets = nodesets
        self._node_classes = node_classes
        self._machines = machines
        self._nodes = nodes
        self._resolutions = resolutions
        self._recorder = recorder
        self._clock = clock
        self._states: dict[str, _State] = {}

    def forget(self, name: str) -> None:
        """The NodeSet of that name is gone."""
        self._states.pop(name, None)

    async def write(self, nodeset: NodeSet, trouble: Problem | None) -> float | None:
        """Prune and write the status, unless that was done a moment ago; seconds until it is due then.

        ``trouble`` is what the API server objected to. Raises ApiError.
        """
        name, uid = nodeset.metadata.name, nodeset.metadata.uid
        current = self._nodesets.get(name)
        if current is None or current.metadata.uid != uid:
            return None
        nodeset = current
        state = self._states.get(name)
        if state is None or state.uid != uid:
            state = self._states[name] = _State(uid)
        moment = self._clock.monotonic()
        if moment < state.written_at + STATUS_SECONDS:
            return state.written_at + STATUS_SECONDS - moment
        machines = machines_of(nodeset, self._machines)
        plan = nodeset_plan.decide(nodeset, machines)
        problem = self._resolutions.problem(nodeset) or trouble
        after = summarise(
            nodeset,
            machines,
            has_ready_node=nodes_ready(self._nodes),
            resolution=self._resolutions.latest(nodeset),
            problem=problem,
            now=self._clock.now().timestamp(),
        )
        unsure = self._class_may_come(self._node_classes.get(nodeset.spec.node_class_name), state)
        if unsure is not None:
            return unsure
        patch = status_patch(nodeset.status, after)
        if not patch and not plan.prune and not plan.confirm:
            return None
        state.written_at = moment
        if patch:
            self._announce(nodeset, problem)
            nodeset = await self._client.patch(NODE_SETS, name, {"status": patch}, subresource="status")
            self._nodesets.observe(nodeset)
        await self._prune(nodeset, plan)
        return None

    def _class_may_come(self, node_class: NodeClass | None, state: _State) -> float | None:
        """Seconds to wait before a class is called missing: applied together with its set, it may be seen after it."""
        if node_class is not None:
            state.classless_since = None
            return None
        moment = self._clock.monotonic()
        if state.classless_since is None:
            state.classless_since = moment
        left = state.classless_since + CLASS_SECONDS - moment
        return left if left > 0 else None

    async def _prune(self, nodeset: NodeSet, plan: nodeset_plan.Plan) -> None:
        done = set(plan.prune)
        for name in plan.confirm:
            try:
                machine = await self._client.get(MACHINES, name)
            except NotFound:
                done.add(name)
                continue
            self._machines.observe(machine)
            owners = MACHINE_INDEXERS[MACHINE_BY_NODESET](machine)
            if nodeset.metadata.name not in owners or not nodeset_plan.belongs(machine, nodeset):
                done.add(name)  # it would stand there for ever, and be asked for again and again
                why = f"spec.removeFirst: Machine {name} is not of this set and stays; name it in its own set"
                self._recorder.event(("NodeSet", API_VERSION, nodeset.metadata), "Warning", "NotOfThisSet", why)
        if not done:
            return
        left = [name for name in nodeset.spec.remove_first if name not in done]
        body = {
            "metadata": {"resourceVersion": nodeset.metadata.resource_version},
            "spec": {"removeFirst": left or None},
        }
        self._nodesets.observe(await self._client.patch(NODE_SETS, nodeset.metadata.name, body))

    def _announce(self, nodeset: NodeSet, problem: Problem | None) -> None:
        if problem is None or problem.passing:
            return
        known = find_condition(nodeset.status.conditions, CONDITION_READY)
        if known is not None and known.status == "False" and known.reason == problem.reason:
            return
        _log.warning("nodeset trouble", nodeset=nodeset.metadata.name, reason=problem.reason, message=problem.message)
        self._recorder.event(("NodeSet", API_VERSION, nodeset.metadata), "Warning", problem.reason, problem.message)
