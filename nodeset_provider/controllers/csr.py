"""Approves the client certificates of machines that join: each only for its own Node, and only once.

A bootstrap token's holder may ask for a certificate in any Node's name (node-lifecycle pain 10); so a request counts
only if token, group, Machine and subject all name the same Machine (Kubernetes' own approver checks only the form:
``pkg/controller/certificates/approver/sarapprove.go``). Renewals are the Node's own and none of our business.

May touch: CertificateSigningRequests (approval), events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

from nodeset_provider.api.csr import CertificateSigningRequest
from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import (
    API_VERSION,
    BOOTSTRAP_GROUP_MACHINE_PREFIX,
    CSR_SIGNER_CLIENT,
)
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.lanes import make_lane
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.controller import Controller
from nodeset_provider.kube.errors import NotFound
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import CERTIFICATE_SIGNING_REQUESTS

_log = structlog.get_logger(__name__)

FIELD_SELECTOR = f"spec.signerName={CSR_SIGNER_CLIENT}"
"""For the informer: no other request is even seen."""
REASON_APPROVED = "NodesetMachine"
REASON_REFUSED = "CertificateRefused"
RECHECK_SECONDS = 30.0
_REQUIRED_USAGES = frozenset({"client auth", "digital signature"})
_USAGES = _REQUIRED_USAGES | {"key encipherment"}


@dataclass(frozen=True, slots=True)
class Approve:
    """It is that Machine's own request."""

    machine: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """It came with a token of ours and asks for something else. It is left alone, and somebody should know."""

    machine: str
    why: str
    may_pass: bool = False
    """Whether the same request may be right later."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Not ours, or decided already."""


Verdict = Approve | Refuse | Ignore


@dataclass(frozen=True, slots=True)
class Subject:
    """What is read out of the PKCS #10 request; ``problem`` says why it is no kubelet's."""

    common_name: str = ""
    problem: str = ""


def claimed_machine(csr: CertificateSigningRequest) -> str | None:
    """The Machine whose token was used, by the group that only its token gives; None where it is none of ours."""
    groups = [group for group in csr.spec.groups if group.startswith(BOOTSTRAP_GROUP_MACHINE_PREFIX)]
    return groups[0].removeprefix(BOOTSTRAP_GROUP_MACHINE_PREFIX) if len(groups) == 1 else None


def decide(csr: CertificateSigningRequest, machine: Machine | None, node: Node | None, token_user: str) -> Verdict:
    """Whether to sign. Pure.

    ``machine`` is the claimed one, ``node`` the Node of its name, ``token_user`` the user name that the token of its
    current attempt gives.
    """
    claimed = claimed_machine(csr)
    if claimed is None or csr.spec.signer_name != CSR_SIGNER_CLIENT:
        return Ignore()
    if csr.status.certificate or csr.status.conditions:
        return Ignore()
    problem = _problem(csr, machine, token_user)
    if problem:
        return Refuse(claimed, problem)
    if node is not None:
        # The only obstacle that may go. Attempts only go up, and what a request asks for never changes.
        return Refuse(claimed, f"a Node {node.metadata.name} exists already", may_pass=True)
    return Approve(claimed)


def _problem(  # noqa: PLR0911 - one line per rule
    csr: CertificateSigningRequest, machine: Machine | None, token_user: str
) -> str:
    if machine is None:
        return "its Machine does not exist"
    if machine.metadata.deleting:
        return "its Machine is being deleted"
    if csr.spec.username != token_user:
        return f"it came from {csr.spec.username}, not with the token of the Machine's current attempt"
    if machine.status.node_ref is not None:
        return "the Machine has joined already"
    usages = set(csr.spec.usages)
    if not usages >= _REQUIRED_USAGES or not usages <= _USAGES:
        return f"its usages are {', '.join(sorted(usages)) or 'none'}, a kubelet's are {', '.join(sorted(_USAGES))}"
    subject = read_subject(csr.spec.request)
    if subject.problem:
        return subject.problem
    if subject.common_name != f"system:node:{machine.spec.node_name}":
        return f"it asks for {subject.common_name!r}, its Machine's Node is {machine.spec.node_name}"
    return ""


def read_subject(request: bytes) -> Subject:
    """The common name of a kubelet's request: CN and O=system:nodes and nothing else, self-signed, without SANs."""
    try:
        parsed = x509.load_pem_x509_csr(request)
        if not parsed.is_signature_valid:
            return Subject(problem="its signature is wrong")
        extensions = list(parsed.extensions)
        subject = list(parsed.subject)
    except Exception as error:  # noqa: BLE001 - the parser raises many kinds for bytes that a stranger made
        return Subject(problem=f"it is no certificate request ({type(error).__name__})")
    if any(isinstance(extension.value, x509.SubjectAlternativeName) for extension in extensions):
        return Subject(problem="it has subject alternative names, a client certificate has none")
    names = [str(a.value) for a in subject if a.oid == NameOID.COMMON_NAME]
    organizations = [str(a.value) for a in subject if a.oid == NameOID.ORGANIZATION_NAME]
    if len(names) != 1 or organizations != ["system:nodes"] or len(subject) != len(names) + len(organizations):
        return Subject(problem="its subject is not exactly CN=system:node:<name>, O=system:nodes")
    return Subject(common_name=names[0])


class CertificateController:
    """See the module. ``token_user`` gives the user name of a Machine's current token."""

    def __init__(
        self,
        *,
        client: Api,
        requests: Informer[CertificateSigningRequest],
        machines: Informer[Machine],
        nodes: Informer[Node],
        token_user: Callable[[Machine], str],
        recorder: Recorder,
        clock: Clock,
        workers: int,
    ) -> None:
        self._client = client
        self._requests = requests
        self._machines = machines
        self._nodes = nodes
        self._token_user = token_user
        self._recorder = recorder
        self.lane: Controller[str] = make_lane("csr", self.reconcile, workers=workers, clock=clock)

    def on_request(self, _old: CertificateSigningRequest | None, new: CertificateSigningRequest | None) -> None:
        """A request came or changed."""
        if new is not None and not new.status.conditions and claimed_machine(new) is not None:
            self.lane.enqueue(new.metadata.name)

    async def reconcile(self, name: str) -> float | None:
        """Decide about one request; what was refused is looked at again where that may help."""
        csr = self._requests.get(name)
        claimed = claimed_machine(csr) if csr is not None else None
        if csr is None or claimed is None:
            return None
        machine = self._machines.get(claimed)
        node = self._nodes.get(machine.spec.node_name) if machine is not None else None
        verdict = decide(csr, machine, node, self._token_user(machine) if machine is not None else "")
        match verdict:
            case Approve():
                await self._approve(csr)
            case Refuse(claimed, why, may_pass):
                _log.warning("certificate refused", request=name, machine=claimed, reason=why)
                if machine is not None:
                    self._recorder.event(
                        ("Machine", API_VERSION, machine.metadata),
                        "Warning",
                        REASON_REFUSED,
                        f"CertificateSigningRequest {name} is left alone: {why}",
                    )
                return RECHECK_SECONDS if may_pass else None
        return None

    async def _approve(self, csr: CertificateSigningRequest) -> None:
        # Written out: the projection leaves out a status of True, which the API server asks for.
        condition = {
            "type": "Approved",
            "status": "True",
            "reason": REASON_APPROVED,
            "message": "The token, the Machine and the subject of the request name the same machine.",
        }
        body = {
            "metadata": {"name": csr.metadata.name, "resourceVersion": csr.metadata.resource_version},
            "spec": csr.spec,
            "status": {"conditions": [condition]},
        }
        try:
            after = await self._client.replace(
                CERTIFICATE_SIGNING_REQUESTS, csr.metadata.name, body, subresource="approval"
            )
        except NotFound:
            return
        self._requests.observe(after)
