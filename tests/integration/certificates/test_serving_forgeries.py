"""A Node gets a serving certificate for its own machine's names and addresses, and for nothing else.

Against a real API server, whose NodeRestriction and signer have their own say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from certificates_lab import Holder, Lab, Request, Victim
from cryptography import x509
from testbed.certificate_requests import SERVING, SERVING_USAGES, request_pem, two_faced_pem

pytestmark = pytest.mark.parametrize("cluster", [pytest.param({"kubelets": False}, id="nobody-plays")], indirect=True)


@dataclass(frozen=True)
class Joined:
    """A machine that has registered, and its kubelet."""

    victim: Victim
    kubelet: Holder

    @property
    def name(self) -> str:
        """Of Machine and Node."""
        return self.victim.name

    @property
    def address(self) -> str:
        """Its only address, as the cloud says."""
        (entry,) = self.victim.now["status"]["addresses"]
        return str(entry["address"])

    def asks(self, *names: str, pem: bytes = b"", usages: tuple[str, ...] = SERVING_USAGES) -> Request:
        """Its kubelet asks for a serving certificate."""
        body = pem or request_pem(self.victim.common_name, names=names)
        return self.kubelet.asks(body, signer=SERVING, usages=usages)


@pytest.fixture(scope="module")
def joined(lab: Lab) -> tuple[Joined, Joined]:
    """Two of them; forgeries of the first leave it as it was."""
    first, second = (Joined(victim, victim.becomes_node()) for victim in lab.victims("joined", 2))
    return first, second


FORGERIES: dict[str, tuple[Callable[[Joined, Joined], Request], str]] = {
    "another-machines-name": (lambda own, other: own.asks(own.address, other.name), "which is the name of Machine"),
    "another-machines-name-alone": (lambda own, other: own.asks(other.name), "which is the name of Machine"),
    "system-masters": (
        lambda own, _: own.asks(pem=request_pem(own.victim.common_name, ["system:masters"], names=[own.address])),
        "O=system:masters",
    ),
    "system-masters-besides": (
        lambda own, _: own.asks(
            pem=request_pem(own.victim.common_name, ["system:nodes", "system:masters"], names=[own.address])
        ),
        "O=system:masters",
    ),
    "no-names": (lambda own, _: own.asks(), "neither a DNS name nor an address"),
    "an-extra-email-address": (lambda own, _: own.asks(own.address, "root@example.com"), "email address"),
    "an-extra-uri": (lambda own, _: own.asks(own.address, "spiffe://cluster/admin"), "URI"),
    "a-name-that-only-the-signer-reads": (
        lambda own, _: own.asks(
            pem=two_faced_pem(own.victim.common_name, shown=[own.name], signed=["kubernetes.default.svc.example"])
        ),
        "other attributes",
    ),
    "two-requests-in-one": (
        lambda own, other: own.asks(
            pem=request_pem(own.victim.common_name, names=[own.address])
            + request_pem(own.victim.common_name, names=[other.address])
        ),
        "one PEM block",
    ),
    "huge": (lambda own, _: own.asks(*(f"name-{number}.example.com" for number in range(5000))), "bytes"),
    "a-clients-usages": (
        lambda own, _: own.asks(own.address, usages=("digital signature", "client auth")),
        "usages",
    ),
    "a-clients-usages-besides": (
        lambda own, _: own.asks(own.address, usages=(*SERVING_USAGES, "client auth")),
        "usages",
    ),
}


@pytest.mark.parametrize(("forge", "why"), FORGERIES.values(), ids=FORGERIES)
def test_forgery_is_denied_and_told_on_the_machine(
    joined: tuple[Joined, Joined], forge: Callable[[Joined, Joined], Request], why: str
) -> None:
    first, second = joined
    request = forge(first, second)
    decision = request.wait_decided()
    assert decision["type"] == "Denied"
    assert why in decision["message"]
    assert "certificate" not in request.now["status"]


UNKNOWN: dict[str, Callable[[Joined, Joined], str]] = {
    "another-machines-address": lambda _, other: other.address,
    "the-api-servers-address": lambda *_: "10.96.0.1",
    "the-api-servers-name": lambda *_: "kubernetes.default.svc",
    "a-longer-name": lambda own, _: f"{own.name}.example.com",
    "localhost": lambda *_: "localhost",
}


def test_what_the_machine_does_not_know_is_left_alone_and_named_with_the_remedy(joined: tuple[Joined, Joined]) -> None:
    first, second = joined
    wanted = [name(first, second) for name in UNKNOWN.values()]
    requests = [first.asks(first.name, first.address, name) for name in wanted]
    for request, name in zip(requests, wanted, strict=True):
        message = first.victim.wait_told("CertificateWaiting", f"{request.name} ", f"asks for {name},")
        assert first.address in message
        assert not request.decision


def test_a_node_gets_what_its_machine_is_called_and_again_when_it_renews(joined: tuple[Joined, Joined]) -> None:
    first, _ = joined
    for _ in range(2):
        certificate = first.asks(first.name, first.address).wait_issued()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [first.name]
        assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == [first.address]


def test_an_address_that_becomes_known_is_approved_within_seconds(lab: Lab) -> None:
    (victim,) = lab.victims("late", 1)
    machine = Joined(victim, victim.becomes_node())
    request = machine.asks("192.0.2.7", machine.name)
    addresses = victim.now["status"]["addresses"]
    victim.patch_status({"addresses": [*addresses, {"type": "ExternalIP", "address": "192.0.2.7"}]})
    lab.world.wait(lambda: bool(request.decision), "it is decided", seconds=20)
    assert request.decision["type"] == "Approved"
    assert not victim.warnings("CertificateWaiting")


def test_the_api_server_refuses_a_node_the_name_of_another(joined: tuple[Joined, Joined]) -> None:
    """NodeRestriction; decided alike by ourselves (unit tests), where somebody has switched it off."""
    first, second = joined
    pem = request_pem(second.victim.common_name, names=[second.address])
    answer, _ = first.kubelet.tries(pem, signer=SERVING, usages=SERVING_USAGES)
    assert answer.status == 403


def test_a_person_in_no_nodes_group_gets_no_nodes_certificate(lab: Lab, joined: tuple[Joined, Joined]) -> None:
    first, _ = joined
    pair = lab.cluster.control_plane.issue(first.victim.common_name, organizations=["system:masters"])
    masquerade = lab.holder(key=pair.key, certificate=pair.certificate)
    pem = request_pem(first.victim.common_name, names=[first.address])
    decision = masquerade.asks(pem, signer=SERVING, usages=SERVING_USAGES).wait_decided()
    assert decision["type"] == "Denied"
    assert "not in the group system:nodes" in decision["message"]


def test_nodes_that_are_not_ours_are_left_alone_silently(lab: Lab, joined: tuple[Joined, Joined]) -> None:
    pair = lab.cluster.control_plane.issue("system:node:control-plane", organizations=["system:nodes"])
    other = lab.holder(key=pair.key, certificate=pair.certificate)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "control-plane"}}
    assert lab.admin.create("/api/v1/nodes", node).status == 201
    pem = request_pem("system:node:control-plane", names=["10.0.0.1"])
    request = other.asks(pem, signer=SERVING, usages=SERVING_USAGES)
    joined[0].asks(joined[0].name).wait_decided()
    assert not request.decision
    assert not lab.events_about(request)
    lab.world.delete("node", "control-plane")


def test_a_renewal_of_the_client_certificate_is_the_controller_managers_business(joined: tuple[Joined, Joined]) -> None:
    first, _ = joined
    request = first.kubelet.asks(request_pem(first.victim.common_name))
    request.wait_issued()
    assert request.decision["reason"] == "AutoApproved"
