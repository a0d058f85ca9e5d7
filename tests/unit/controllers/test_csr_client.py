"""A machine gets the client certificate of its own Node, once; whatever else its token asks for is denied."""

from typing import Any, Literal

import pytest
from testbed.certificate_requests import CLIENT, CLIENT_USAGES, SERVING, request_pem
from testbed.objects import condition, machine, node

from nodeset_provider.api.csr import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
)
from nodeset_provider.api.machine import Machine, MachineTemplate
from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.api.names import ANNOTATION_NODE_CLASS, ANNOTATION_PLACEHOLDER
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import Join
from nodeset_provider.controllers.csr.client import SECOND_CHANCE_SECONDS, Claim, decide
from nodeset_provider.controllers.csr.verdict import Approve, Deny, Ignore, LeaveAlone, Verdict

Mode = Literal["Bootstrap", "Kubeadm", "K3s", "EKS"]
USER = "system:bootstrap:abc123"
GROUPS = ["system:bootstrappers", "system:bootstrappers:nodeset", "system:bootstrappers:nodeset:web-a1b2c"]
NODE = "system:node:web-a1b2c"


def request(
    body: bytes | None = None, *, status: CertificateSigningRequestStatus | None = None, **spec: Any
) -> CertificateSigningRequest:
    fields: dict[str, Any] = {
        "request": request_pem(NODE) if body is None else body,
        "signer_name": CLIENT,
        "usages": list(CLIENT_USAGES),
        "username": USER,
        "groups": GROUPS,
        **spec,
    }
    return CertificateSigningRequest(
        metadata=ObjectMeta(name="csr-1", uid="csr-uid"),
        spec=CertificateSigningRequestSpec(**fields),
        status=status or CertificateSigningRequestStatus(),
    )


def judge(
    csr: CertificateSigningRequest | None = None, owner: Machine | None = None, there: Node | None = None, **more: Any
) -> Verdict:
    claim: dict[str, Any] = {
        "csr": csr or request(),
        "machine": owner or machine(),
        "node": there,
        "token_user": USER,
        "drivers": {"faulty"},
        **more,
    }
    return decide(Claim(**claim))


def joining(mode: Mode) -> Machine:
    join = Join(mode=mode)
    return machine(template=MachineTemplate(driver="faulty", node_class_name="small", join=join))


@pytest.mark.parametrize("mode", ["Bootstrap", "Kubeadm"])
def test_a_machine_gets_the_certificate_of_its_own_node(mode: Mode) -> None:
    assert judge(owner=joining(mode)) == Approve()
    assert judge(request(usages=[*CLIENT_USAGES, "key encipherment"])) == Approve()


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        pytest.param(request(request_pem("system:node:other")), "asks for 'system:node:other'", id="another name"),
        pytest.param(request(request_pem("web-a1b2c")), "asks for 'web-a1b2c'", id="no node's name"),
        pytest.param(request(request_pem(NODE, ["system:masters"])), "subject", id="system:masters"),
        pytest.param(request(request_pem(NODE, names=["api.example"])), "api.example", id="a DNS name"),
        pytest.param(request(request_pem(NODE, names=["10.0.0.1"])), "10.0.0.1", id="an address"),
        pytest.param(request(request_pem(NODE, names=["a@b"])), "email", id="an e-mail address"),
        pytest.param(request(request_pem(NODE, names=["x://y"])), "URI", id="a URI"),
        pytest.param(request(b"garbage"), "PEM", id="garbage"),
        pytest.param(request(username="system:bootstrap:zzz999"), "another token", id="an earlier attempt's token"),
        pytest.param(request(username="system:node:other"), "another token", id="no token"),
        pytest.param(request(usages=["digital signature", "server auth", "client auth"]), "usages", id="more usages"),
        pytest.param(request(usages=["client auth"]), "usages", id="fewer usages"),
    ],
)
def test_what_never_will_be_right_is_denied_and_said_why(csr: CertificateSigningRequest, why: str) -> None:
    verdict = judge(csr)
    assert isinstance(verdict, Deny)
    assert why in verdict.why


@pytest.mark.parametrize(
    ("owner", "why"),
    [
        pytest.param(machine(deleting=True), "is being deleted", id="going"),
        pytest.param(machine(node_uid="uid"), "joined already", id="joined"),
        pytest.param(
            machine(conditions=[condition("Launched", "False", "InstanceFailed")]), "over (InstanceFailed", id="failed"
        ),
        pytest.param(
            machine(conditions=[condition("Launched"), condition("Registered", "False", "RegistrationTimeout")]),
            "over (RegistrationTimeout",
            id="too late",
        ),
        pytest.param(joining("K3s"), "K3s", id="a k3s agent"),
        pytest.param(joining("EKS"), "EKS", id="a nodeadm machine"),
    ],
)
def test_the_token_of_a_machine_that_does_not_join_opens_nothing(owner: Machine, why: str) -> None:
    verdict = judge(owner=owner)
    assert isinstance(verdict, Deny)
    assert why in verdict.why


@pytest.mark.parametrize("reason", ["NotSettled", "Throttled"])
def test_a_trouble_that_may_pass_does_not_keep_the_machine_from_joining(reason: str) -> None:
    """A kubelet may be faster than the answer of its cloud."""
    assert judge(owner=machine(conditions=[condition("Launched", "False", reason)])) == Approve()


def test_a_node_that_is_there_already_is_waited_for_unless_the_request_is_wrong_anyway() -> None:
    verdict = judge(there=node())
    assert isinstance(verdict, LeaveAlone)
    assert "Node web-a1b2c exists already" in verdict.why
    assert isinstance(judge(request(request_pem("system:node:other")), there=node()), Deny)


def placeholder(uid: str) -> Node:
    return node(uid=uid, kubelet="", annotations={ANNOTATION_NODE_CLASS: "small"})


def test_the_node_that_the_machine_was_made_for_is_no_obstacle() -> None:
    made_for = machine()
    made_for.metadata.annotations[ANNOTATION_PLACEHOLDER] = "mine"
    assert judge(owner=made_for, there=placeholder("mine")) == Approve()
    assert isinstance(judge(owner=made_for, there=placeholder("anothers")), LeaveAlone)
    assert isinstance(judge(there=placeholder("mine")), LeaveAlone)


def test_a_token_that_is_used_twice_is_told_and_waits_until_nobody_registers_by_its_first_certificate() -> None:
    """A thief comes too late; a kubelet that was restarted before it had its certificate joins nevertheless."""
    verdict = judge(approved={"csr-0": SECOND_CHANCE_SECONDS - 1})
    assert isinstance(verdict, LeaveAlone)
    assert verdict.patience == 0
    assert "csr-0 was approved with it" in verdict.why
    assert judge(approved={"csr-0": SECOND_CHANCE_SECONDS}) == Approve()
    assert isinstance(judge(approved={"csr-0": 1000.0, "csr-00": 1.0}), LeaveAlone)
    assert isinstance(judge(approved={"csr-0": 1000.0}, is_latest=False), LeaveAlone)
    assert isinstance(judge(owner=machine(node_uid="uid"), approved={"csr-0": 1.0}), Deny)


@pytest.mark.parametrize(
    "csr",
    [
        pytest.param(request(groups=["system:bootstrappers"]), id="another token"),
        pytest.param(request(groups=["system:nodes"], username=NODE), id="a renewal"),
        pytest.param(request(groups=[*GROUPS, "system:bootstrappers:nodeset:other"]), id="two machines"),
        pytest.param(request(groups=["system:bootstrappers:others:web-a1b2c"]), id="another provider's group"),
        pytest.param(request(signer_name=SERVING), id="another signer"),
        pytest.param(
            request(status=CertificateSigningRequestStatus([CertificateSigningRequestCondition(type="Denied")])),
            id="denied",
        ),
        pytest.param(request(status=CertificateSigningRequestStatus(certificate=b"cert")), id="issued"),
    ],
)
def test_what_is_not_ours_or_decided_is_ignored(csr: CertificateSigningRequest) -> None:
    assert judge(csr) == Ignore()


def test_machines_of_drivers_that_are_not_served_here_are_another_providers() -> None:
    assert judge(drivers={"libvirt"}) == Ignore()
    assert judge(request(request_pem("system:node:other")), drivers={"libvirt"}) == Ignore()


def test_without_its_machine_nobody_knows_whose_token_it_was() -> None:
    claim = Claim(csr=request(), machine=None, node=None, token_user="", drivers={"faulty"})
    assert decide(claim) == Ignore()
