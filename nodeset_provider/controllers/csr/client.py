"""Client certificates of machines that join: each only for its own Node, and only once. Pure.

A bootstrap token's holder may ask for a certificate in any Node's name (node-lifecycle pain 10); so a request counts
only if token, group, Machine and subject all name the same Machine. Kubernetes' own approver checks only the form
(``pkg/controller/certificates/approver/sarapprove.go``), which is why our group is not bound to ``nodeclient``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from nodeset_provider.api.csr import CertificateSigningRequest
from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import (
    BOOTSTRAP_GROUP_MACHINE_PREFIX,
    CONDITION_LAUNCHED,
    CONDITION_REGISTERED,
    CSR_SIGNER_CLIENT,
    REASON_REGISTRATION_TIMEOUT,
)
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.csr.request import NODE_USER_PREFIX, NotAKubelets, read, shorten, usage_problem
from nodeset_provider.controllers.csr.verdict import Approve, Deny, Ignore, LeaveAlone, Verdict
from nodeset_provider.controllers.machine.observed import has_failed
from nodeset_provider.controllers.placeholder.recognise import is_placeholder_of
from nodeset_provider.join.token_use import signs_kubelet_certificates

SECOND_CHANCE_SECONDS: Final = 60.0
"""How long a kubelet that has its certificate may take to register; then another request with its token is granted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request and all that it is judged by."""

    csr: CertificateSigningRequest
    machine: Machine | None
    """The one that :func:`claimed_machine` names."""
    node: Node | None
    """The Node of its name."""
    token_user: str
    """The user name that the token of its current attempt gives."""
    approved: Mapping[str, float] = field(default_factory=dict)
    """Names of the other requests of the same user that were approved, and how many seconds ago at least."""
    is_latest: bool = True
    """Whether no later one of the same user waits."""
    drivers: Collection[str]
    """Those that this process serves."""


def claimed_machine(csr: CertificateSigningRequest) -> str | None:
    """The Machine whose token was used, by the group that only its token gives; None where it is none of ours."""
    groups = [group for group in csr.spec.groups if group.startswith(BOOTSTRAP_GROUP_MACHINE_PREFIX)]
    return groups[0].removeprefix(BOOTSTRAP_GROUP_MACHINE_PREFIX) if len(groups) == 1 else None


def decide(claim: Claim) -> Verdict:
    """Whether to sign."""
    csr, machine = claim.csr, claim.machine
    if csr.spec.signer_name != CSR_SIGNER_CLIENT or csr.status.certificate or csr.status.conditions:
        return Ignore()
    # Without its Machine nobody can say whose token it was; it went with the Machine.
    if claimed_machine(csr) is None or machine is None or machine.spec.template.driver not in claim.drivers:
        return Ignore()
    problem = _about_the_machine(claim, machine) or _about_the_request(csr, machine)
    if problem:
        return Deny(problem)
    if claim.node is not None and not is_placeholder_of(claim.node, machine):
        # It may go. All that was looked at before never gets better: attempts only go up, a spec never changes.
        return LeaveAlone(f"a Node {claim.node.metadata.name} exists already; delete it if its machine is gone")
    return _used_before(claim) or Approve()


def _used_before(claim: Claim) -> Verdict | None:
    """A token that was used before is a thief's, or a kubelet's that was restarted before it had its certificate.

    The kubelet makes a new key and a new request then (client-go ``util/certificate``). Whichever of two has its
    certificate registers, and the other one is too late for good.
    """
    if not claim.approved:
        return None
    name, ago = min(claim.approved.items(), key=lambda item: item[1])
    if ago >= SECOND_CHANCE_SECONDS and claim.is_latest:
        return None
    return LeaveAlone(
        f"the token was used before, {name} was approved with it; it is approved too if no Node registers within "
        f"{SECOND_CHANCE_SECONDS:g} s and no later request comes",
        patience=0.0,
    )


def _about_the_machine(claim: Claim, machine: Machine) -> str:
    csr = claim.csr
    if not signs_kubelet_certificates(machine.spec.template.join):
        return f"machines of join mode {machine.spec.template.join.mode} get no certificate by a request"
    if machine.metadata.deleting:
        return "its Machine is being deleted"
    if csr.spec.username != claim.token_user:
        return f"it came from {csr.spec.username}, the Machine's current attempt has another token"
    if machine.status.node_ref is not None:
        return "its Machine has joined already"
    if over := _why_over(machine):
        return f"this attempt of its Machine is over ({over})"
    return ""


def _why_over(machine: Machine) -> str:
    conditions = machine.status.conditions
    launched, registered = (find_condition(conditions, kind) for kind in (CONDITION_LAUNCHED, CONDITION_REGISTERED))
    if launched is not None and has_failed(machine):
        return launched.reason
    if registered is not None and registered.reason == REASON_REGISTRATION_TIMEOUT:
        return registered.reason
    return ""


def _about_the_request(csr: CertificateSigningRequest, machine: Machine) -> str:
    if problem := usage_problem(csr.spec.usages, "client auth"):
        return problem
    try:
        request = read(csr.spec.request)
    except NotAKubelets as error:
        return str(error)
    if request.dns_names or request.addresses:
        names = shorten(", ".join([*request.dns_names, *request.addresses]))
        return f"it has the alternative names {names!r}, a client certificate has none"
    if request.common_name != f"{NODE_USER_PREFIX}{machine.spec.node_name}":
        return f"it asks for {shorten(request.common_name)!r}, its Machine's Node is {machine.spec.node_name}"
    return ""
