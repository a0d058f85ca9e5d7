"""One pass of the stand-in after another: look, clean up failures, grow, shrink. Effects only; deciding is elsewhere.

The order within a pass is the autoscaler's: create errors and machines that never registered first, then scale-up, and
scale-down only where nothing was asked for.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Final

from nodeset_provider.rehearsal.autoscale import fit, scale_down, scale_up
from nodeset_provider.rehearsal.autoscale.cluster import Cluster, ClusterError
from nodeset_provider.rehearsal.autoscale.events import EventLog, utc_now
from nodeset_provider.rehearsal.autoscale.expander import EXPANDERS
from nodeset_provider.rehearsal.autoscale.front_door import FrontDoor, Refused
from nodeset_provider.rehearsal.autoscale.groups import Backoff, Since, View
from nodeset_provider.rehearsal.autoscale.kinds import DaemonSet, Node, Pod
from nodeset_provider.rehearsal.replay.language import Shape

_PODS_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """The autoscaler's flags of the same names; seconds."""

    expander: str = "least-waste"
    unneeded_time: float = 600.0
    delay_after_add: float = 600.0
    max_node_provision_time: float = 900.0
    initial_backoff: float = 300.0
    max_backoff: float = 1800.0


@dataclass(slots=True)
class _Picture:
    """What one pass works on."""

    nodes: list[Node]
    pods: list[Pod]
    daemon_sets: list[DaemonSet]
    groups: dict[str, View]
    pods_on: dict[str, list[Pod]] = field(default_factory=lambda: defaultdict(list))


class Autoscaler:
    """``run_once`` is one pass; the caller waits between passes."""

    def __init__(
        self,
        cluster: Cluster,
        front_door: FrontDoor,
        events: EventLog,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
        random: Random | None = None,
    ) -> None:
        self._cluster = cluster
        self._door = front_door
        self._events = events
        self._settings = settings
        self._clock = clock
        self._now = now
        self._random = random or Random()  # noqa: S311 - the random expander keeps no secret
        self._backoff = Backoff(settings.initial_backoff, settings.max_backoff)
        self._unregistered = Since()
        self._idle = Since()
        self._last_add = float("-inf")

    def run_once(self) -> bool:
        """One pass; whether it asked for machines. What the provider or the API server refuses ends it as an event."""
        try:
            picture = self._look()
            self._remove_failed(picture)
            self._remove_unregistered(picture)
            needed = self._grow(picture)
            if needed is None:
                self._last_add = self._clock()
                return True
            self._shrink(picture, needed)
        except Refused as error:
            self._events.emit_changed("provider_refused", message=str(error))
        except ClusterError as error:
            self._events.emit_changed("cluster_refused", message=str(error))
        else:
            self._events.emit_changed("provider_refused")
            self._events.emit_changed("cluster_refused")
        return False

    def recover(self) -> None:
        """Takes the ToBeDeleted taint off nodes that an earlier run left with it, if they still have a group."""
        try:
            for node in self._cluster.nodes():
                if node.going and self._door.group_of(node):
                    self._cluster.unmark_going(node)
                    self._events.emit("recovered", node=node.metadata.name)
        except (Refused, ClusterError) as error:
            self._events.emit("recover_failed", message=str(error))

    # --- looking -----------------------------------------------------------------------------------------------------
    def _look(self) -> _Picture:
        self._door.refresh()
        offered = self._door.groups()
        nodes, pods = self._cluster.nodes(), self._cluster.pods()
        members: dict[str, list[Node]] = defaultdict(list)
        for node in nodes:
            if (owner := self._door.group_of(node)) and not node.going:
                members[owner].append(node)
        picture = _Picture(nodes, pods, self._cluster.daemon_sets(), {})
        for pod in pods:
            if pod.spec.node_name:
                picture.pods_on[pod.spec.node_name].append(pod)
        for group in offered:
            picture.groups[group.id] = View(
                group.id,
                group.minSize,
                group.maxSize,
                self._door.target(group.id),
                self._door.instances(group.id),
                tuple(members[group.id]),
            )
        return picture

    def _look_again(self, picture: _Picture, group: View) -> None:
        """After a deletion: target and list as they are now."""
        picture.groups[group.id] = View(
            group.id,
            group.minimum,
            group.maximum,
            self._door.target(group.id),
            self._door.instances(group.id),
            group.nodes,
        )

    # --- failures ----------------------------------------------------------------------------------------------------
    def _remove_failed(self, picture: _Picture) -> None:
        for group in list(picture.groups.values()):
            for instance in group.failed:
                error = instance.status.errorInfo
                self._events.emit(
                    "create_error",
                    group=group.id,
                    instance=instance.id,
                    code=error.errorCode,
                    message=error.errorMessage,
                    error_class=error.instanceErrorClass,
                )
                self._back_off(group.id, f"create error {error.errorCode}")
                self._delete_placeholder(group.id, instance.id, Shape.CREATE_ERROR)
            if group.failed:
                self._look_again(picture, group)

    def _remove_unregistered(self, picture: _Picture) -> None:
        registered = frozenset(node.spec.provider_id for node in picture.nodes)
        waiting = {it.id: group for group in picture.groups.values() for it in group.unregistered(registered)}
        overdue: dict[str, list[str]] = defaultdict(list)
        for id_, seconds in self._unregistered.update(waiting, self._clock()).items():
            if seconds > self._settings.max_node_provision_time:
                overdue[waiting[id_].id].append(id_)
        for name, ids in overdue.items():
            group = picture.groups[name]
            self._back_off(name, "registration time-out")
            # The autoscaler leaves a group at its minimum alone: it would only come back.
            for id_ in ids[: max(0, group.target - group.minimum)]:
                self._events.emit("registration_timeout", group=name, instance=id_)
                self._delete_placeholder(name, id_, Shape.UNREGISTERED)
            self._look_again(picture, group)

    def _delete_placeholder(self, group: str, instance: str, reason: Shape) -> None:
        try:
            self._door.delete_placeholder(group, instance, reason)
        except Refused as error:
            self._events.emit("delete_refused", group=group, instance=instance, message=str(error))

    def _back_off(self, group: str, reason: str) -> None:
        already = self._backoff.blocked(group, self._clock())
        seconds = self._backoff.fail(group, self._clock())
        if not already:
            self._events.emit("backoff", group=group, seconds=seconds, reason=reason)

    # --- growing -----------------------------------------------------------------------------------------------------
    def _grow(self, picture: _Picture) -> frozenset[str] | None:
        """None where machines were asked for, else the names of nodes that pending pods wait for."""
        pending = [pod for pod in picture.pods if pod.unschedulable]
        for group in picture.groups.values():
            if group.nodes and all(node.usable for node in group.nodes) and len(group.nodes) >= group.target:
                self._backoff_over(group.id)
        if not pending:
            self._events.emit_changed("no_scale_up")
            return frozenset()
        templates = self._templates(picture)
        hosts = [
            fit.host_of_node(node, picture.pods_on[node.metadata.name])
            for node in picture.nodes
            if node.usable and not node.going
        ]
        upcoming = [
            templates[group.id].copy(f"upcoming-{group.id}-{number}")
            for group in picture.groups.values()
            if group.id in templates
            for number in range(group.upcoming(self._now(), written_off=len(group.failed)))
        ]
        wanted = scale_up.demand(pending, hosts, upcoming)
        blocked = {name: "backed off" for name in picture.groups if self._backoff.blocked(name, self._clock())}
        prices = self._prices(templates) if self._settings.expander == "price" and wanted.left else {}
        options, reasons = scale_up.options(wanted.left, picture.groups.values(), templates, prices, blocked)
        self._events.emit_changed("no_scale_up", **({"pods": reasons} if reasons else {}))
        option = EXPANDERS[self._settings.expander](options, self._random)
        if option is None:
            return wanted.needed
        return None if self._increase(picture.groups[option.group], len(option.hosts), option.pods) else wanted.needed

    def _backoff_over(self, group: str) -> None:
        if not self._backoff.blocked(group, self._clock()):
            self._backoff.succeed(group)

    def _increase(self, group: View, delta: int, pods: Iterable[Pod]) -> bool:
        keys = sorted(pod.key for pod in pods)
        try:
            self._door.increase(group.id, delta)
        except Refused as error:
            self._events.emit("scale_up_failed", group=group.id, delta=delta, message=str(error))
            self._back_off(group.id, "IncreaseSize refused")
            return False
        self._events.emit(
            "scale_up",
            group=group.id,
            delta=delta,
            target=group.target + delta,
            pod_count=len(keys),
            pods=keys[:_PODS_SHOWN],
        )
        return True

    def _templates(self, picture: _Picture) -> dict[str, fit.Host]:
        templates: dict[str, fit.Host] = {}
        refused: dict[str, str] = {}
        for group in picture.groups.values():
            try:
                template = self._door.template(group.id)
            except Refused as error:
                refused[group.id] = str(error)
                continue
            templates[group.id] = fit.host_of_template(template, picture.daemon_sets)
            templates[group.id].name = group.id
        self._events.emit_changed("no_template", **({"groups": refused} if refused else {}))
        return templates

    def _prices(self, templates: Mapping[str, fit.Host]) -> dict[str, float]:
        prices: dict[str, float] = {}
        for name, template in templates.items():
            try:
                prices[name] = self._door.price(name, template.labels)
            except Refused as error:
                self._events.emit_changed("no_price", group=name, message=str(error))
        return prices

    # --- shrinking ---------------------------------------------------------------------------------------------------
    def _shrink(self, picture: _Picture, needed: frozenset[str]) -> None:
        idle = self._idle.update(scale_down.idle_nodes(picture.groups.values(), picture.pods_on, needed), self._clock())
        if self._clock() - self._last_add < self._settings.delay_after_add:
            return
        for victim in scale_down.victims(picture.groups.values(), idle, self._settings.unneeded_time):
            self._take_away(picture.groups[victim.group], victim)

    def _take_away(self, group: View, victim: scale_down.Victim) -> None:
        name = victim.node.metadata.name
        marked = self._cluster.mark_going(victim.node)
        try:
            # Between the list and the taint the scheduler may have put a pod there.
            free = scale_down.is_empty(self._cluster.pods(name))
            if free:
                self._door.delete_node(group.id, marked)
        except (Refused, ClusterError) as error:
            free = False
            self._events.emit("scale_down_failed", group=group.id, node=name, message=str(error))
        if free:
            self._events.emit("scale_down", group=group.id, node=name, idle_seconds=victim.idle_seconds)
        else:
            self._cluster.unmark_going(marked)
