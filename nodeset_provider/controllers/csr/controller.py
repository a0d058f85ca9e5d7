"""Does what ``client`` and ``serving`` decided about certificate requests, and says so.

An approval is believed at once and a denial is final, so both are written only to the version of the request that was
decided on, and a denial only once the API server itself (not the cache) has said the same of the Machine and its Node.

May touch: CertificateSigningRequests (approval), events.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import structlog

from nodeset_provider.api.csr import CertificateSigningRequest
from nodeset_provider.api.machine import Machine, canonical_ip
from nodeset_provider.api.names import API_VERSION, CSR_SIGNER_SERVING
from nodeset_provider.api.node import Node
from nodeset_provider.controllers import metrics
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.conditions import one_line
from nodeset_provider.controllers.csr import client, serving
from nodeset_provider.controllers.csr.caches import RequestCaches, is_approved, is_later
from nodeset_provider.controllers.csr.client import claimed_machine
from nodeset_provider.controllers.csr.serving import requesting_node
from nodeset_provider.controllers.csr.verdict import Approve, Deny, LeaveAlone, Verdict
from nodeset_provider.controllers.indexes import NODE_BY_IP, machines_of
from nodeset_provider.controllers.lanes import make_lane
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.errors import NotFound
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.indexes import MACHINE_BY_IP
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import CERTIFICATE_SIGNING_REQUESTS, MACHINES, NODES

_log = structlog.get_logger(__name__)

REASON_APPROVED: Final = "NodesetMachine"
REASON_DENIED: Final = "CertificateDenied"
REASON_WAITING: Final = "CertificateWaiting"
REASON_BY_OTHERS: Final = "CertificateApprovedByOthers"
RECHECK_SECONDS: Final = ((60.0, 1.0), (600.0, 5.0))
"""(age of the request as we know it, seconds until it is looked at again); kubelets wait for 15 minutes at most."""
RECHECK_LATER_SECONDS: Final = 30.0


class CertificateController:
    """See the module.

    ``token_user`` gives the user name of a Machine's current token, ``drivers`` are those served, ``endpoint`` is the
    API server's URL.
    """

    def __init__(
        self,
        *,
        api: Api,
        requests: RequestCaches,
        machines: Informer[Machine],
        nodes: Informer[Node],
        token_user: Callable[[Machine], str],
        drivers: Collection[str],
        endpoint: str,
        recorder: Recorder,
        clock: Clock,
        workers: int,
    ) -> None:
        self._api = api
        self._requests = requests
        self._machines = machines
        self._nodes = nodes
        self._token_user = token_user
        self._drivers = frozenset(drivers)
        self._endpoint = endpoint
        self._recorder = recorder
        self._clock = clock
        self._since: dict[str, float] = {}
        """When a request that waits was first seen, by its UID."""
        self._told: dict[str, str] = {}
        """What was last said of it, by its UID."""
        self._approved: dict[str, float] = {}
        """When a request was first seen to be approved, by its UID."""
        self._being_approved: set[str] = set()
        """Users whose request is on its way: a second one of theirs must not pass beside it."""
        self.lane: Controller[str] = make_lane("csr", self.reconcile, workers=workers, clock=clock)

    def on_request(self, old: CertificateSigningRequest | None, new: CertificateSigningRequest | None) -> None:
        """A request came, changed or went."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._stop_waiting(old)
            self._approved.pop(old.metadata.uid, None)
        if new is None or not (claimed_machine(new) or requesting_node(new)):
            return
        if not new.status.conditions:
            self.lane.enqueue(new.metadata.name)
            return
        self._stop_waiting(new)
        if is_approved(new) and new.metadata.uid not in self._approved:
            self._approved[new.metadata.uid] = self._clock.monotonic()
            self._tell_of_others(new)

    async def reconcile(self, name: str) -> float | None:
        """Decide about one request; seconds until one that waits is looked at again."""
        csr = self._requests.get(name)
        if csr is None:
            return None
        machine = self._machine_of(csr)
        if machine is None:
            return None
        match verdict := self._decide(csr, machine):
            case Approve():
                return await self._approve(csr, machine)
            case Deny():
                return await self._deny(csr, machine)
            case LeaveAlone():
                return self._wait(csr, machine, verdict)
        return None

    def _machine_of(self, csr: CertificateSigningRequest) -> Machine | None:
        """The Machine in whose name it came: by its token, or by its Node."""
        claimed = claimed_machine(csr)
        if claimed is not None:
            return self._machines.get(claimed)
        name = requesting_node(csr)
        node, named = self._nodes.get(name), self._machines.get(name)
        found = machines_of(node, self._machines) if node is not None else [named] if named is not None else []
        return next((machine for machine in found if machine.spec.node_name == name), None)

    def _decide(self, csr: CertificateSigningRequest, machine: Machine) -> Verdict:
        node = self._nodes.get(machine.spec.node_name)
        if csr.spec.signer_name == CSR_SIGNER_SERVING:
            whose = partial(self._whose, machine)
            return serving.decide(
                serving.Claim(csr=csr, machine=machine, node=node, whose=whose, drivers=self._drivers)
            )
        now, others = self._clock.monotonic(), self._requests.with_the_same_token(csr)
        return client.decide(
            client.Claim(
                csr=csr,
                machine=machine,
                node=node,
                token_user=self._token_user(machine),
                approved={
                    other.metadata.name: now - self._approved.get(other.metadata.uid, now)
                    for other in others
                    if is_approved(other)
                },
                is_latest=not any(is_later(other, csr) for other in others if not other.status.conditions),
                drivers=self._drivers,
            )
        )

    def _whose(self, machine: Machine, wanted: str) -> str:
        """Who besides that Machine has the name or IP address; empty where nobody has.

        Addresses of a Machine's own Node do not count: its kubelet writes them, and could claim those of everybody.
        """
        urls = (self._endpoint, machine.spec.template.join.endpoint)
        if wanted in {canonical_ip(host) or host for url in urls if (host := urlsplit(url).hostname)}:
            return "the API server"
        machines = [self._machines.get(wanted), *self._machines.by_index(MACHINE_BY_IP, wanted)]
        for other in machines:
            if other is not None and other.metadata.uid != machine.metadata.uid:
                return f"Machine {other.metadata.name}"
        for node in (self._nodes.get(wanted), *self._nodes.by_index(NODE_BY_IP, wanted)):
            if node is not None and (node.metadata.name == wanted or not machines_of(node, self._machines)):
                return f"Node {node.metadata.name}"
        return ""

    async def _approve(self, csr: CertificateSigningRequest, machine: Machine) -> float | None:
        user = csr.spec.username
        if user in self._being_approved:
            return RECHECK_SECONDS[0][1]
        with self._alone(user):
            message = f"Token or Node, Machine {machine.metadata.name} and what is asked for name the same machine."
            await self._write(csr, "Approved", REASON_APPROVED, message)
        return None

    @contextlib.contextmanager
    def _alone(self, user: str) -> Iterator[None]:
        self._being_approved.add(user)
        try:
            yield
        finally:
            self._being_approved.discard(user)

    async def _deny(self, csr: CertificateSigningRequest, machine: Machine) -> float | None:
        """Look again at the source: the Machine in the cache may be a moment behind, and a denial is final."""
        try:
            machine = await self._api.get(MACHINES, machine.metadata.name)
        except NotFound:
            return None  # its token went with it
        self._machines.observe(machine)
        with contextlib.suppress(NotFound):
            self._nodes.observe(await self._api.get(NODES, machine.spec.node_name))
        verdict = self._decide(csr, machine)
        if not isinstance(verdict, Deny):
            return RECHECK_SECONDS[0][1]
        why = one_line(verdict.why)
        if await self._write(csr, "Denied", REASON_DENIED, f"Machine {machine.metadata.name}: {why}"):
            _log.warning("certificate denied", request=csr.metadata.name, machine=machine.metadata.name, reason=why)
            self._say(machine, REASON_DENIED, f"CertificateSigningRequest {csr.metadata.name} is denied: {why}")
        return None

    def _wait(self, csr: CertificateSigningRequest, machine: Machine, verdict: LeaveAlone) -> float:
        uid = csr.metadata.uid
        age = self._clock.monotonic() - self._since.setdefault(uid, self._clock.monotonic())
        if age >= verdict.patience and self._told.get(uid) != verdict.why:
            self._told[uid] = verdict.why
            why = one_line(verdict.why)
            _log.warning("certificate waits", request=csr.metadata.name, machine=machine.metadata.name, reason=why)
            self._say(machine, REASON_WAITING, f"CertificateSigningRequest {csr.metadata.name} is left alone: {why}")
        return next((seconds for until, seconds in RECHECK_SECONDS if age < until), RECHECK_LATER_SECONDS)

    def _tell_of_others(self, csr: CertificateSigningRequest) -> None:
        """A token's request that somebody else approved: whoever does so by himself does it for any name."""
        machine = self._machines.get(claimed_machine(csr) or "")
        if machine is None or machine.spec.template.driver not in self._drivers:
            return
        for condition in csr.status.conditions:
            if condition.type == "Approved" and condition.reason != REASON_APPROVED:
                why = (
                    f"CertificateSigningRequest {csr.metadata.name} was not approved by the provider "
                    f"({condition.reason}: {condition.message}); no binding may let requests of bootstrap tokens be "
                    "approved by themselves"
                )
                self._say(machine, REASON_BY_OTHERS, one_line(why))

    def _say(self, machine: Machine, reason: str, message: str) -> None:
        self._recorder.event(("Machine", API_VERSION, machine.metadata), "Warning", reason, message)

    async def _write(self, csr: CertificateSigningRequest, kind: str, reason: str, message: str) -> bool:
        """Set the condition on that very version. False where the request is gone; raises Conflict, ApiError."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        # No two versions of anything have one number, so this is that very request, too, and not the next of its name.
        metadata = {"resourceVersion": csr.metadata.resource_version}
        body = {"metadata": metadata, "status": {"conditions": [condition]}}
        try:
            after = await self._api.patch(CERTIFICATE_SIGNING_REQUESTS, csr.metadata.name, body, subresource="approval")
        except NotFound:
            return False
        metrics.CERTIFICATES.labels(csr.spec.signer_name, kind).inc()
        self._requests.of(csr).observe(after)
        return True

    def _stop_waiting(self, csr: CertificateSigningRequest) -> None:
        self._since.pop(csr.metadata.uid, None)
        self._told.pop(csr.metadata.uid, None)
