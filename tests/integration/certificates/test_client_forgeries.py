"""Whoever has a machine's bootstrap token gets that machine's client certificate, and nothing else for it.

Against a real API server, with the signer and the approver of a real kube-controller-manager beside the provider.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from certificates_lab import REQUESTS, Lab, Victim
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from testbed.api import API
from testbed.certificate_requests import CLIENT_USAGES, SERVING, new_key, pem_block, request_pem, two_faced_pem
from testbed.provider import NAMESPACE, SERVICE_ACCOUNT

pytestmark = pytest.mark.parametrize("cluster", [pytest.param({"kubelets": False}, id="nobody-plays")], indirect=True)


@pytest.fixture(scope="module")
def victims(lab: Lab) -> tuple[Victim, Victim]:
    """Two machines; forgeries with the token of the first leave it as it was."""
    first, second = lab.victims("forged", 2)
    return first, second


@dataclass(frozen=True)
class Forgery:
    """What a thief of the first machine's token asks for, and which words the denial has to have."""

    pem: Callable[[str, str], bytes]
    """Of the first machine's user name and of the second's."""
    why: str
    asked: dict[str, Any] = field(default_factory=dict)


def subject(*organizations: str, names: Sequence[str] = (), **more: Any) -> Callable[[str, str], bytes]:
    """The machine's own name, and something besides."""
    return lambda own, _: request_pem(own, organizations or ("system:nodes",), names=names, **more)


FORGERIES = {
    "another-machines-name": Forgery(lambda _, other: request_pem(other), "its Machine's Node is"),
    "a-control-planes-name": Forgery(lambda _, __: request_pem("system:node:control-plane"), "its Machine's Node is"),
    "an-administrators-name": Forgery(lambda _, __: request_pem("kubernetes-admin"), "its Machine's Node is"),
    "system-masters": Forgery(subject("system:masters"), "O=system:masters"),
    "system-masters-beside-system-nodes": Forgery(subject("system:nodes", "system:masters"), "O=system:masters"),
    "no-organization": Forgery(lambda own, _: request_pem(own, ()), "subject"),
    "an-organizational-unit": Forgery(subject(unit="system:masters"), "OU=system:masters"),
    "an-extra-dns-name": Forgery(subject(names=["kubernetes.default.svc"]), "kubernetes.default.svc"),
    "an-extra-address": Forgery(subject(names=["10.96.0.1"]), "10.96.0.1"),
    "an-extra-email-address": Forgery(subject(names=["root@example.com"]), "email address"),
    "an-extra-uri": Forgery(subject(names=["spiffe://cluster/admin"]), "URI"),
    "an-authoritys-extension": Forgery(
        subject(extensions=[x509.BasicConstraints(ca=True, path_length=None)]), "2.5.29.19"
    ),
    "a-name-that-only-the-signer-reads": Forgery(
        lambda own, _: two_faced_pem(own, shown=["a"], signed=["kubernetes.default.svc"]), "other attributes"
    ),
    "two-requests-in-one": Forgery(lambda own, other: request_pem(own) + request_pem(other), "one PEM block"),
    "words-around-the-request": Forgery(lambda own, _: b"# mine\n" + request_pem(own), "one PEM block"),
    "huge": Forgery(subject(names=[f"name-{number}.example.com" for number in range(5000)]), "bytes"),
    "a-servers-usages": Forgery(subject(), "usages", {"usages": ["digital signature", "server auth"]}),
    "a-servers-usages-besides": Forgery(subject(), "usages", {"usages": [*CLIENT_USAGES, "server auth"]}),
    "an-authoritys-usages": Forgery(subject(), "usages", {"usages": [*CLIENT_USAGES, "cert sign"]}),
    "a-serving-certificate": Forgery(
        subject(names=["10.64.0.10"]),
        "bootstrap token",
        {"signer": SERVING, "usages": ["digital signature", "server auth"]},
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_forgery_is_denied_and_told_on_the_machine(forgery: Forgery, victims: tuple[Victim, Victim]) -> None:
    first, second = victims
    request = first.steal_token().asks(forgery.pem(first.common_name, second.common_name), **forgery.asked)
    decision = request.wait_decided()
    assert (decision["type"], decision["reason"]) == ("Denied", "CertificateDenied")
    assert forgery.why in decision["message"]
    assert first.name in decision["message"]
    assert "certificate" not in request.now["status"]


def test_a_denial_is_told_on_the_machine_whose_token_it_was_and_on_no_other(victims: tuple[Victim, Victim]) -> None:
    first, second = victims
    request = second.steal_token().asks(request_pem(first.common_name))
    request.wait_decided()
    assert first.common_name in second.wait_told("CertificateDenied", f"{request.name} ")
    assert not [message for message in first.warnings("CertificateDenied") if f"{request.name} " in message]


def test_a_forgery_that_is_meddled_with_while_it_is_decided_is_denied(victims: tuple[Victim, Victim]) -> None:
    first, second = victims
    request = first.steal_token().asks(request_pem(second.common_name), annotations={"kind": "forgery"})
    for number in range(50):
        request.annotate(str(number))
    assert request.wait_decided()["type"] == "Denied"
    assert request.now["metadata"]["annotations"] == {"kind": "forgery", "meddled": "49"}


def test_the_api_server_refuses_a_decision_about_another_version_or_another_request_of_that_name(lab: Lab) -> None:
    """What the provider's precondition rests on; the account is the provider's, the request a stranger's."""
    provider = API(lab.cluster.control_plane.kubeconfig_for_service_account(NAMESPACE, SERVICE_ACCOUNT))
    administrator = lab.holder_of(lab.cluster.control_plane.kubeconfig)

    def approve(seen: dict[str, Any]) -> int:
        metadata = {"resourceVersion": seen["resourceVersion"]}
        condition = {"type": "Approved", "status": "True", "reason": "Test", "message": ""}
        body = {"metadata": metadata, "status": {"conditions": [condition]}}
        return provider.patch(f"{REQUESTS}/{seen['name']}/approval", body).status

    request = administrator.asks(request_pem("nobody"))
    before = request.now["metadata"]
    request.annotate("meddled")
    assert approve(before) == 409
    request.delete()
    administrator.asks(request_pem("somebody"), name=request.name)
    assert approve(before) == 409
    assert not request.decision
    assert approve(request.now["metadata"]) == 200


def test_the_api_server_refuses_what_is_no_request(victims: tuple[Victim, Victim]) -> None:
    thief = victims[0].steal_token()
    for pem in (b"garbage", pem_block(b"garbage"), request_pem("system:node:a").replace(b"REQUEST", b"")):
        assert thief.tries(pem)[0].status == 422


def test_a_token_may_do_nothing_else(victims: tuple[Victim, Victim]) -> None:
    api = victims[0].steal_token().api
    for path in ("nodes", "pods", "namespaces/kube-system/secrets", "namespaces/kube-system/configmaps"):
        assert api.get(f"/api/v1/{path}").status == 403
    assert api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}}).status == 403


def test_signers_that_are_not_a_kubelets_are_nobodys_business(lab: Lab, victims: tuple[Victim, Victim]) -> None:
    first, _ = victims
    thief = first.steal_token()
    others = [
        thief.asks(request_pem(first.common_name), signer=signer)
        for signer in ("kubernetes.io/kube-apiserver-client", "example.com/mesh")
    ]
    thief.asks(request_pem("system:node:later")).wait_decided()
    for request in others:
        assert not request.decision
        assert not lab.events_about(request)


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param("system:bootstrappers:others,system:bootstrappers:others:{0}", id="another-providers-token"),
        pytest.param("system:bootstrappers:kubeadm:default-node-token", id="kubeadms-token"),
        pytest.param("system:bootstrappers:nodeset:{0},system:bootstrappers:nodeset:{1}", id="a-token-of-two-machines"),
        pytest.param("system:bootstrappers:nodeset:nobody", id="a-token-of-no-machine"),
    ],
)
def test_a_strangers_request_is_left_alone_silently(lab: Lab, victims: tuple[Victim, Victim], groups: str) -> None:
    first, second = victims
    extra = groups.format(first.name, second.name)
    with lab.token(extra, may_ask=True) as stranger:
        request = stranger.asks(request_pem(first.common_name))
        first.steal_token().asks(request_pem("system:node:later")).wait_decided()
        assert not request.decision
        assert not lab.events_about(request)


def test_requests_of_machines_of_another_provider_are_neither_touched_nor_complained_about(
    lab: Lab, victims: tuple[Victim, Victim]
) -> None:
    machine = {
        "apiVersion": "nodeset.dev/v1alpha1",
        "kind": "Machine",
        "metadata": {"name": "foreign-1"},
        "spec": {"nodeName": "foreign-1", "template": {"driver": "another", "nodeClassName": "foreign"}},
    }
    lab.world.apply(machine)
    with lab.token("system:bootstrappers:nodeset,system:bootstrappers:nodeset:foreign-1") as kubelet:
        requests = [kubelet.asks(request_pem(f"system:node:{name}")) for name in ("foreign-1", "somebody-else")]
        victims[0].steal_token().asks(request_pem("system:node:later")).wait_decided()
        for request in requests:
            assert not request.decision
            assert not lab.events_about(request)
    lab.world.delete("machine", "foreign-1")


def test_the_token_of_an_attempt_that_is_closed_opens_nothing(lab: Lab) -> None:
    (victim,) = lab.victims("retried", 1)
    thief = victim.steal_token()
    victim.patch_status({"attempt": 2})
    decision = thief.asks(request_pem(victim.common_name)).wait_decided()
    assert decision["type"] == "Denied"
    assert "current attempt has another token" in decision["message"]


def test_an_expired_token_is_refused_by_the_api_server(lab: Lab) -> None:
    with lab.token("system:bootstrappers:nodeset,system:bootstrappers:nodeset:any", expires_in=-1) as late:
        assert late.tries(request_pem("system:node:any"))[0].status == 401


def test_a_machine_gets_its_certificate_and_a_replay_after_its_registration_gets_none(lab: Lab) -> None:
    (victim,) = lab.victims("honest", 1)
    thief, secret = victim.steal_token(), victim.token_secret
    kubelet = victim.becomes_node()
    assert kubelet.api.get(f"/api/v1/nodes/{victim.name}").status == 200
    lab.world.wait(lambda: thief.api.get("/api").status == 401, "the token opens nothing any more")
    assert not victim.token_secret
    with lab.restored(secret):
        decision = thief.asks(request_pem(victim.common_name)).wait_decided()
    assert decision["type"] == "Denied"
    assert "has joined already" in decision["message"]
    victim.wait_told("CertificateDenied", "has joined already")


def test_what_is_issued_is_the_nodes_name_and_nothing_else(lab: Lab) -> None:
    (victim,) = lab.victims("plain", 1)
    certificate = victim.steal_token().asks(request_pem(victim.common_name)).wait_issued()
    attributes = [(attribute.oid, attribute.value) for attribute in certificate.subject]
    assert attributes == [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, victim.common_name)]
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_token_that_is_used_twice_is_told_and_the_second_user_comes_too_late(lab: Lab) -> None:
    (victim,) = lab.victims("twice", 1)
    thief, key = victim.steal_token(), new_key()
    first = thief.asks(request_pem(victim.common_name, key=key))
    certificate = first.wait_issued()
    second = thief.asks(request_pem(victim.common_name))
    victim.wait_told("CertificateWaiting", f"{second.name} ", f"{first.name} was approved with it")
    assert not second.decision
    victim.registers(key, certificate)
    decision = second.wait_decided()
    assert decision["type"] == "Denied"
    assert "has joined already" in decision["message"]


def test_a_node_that_is_not_the_machines_own_keeps_its_certificate_back(lab: Lab) -> None:
    (victim,) = lab.victims("taken", 1)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": victim.name}, "spec": {"providerID": "other://1"}}
    assert lab.admin.create("/api/v1/nodes", node).status == 201
    request = victim.steal_token().asks(request_pem(victim.common_name))
    victim.wait_told("CertificateWaiting", f"{request.name} ", f"Node {victim.name} exists already")
    assert not request.decision
    lab.world.delete("node", victim.name)
    assert request.wait_decided()["type"] == "Approved"


def test_the_machine_of_a_k3s_class_gets_no_certificate_by_a_request(lab: Lab) -> None:
    (victim,) = lab.victims("k3s", 1, join={"mode": "K3s"})
    decision = victim.steal_token().asks(request_pem(victim.common_name)).wait_decided()
    assert decision["type"] == "Denied"
    assert "join mode K3s" in decision["message"]


def test_nothing_of_a_token_is_in_the_log_or_in_any_event(lab: Lab, victims: tuple[Victim, Victim]) -> None:
    secret = victims[0].token.partition(".")[2]
    assert secret not in lab.cluster.provider.log.read_text()
    assert secret not in json.dumps(lab.world.items("events", "--all-namespaces"))
