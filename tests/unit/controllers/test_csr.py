"""A token opens one door once: the certificate of its own machine's Node."""

from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from testbed.objects import machine, node

from nodeset_provider.api.csr import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
)
from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.api.node import Node
from nodeset_provider.controllers.csr import Approve, Ignore, Refuse, decide, read_subject

KEY = ec.generate_private_key(ec.SECP256R1())
USER = "system:bootstrap:abc123"
GROUPS = ["system:bootstrappers", "system:bootstrappers:nodeset", "system:bootstrappers:nodeset:web-a1b2c"]
USAGES = ["digital signature", "client auth"]


def pem(
    name: str = "system:node:web-a1b2c",
    organizations: Sequence[str] = ("system:nodes",),
    sans: Sequence[str] = (),
    unit: str = "",
) -> bytes:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    attributes += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(san) for san in sans]), False)  # noqa: FBT003
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def request(
    body: bytes | None = None, *, status: CertificateSigningRequestStatus | None = None, **spec: object
) -> CertificateSigningRequest:
    fields: dict[str, object] = {
        "request": pem() if body is None else body,
        "signer_name": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": USAGES,
        "username": USER,
        "groups": GROUPS,
        **spec,
    }
    return CertificateSigningRequest(
        metadata=ObjectMeta(name="csr-1"),
        spec=CertificateSigningRequestSpec(**fields),  # type: ignore[arg-type]
        status=status or CertificateSigningRequestStatus(),
    )


def test_machine_gets_the_certificate_of_its_own_node() -> None:
    assert decide(request(), machine(), None, USER) == Approve("web-a1b2c")
    assert isinstance(decide(request(usages=[*USAGES, "key encipherment"]), machine(), None, USER), Approve)


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        (request(pem("system:node:other")), "asks for 'system:node:other'"),
        (request(pem(organizations=["system:masters"])), "subject"),
        (request(pem(organizations=["system:nodes", "system:masters"])), "subject"),
        (request(pem(unit="x")), "subject"),
        (request(pem(sans=["api.example"])), "alternative names"),
        (request(b"garbage"), "no certificate request"),
        (request(username="system:bootstrap:zzz999"), "not with the token"),
        (request(usages=["digital signature", "server auth", "client auth"]), "usages"),
        (request(usages=["client auth"]), "usages"),
        (request(usages=[]), "usages"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_else_is_left_alone_and_said_why(csr: CertificateSigningRequest, why: str) -> None:
    verdict = decide(csr, machine(), None, USER)
    assert isinstance(verdict, Refuse)
    assert why in verdict.why


def test_token_of_a_machine_that_is_gone_going_or_joined_opens_nothing() -> None:
    for owner, there in (
        (None, None),
        (machine(deleting=True), None),
        (machine(node_uid="uid"), None),
        (machine(), node()),
    ):
        assert isinstance(decide(request(), owner, there, USER), Refuse)


def test_only_what_may_pass_is_looked_at_again() -> None:
    def again(csr: CertificateSigningRequest, owner: Machine | None, there: Node | None) -> bool:
        verdict = decide(csr, owner, there, USER)
        assert isinstance(verdict, Refuse)
        return verdict.may_pass

    assert again(request(), machine(), node())
    assert not again(request(), None, None)
    assert not again(request(), machine(deleting=True), None)
    assert not again(request(), machine(node_uid="uid"), None)
    assert not again(request(username="system:bootstrap:zzz999"), machine(), None)
    assert not again(request(pem("system:node:other")), machine(), node())


@pytest.mark.parametrize(
    "csr",
    [
        request(groups=["system:bootstrappers"]),
        request(groups=["system:nodes"], username="system:node:web-a1b2c"),
        request(groups=[*GROUPS, "system:bootstrappers:nodeset:other"]),
        request(signer_name="kubernetes.io/kubelet-serving"),
        request(status=CertificateSigningRequestStatus([CertificateSigningRequestCondition(type="Denied")])),
        request(status=CertificateSigningRequestStatus(certificate=b"cert")),
    ],
    ids=["another token", "a renewal", "two machines", "another signer", "denied", "issued"],
)
def test_what_is_not_ours_or_decided_is_ignored(csr: CertificateSigningRequest) -> None:
    assert decide(csr, machine(), None, USER) == Ignore()


def test_broken_signature_is_seen() -> None:
    der = bytearray(x509.load_pem_x509_csr(pem()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    assert read_subject(broken).problem


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(body: bytes) -> None:
    assert read_subject(body).problem
    assert read_subject(
        b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"\n-----END CERTIFICATE REQUEST-----"
    ).problem
