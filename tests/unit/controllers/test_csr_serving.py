"""A kubelet gets a serving certificate for what its own machine is called, and for nothing else."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest
from testbed.certificate_requests import CLIENT, SERVING, SERVING_USAGES, request_pem, two_faced_pem
from testbed.objects import machine, node

from nodeset_provider.api.csr import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
)
from nodeset_provider.api.machine import Address, Machine, MachineTemplate
from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeclass import Join
from nodeset_provider.controllers.csr.serving import Claim, decide, known_names
from nodeset_provider.controllers.csr.verdict import PATIENCE_SECONDS, Approve, Deny, Ignore, LeaveAlone, Verdict

Mode = Literal["Bootstrap", "Kubeadm", "K3s", "EKS"]
NODE = "system:node:web-a1b2c"
ADDRESSES = (
    Address("InternalIP", "10.0.0.7"),
    Address("InternalIP", "fd00:0::7"),
    Address("ExternalIP", "192.0.2.7"),
    Address("Hostname", "web-a1b2c"),
    Address("InternalDNS", "web-a1b2c.internal"),
)
OTHERS = {"web-zzzzz": "Machine web-zzzzz", "control-plane": "Node control-plane", "10.0.0.9": "the API server"}
ALL_NAMES = ("web-a1b2c", "web-a1b2c.internal", "10.0.0.7", "fd00::7", "192.0.2.7")


def registered(addresses: Sequence[Address] = ADDRESSES, *, mode: Mode = "Bootstrap", **more: Any) -> Machine:
    template = MachineTemplate(driver="faulty", node_class_name="small", join=Join(mode=mode))
    made = machine(**{"node_uid": "node-uid", "template": template, **more})
    return msgspec.structs.replace(made, status=msgspec.structs.replace(made.status, addresses=list(addresses)))


def request(
    names: Sequence[str] = ("web-a1b2c", "10.0.0.7"),
    *,
    body: bytes | None = None,
    status: CertificateSigningRequestStatus | None = None,
    **spec: Any,
) -> CertificateSigningRequest:
    fields: dict[str, Any] = {
        "request": request_pem(NODE, names=names) if body is None else body,
        "signer_name": SERVING,
        "usages": list(SERVING_USAGES),
        "username": NODE,
        "groups": ["system:nodes", "system:authenticated"],
        **spec,
    }
    return CertificateSigningRequest(
        metadata=ObjectMeta(name="csr-1", uid="csr-uid"),
        spec=CertificateSigningRequestSpec(**fields),
        status=status or CertificateSigningRequestStatus(),
    )


def judge(csr: CertificateSigningRequest | None = None, owner: Machine | None = None, **more: Any) -> Verdict:
    claim: dict[str, Any] = {
        "csr": csr or request(),
        "machine": owner or registered(),
        "node": node(),
        "whose": lambda wanted: OTHERS.get(wanted, ""),
        "drivers": {"faulty"},
        **more,
    }
    return decide(Claim(**claim))


@pytest.mark.parametrize("mode", ["Bootstrap", "Kubeadm"])
def test_a_node_gets_what_its_machine_is_called_all_of_it_or_a_part(mode: Mode) -> None:
    assert judge(request(ALL_NAMES), registered(mode=mode)) == Approve()
    for name in ALL_NAMES:
        assert judge(request([name])) == Approve()
    assert judge(request(usages=[*SERVING_USAGES, "key encipherment"])) == Approve()


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        pytest.param(
            request(["web-zzzzz"]), "'web-zzzzz', which is the name of Machine web-zzzzz", id="another machine"
        ),
        pytest.param(request(["web-a1b2c", "control-plane"]), "name of Node control-plane", id="another Node"),
        pytest.param(request(body=request_pem("system:node:web-zzzzz", names=["10.0.0.7"])), "it came from", id="CN"),
        pytest.param(request(body=request_pem(NODE, ["system:masters"], names=["10.0.0.7"])), "subject", id="O"),
        pytest.param(request(body=request_pem(NODE)), "neither", id="no names"),
        pytest.param(request(["10.0.0.7", "a@b"]), "email", id="e-mail"),
        pytest.param(request(["10.0.0.7", "x://y"]), "URI", id="URI"),
        pytest.param(request(usages=["digital signature", "client auth"]), "usages", id="a client's usages"),
        pytest.param(request(usages=[*SERVING_USAGES, "cert sign"]), "usages", id="an authority's usages"),
        pytest.param(request(groups=["system:authenticated"]), "not in the group", id="no Node"),
        pytest.param(request(body=b"garbage"), "PEM", id="garbage"),
        pytest.param(
            request(body=two_faced_pem(NODE, shown=["web-a1b2c"], signed=["victim.example"])),
            "attributes",
            id="two faces",
        ),
        pytest.param(
            request(
                username="system:bootstrap:abc123",
                groups=["system:bootstrappers:nodeset", "system:bootstrappers:nodeset:web-a1b2c"],
            ),
            "bootstrap token",
            id="a bootstrap token",
        ),
    ],
)
def test_what_never_will_be_right_is_denied_and_said_why(csr: CertificateSigningRequest, why: str) -> None:
    verdict = judge(csr)
    assert isinstance(verdict, Deny)
    assert why in verdict.why


@pytest.mark.parametrize("name", ["10.0.0.8", "::ffff:a00:7", "web-a1b2c.example", "localhost", "kubernetes"])
def test_what_the_machine_does_not_know_is_left_alone_and_named_with_the_remedy(name: str) -> None:
    verdict = judge(request(["web-a1b2c", name]))
    assert isinstance(verdict, LeaveAlone)
    assert f"asks for {name}," in verdict.why
    assert "10.0.0.7" in verdict.why
    assert "kubectl certificate approve" in verdict.why


def test_an_address_that_somebody_else_has_too_is_nobodys_until_a_person_has_looked() -> None:
    taken_over = registered([*ADDRESSES, Address("InternalIP", "10.0.0.9")])
    verdict = judge(request(["10.0.0.7", "10.0.0.9"]), taken_over)
    assert isinstance(verdict, LeaveAlone)
    assert "asks for 10.0.0.9, which the API server has too" in verdict.why
    assert judge(request(["10.0.0.7"]), taken_over) == Approve()


def test_addresses_that_are_not_known_yet_are_waited_for_before_anything_is_said() -> None:
    verdict = judge(owner=registered(addresses=()))
    assert isinstance(verdict, LeaveAlone)
    assert verdict.patience == PATIENCE_SECONDS > 0


@pytest.mark.parametrize(
    ("owner", "there"),
    [
        pytest.param(registered(node_uid=""), node(), id="not registered yet"),
        pytest.param(registered(), node(uid="another"), id="another Node of that name"),
        pytest.param(registered(), None, id="no Node"),
    ],
)
def test_only_the_node_that_the_machine_registered_as_gets_anything(owner: Machine, there: Node | None) -> None:
    assert isinstance(judge(owner=owner, node=there), LeaveAlone)


def test_a_machine_that_goes_gets_nothing_any_more() -> None:
    assert isinstance(judge(owner=registered(deleting=True)), Deny)


@pytest.mark.parametrize(
    "csr",
    [
        pytest.param(request(signer_name=CLIENT), id="another signer"),
        pytest.param(request(username="jane", groups=["system:authenticated"]), id="a person"),
        pytest.param(request(username="system:bootstrap:abc123", groups=["system:bootstrappers"]), id="another token"),
        pytest.param(request(status=CertificateSigningRequestStatus(certificate=b"cert")), id="issued"),
        pytest.param(
            request(status=CertificateSigningRequestStatus([CertificateSigningRequestCondition(type="Denied")])),
            id="denied",
        ),
    ],
)
def test_what_is_not_ours_or_decided_is_ignored(csr: CertificateSigningRequest) -> None:
    assert judge(csr) == Ignore()


@pytest.mark.parametrize("mode", ["EKS", "K3s"])
def test_where_somebody_else_signs_nothing_is_done_and_nothing_said(mode: Mode) -> None:
    assert judge(owner=registered(mode=mode)) == Ignore()


def test_nodes_of_others_are_ignored() -> None:
    assert judge(drivers={"libvirt"}) == Ignore()
    assert decide(Claim(csr=request(), machine=None, node=node(), whose=str, drivers={"faulty"})) == Ignore()


def test_a_host_name_that_is_an_address_counts_as_one_as_for_the_kubelet() -> None:
    odd = registered([Address("Hostname", "10.1.0.1"), Address("InternalIP", "not-an-ip"), Address("Other", "x")])
    assert known_names(odd) == (frozenset({"web-a1b2c"}), frozenset({"10.1.0.1"}))
