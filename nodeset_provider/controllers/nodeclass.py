"""The NodeClass controller: says whether a class can work, and what its machines would be.

May touch: NodeClasses (status), the Secret that a class names (read), its driver's ``resolve``, events. A class whose
driver this process does not serve is somebody else's and left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import structlog

from nodeset_provider.api.meta import ConditionStatus, find_condition
from nodeset_provider.api.names import API_VERSION, CONDITION_VALID
from nodeset_provider.api.nodeclass import NodeClass, NodeClassStatus, ResolvedTemplate
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.asked import NOTHING
from nodeset_provider.controllers.conditions import to_wire, with_verdict
from nodeset_provider.controllers.drivers import AccountUnusable, Drivers
from nodeset_provider.controllers.lanes import make_lane
from nodeset_provider.controllers.merge import diff_patch
from nodeset_provider.controllers.resolver import Problem, invalid_config
from nodeset_provider.controllers.template import machine_template, resolved_template
from nodeset_provider.controllers.unserved import is_said_unserved
from nodeset_provider.driverkit.contract import Offering
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.request import ClusterAccess
from nodeset_provider.join.size import user_data_size
from nodeset_provider.join.user_data import Delivery
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.errors import ApiError
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import NODE_CLASSES

_log = structlog.get_logger(__name__)

HEALTHY_SECONDS = 300.0
RETRY_BASE_SECONDS = 2.0
RETRY_CAP_SECONDS = 60.0

Verdict = ResolvedTemplate | Problem


@dataclass(frozen=True, slots=True)
class Decision:
    """``patch`` of the status (empty: nothing to write); ``announce``: say it in an event too."""

    patch: dict[str, Any]
    announce: Problem | None = None


def decide(node_class: NodeClass, verdict: Verdict, now: float) -> Decision:
    """What the class's status should say. Pure.

    A driver that is out of reach for a while changes nothing about a class that was found valid: only an edit
    (``metadata.generation``) makes that judgement void.
    """
    before = node_class.status
    generation = node_class.metadata.generation
    known = find_condition(before.conditions, CONDITION_VALID)
    judged = known is not None and known.status == "True" and before.observed_generation == generation
    if isinstance(verdict, Problem) and verdict.passing and judged:
        return Decision({})
    if isinstance(verdict, ResolvedTemplate):
        conditions = with_verdict(node_class, "True", reason="Resolved", message=_summary(verdict), now=now)
        template: ResolvedTemplate | None = verdict
    else:
        status: ConditionStatus = "Unknown" if verdict.passing else "False"
        conditions = with_verdict(node_class, status, reason=verdict.reason, message=verdict.message, now=now)
        template = before.template
    after = NodeClassStatus(observed_generation=generation, conditions=conditions, template=template)
    patch = diff_patch(_document(before) if before.conditions else {}, _document(after))
    news = isinstance(verdict, Problem) and not verdict.passing and (known is None or known.reason != verdict.reason)
    return Decision(patch, verdict if news and isinstance(verdict, Problem) else None)


def retry_delay(failures: int) -> float:
    """Seconds until a class that does not work is looked at again, after that many looks in vain: 2 s … 60 s."""
    return min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(failures, 16))


def check_join(
    node_class: NodeClass, offering: Offering, access: ClusterAccess, delivery: Delivery, gpu_label: str
) -> Problem | None:
    """What keeps every machine of the class from joining, found out without a NodeSet: by making one's user-data.

    Raises InvalidJoin for join settings and provisioning that no machine could use.
    """
    too_large = user_data_size(machine_template(node_class, NOTHING, offering, gpu_label), access, delivery).problem
    return Problem("UserDataTooLarge", too_large) if too_large else None


def _summary(template: ResolvedTemplate) -> str:
    parts = [f"{template.capacity[name]} {name}" for name in ("cpu", "memory") if name in template.capacity]
    if template.price_per_hour:
        parts.append(f"{template.price_per_hour} an hour")
    return f"machines of {', '.join(parts)}" if parts else "the driver can make its machines"


def _document(status: NodeClassStatus) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(status)
    document["conditions"] = to_wire(status.conditions)
    return document


class NodeClassController:
    """See the module."""

    def __init__(
        self,
        *,
        client: Api,
        node_classes: Informer[NodeClass],
        drivers: Drivers,
        access: ClusterAccess,
        gpu_label: str,
        recorder: Recorder,
        clock: Clock,
        random: Random,
        workers: int,
    ) -> None:
        self._client = client
        self._node_classes = node_classes
        self._drivers = drivers
        self._access = access
        self._gpu_label = gpu_label
        self._recorder = recorder
        self._clock = clock
        self._random = random
        self._failures: dict[str, tuple[int, int]] = {}
        """Name → (generation, looks in vain)."""
        self.lanes: dict[str, Controller[str]] = {
            driver: make_lane(f"nodeclass/{driver}", self.reconcile, workers=workers, clock=clock)
            for driver in drivers.names
        }

    def on_node_class(self, old: NodeClass | None, new: NodeClass | None) -> None:
        """A class came or was edited. Its status is our own writing, unless another one gave us up in it."""
        if new is None:
            if old is not None:
                self._failures.pop(old.metadata.name, None)
            return
        lane = self.lanes.get(new.spec.driver)
        edited = (
            old is None or old.metadata.generation != new.metadata.generation or old.metadata.uid != new.metadata.uid
        )
        if lane is not None and (edited or is_said_unserved(new)):
            lane.enqueue(new.metadata.name)

    async def reconcile(self, name: str) -> float | None:
        """Judge the class; seconds until it is judged again."""
        node_class = self._node_classes.get(name)
        if node_class is None or node_class.metadata.deleting or not self._drivers.serves(node_class.spec.driver):
            return None
        verdict = await self._judge(node_class)
        decision = decide(node_class, verdict, self._clock.now().timestamp())
        if decision.announce is not None:
            problem = decision.announce
            _log.warning("nodeclass trouble", nodeclass=name, reason=problem.reason, message=problem.message)
            self._recorder.event(
                ("NodeClass", API_VERSION, node_class.metadata), "Warning", problem.reason, problem.message
            )
        if decision.patch:
            after = await self._client.patch(NODE_CLASSES, name, {"status": decision.patch}, subresource="status")
            self._node_classes.observe(after)
        return self._next_look(node_class, verdict)

    async def _judge(self, node_class: NodeClass) -> Verdict:
        spec = node_class.spec
        try:
            async with self._drivers.account(spec.driver, spec.credentials_ref) as account:
                offering = await account.resolve(spec.config)
                delivery = account.delivery
            problem = check_join(node_class, offering, self._access, delivery, self._gpu_label)
            return problem or resolved_template(node_class, NOTHING, offering, self._gpu_label)
        except AccountUnusable as error:
            return Problem(error.code, error.message)
        except InvalidSpec as error:
            return Problem("InvalidConfig", invalid_config(error))
        except DriverError as error:
            passing = not error.attempt_failed
            return Problem(error.code, f"driver {spec.driver}: {error.message}", passing=passing)
        except InvalidJoin as error:
            return Problem("InvalidJoin", f"{error.field}: {error.message}")
        except ApiError as error:
            return Problem("CredentialsUnreadable", f"spec.credentialsRef: {error.message}", passing=True)

    def _next_look(self, node_class: NodeClass, verdict: Verdict) -> float:
        name, generation = node_class.metadata.name, node_class.metadata.generation
        spread = self._random.uniform(0.75, 1.25)
        if isinstance(verdict, ResolvedTemplate):
            self._failures.pop(name, None)
            return HEALTHY_SECONDS * spread
        known_generation, failures = self._failures.get(name, (generation, 0))
        failures = failures if known_generation == generation else 0
        self._failures[name] = (generation, failures + 1)
        return retry_delay(failures) * spread
