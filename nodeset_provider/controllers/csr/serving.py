"""Serving certificates of kubelets: for the names and addresses that the Machine of that very Node has. Pure.

The API server calls a kubelet (logs, exec, metrics) by an address of its Node and believes the certificate that it
shows: whoever has one for another's address can stand in its place. Renewals go the same way.

Some drivers can only ask the machine itself what its addresses are (an agent in it, a login), and whoever has taken
over a machine answers as he likes. So an address that somebody else has too is nobody's until a person has looked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from nodeset_provider.api.csr import CertificateSigningRequest
from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import CSR_SIGNER_SERVING
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.csr.client import claimed_machine
from nodeset_provider.controllers.csr.request import (
    NODE_USER_PREFIX,
    NODES_GROUP,
    NotAKubelets,
    Request,
    read,
    shorten,
    usage_problem,
)
from nodeset_provider.controllers.csr.verdict import Approve, Deny, Ignore, LeaveAlone, Verdict
from nodeset_provider.join.token_use import signs_kubelet_certificates

_IPS = frozenset({"InternalIP", "ExternalIP"})
_NAMES = frozenset({"Hostname", "InternalDNS", "ExternalDNS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request and all that it is judged by."""

    csr: CertificateSigningRequest
    machine: Machine | None
    """The one whose Node, or whose bootstrap token, asks."""
    node: Node | None
    """The Node of its name."""
    whose: Callable[[str], str]
    """Who else has that name or IP address, for people; empty where nobody has."""
    drivers: Collection[str]
    """Those that this process serves."""


def requesting_node(csr: CertificateSigningRequest) -> str:
    """Name of the Node that asks; empty where no Node does."""
    user = csr.spec.username
    return user.removeprefix(NODE_USER_PREFIX) if user.startswith(NODE_USER_PREFIX) else ""


def decide(claim: Claim) -> Verdict:  # noqa: PLR0911 - one line per rule
    """Whether to sign."""
    csr, machine = claim.csr, claim.machine
    if csr.spec.signer_name != CSR_SIGNER_SERVING or csr.status.certificate or csr.status.conditions:
        return Ignore()
    if machine is None or machine.spec.template.driver not in claim.drivers:
        return Ignore()
    if not requesting_node(csr):
        is_ours = claimed_machine(csr) == machine.metadata.name
        return Deny("it came with a bootstrap token, only a Node may ask for this") if is_ours else Ignore()
    if not signs_kubelet_certificates(machine.spec.template.join):
        return Ignore()  # the cloud's own approver does (EKS)
    if machine.metadata.deleting:
        return Deny("its Machine is being deleted")
    try:
        request = read(csr.spec.request)
    except NotAKubelets as error:
        return Deny(str(error))
    if problem := _for_good(claim, machine, request):
        return Deny(problem)
    if problem := _not_registered(claim, machine) or _unknown(machine, request) or _shared(claim, request):
        return LeaveAlone(problem)
    return Approve()


def _for_good(claim: Claim, machine: Machine, request: Request) -> str:
    csr, name = claim.csr, machine.spec.node_name
    if NODES_GROUP not in csr.spec.groups:
        return f"whoever asks is not in the group {NODES_GROUP}"
    if problem := usage_problem(csr.spec.usages, "server auth"):
        return problem
    if request.common_name != csr.spec.username:
        return f"it asks for {shorten(request.common_name)!r}, it came from {shorten(csr.spec.username)}"
    if not request.dns_names and not request.addresses:
        return "it names neither a DNS name nor an address"
    for wanted in request.dns_names:
        if wanted != name and (owner := claim.whose(wanted)):
            return f"it asks for {shorten(wanted)!r}, which is the name of {owner}"
    return ""


def _not_registered(claim: Claim, machine: Machine) -> str:
    reference, node = machine.status.node_ref, claim.node
    if (
        reference is not None
        and node is not None
        and (reference.name, reference.uid)
        == (
            node.metadata.name,
            node.metadata.uid,
        )
    ):
        return ""
    return "its Machine has not registered as this Node; see the condition Registered"


def _unknown(machine: Machine, request: Request) -> str:
    names, addresses = known_names(machine)
    unknown = [name for name in request.dns_names if name not in names]
    unknown += [address for address in request.addresses if address not in addresses]
    if not unknown:
        return ""
    listed = ", ".join(sorted({*names, *addresses}))
    return (
        f"it asks for {shorten(', '.join(unknown))}, the Machine's node name and status.addresses are {listed}; if it "
        "is right, make the driver report it, or `kubectl certificate approve` the request"
    )


def _shared(claim: Claim, request: Request) -> str:
    for address in request.addresses:
        if owner := claim.whose(address):
            return (
                f"it asks for {address}, which {owner} has too; find out whose it is, then take the other away or "
                "`kubectl certificate approve` the request"
            )
    return ""


def known_names(machine: Machine) -> tuple[frozenset[str], frozenset[str]]:
    """The DNS names and the IP addresses that are the machine's; a host name that is an address counts as one."""
    names, addresses = {machine.spec.node_name}, set()
    for known in machine.status.addresses:
        if known.ip and known.type in _IPS | _NAMES:
            addresses.add(known.ip)
        elif known.type in _NAMES and known.address:
            names.add(known.address)
    return frozenset(names), frozenset(addresses)
