from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nodeset_provider.join import ClusterAccess, InvalidJoin
from nodeset_provider.join.certificates import k3s_ca_hash, pem_blocks, public_key_hashes, read_certificates

GOLDEN_KEY_HASH = "5f494a8b74ce3aa0d2196738285fbba4f175aacff009bdbf89f5c6912f981b6a"
"""openssl x509 -in golden/ca.crt -pubkey -noout | openssl pkey -pubin -outform der | sha256sum"""
GOLDEN_FILE_HASH = "deb95731dc119d52db8529b36e82846e685d0f5fee91cd73fa58b03b08ff1cca"
"""sha256sum golden/ca.crt"""


class Certificate:
    """A CA, signed by another one or by itself, with key identifiers as usual CAs have them, or without."""

    def __init__(self, name: str, issuer: Certificate | None = None, *, identifiers: bool = True) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        signer = issuer or self
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=signer.name,
            subject_name=self.name,
            public_key=self.key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(hours=1),
            not_valid_after=now + timedelta(hours=1),
        )
        if identifiers:
            own = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
            authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
            builder = builder.add_extension(own, critical=False).add_extension(authority, critical=False)
        self.certificate = builder.sign(signer.key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.hash = sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def access(bundle: bytes) -> ClusterAccess:
    return ClusterAccess(endpoint="https://a", ca_bundle=bundle)


def test_kubeadms_hash_is_openssls_of_the_public_key(cluster_access: ClusterAccess) -> None:
    assert public_key_hashes(cluster_access) == [f"sha256:{GOLDEN_KEY_HASH}"]


def test_every_ca_of_the_bundle_is_pinned_once(cluster_access: ClusterAccess) -> None:
    other = Certificate("other")
    bundle = cluster_access.ca_bundle + b"a comment\r\n" + other.pem.replace(b"\n", b"\r\n") + cluster_access.ca_bundle
    pinned = public_key_hashes(access(bundle))
    assert pinned[0] == f"sha256:{GOLDEN_KEY_HASH}"
    assert len(pinned) == 2


def test_k3s_hash_of_one_certificate_is_that_of_the_file(cluster_access: ClusterAccess) -> None:
    assert k3s_ca_hash(cluster_access) == GOLDEN_FILE_HASH
    reformatted = replace(cluster_access, ca_bundle=cluster_access.ca_bundle + b"\n")
    assert k3s_ca_hash(reformatted) != GOLDEN_FILE_HASH


@pytest.mark.parametrize("identifiers", [True, False])
def test_k3s_hash_of_a_chain_is_that_of_its_root(*, identifiers: bool) -> None:
    root = Certificate("root", identifiers=identifiers)
    intermediate = Certificate("intermediate", root)
    server = Certificate("k3s-server-ca", intermediate)
    stranger = Certificate("stranger")
    for rest in ((intermediate, root), (root, stranger, intermediate)):
        bundle = server.pem + b"".join(other.pem for other in rest)
        assert k3s_ca_hash(access(bundle)) == root.hash


def test_k3s_hash_of_two_that_do_not_belong_together_is_that_of_the_file() -> None:
    bundle = Certificate("one").pem + Certificate("two").pem
    assert k3s_ca_hash(access(bundle)) == sha256(bundle).hexdigest()


def test_same_name_of_another_key_is_no_issuer() -> None:
    root, impostor = Certificate("root"), Certificate("root")
    bundle = Certificate("server", root).pem + impostor.pem
    assert k3s_ca_hash(access(bundle)) == sha256(bundle).hexdigest()


def test_broken_certificates_are_refused_with_their_field() -> None:
    for bundle in (
        b"",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----",
    ):
        with pytest.raises(InvalidJoin) as caught:
            read_certificates("spec.join.caCertificates[0]", bundle)
        assert caught.value.field == "spec.join.caCertificates[0]"


def test_blocks_come_without_what_is_around_them(cluster_access: ClusterAccess) -> None:
    bundle = b"subject=/CN=kubernetes\n" + cluster_access.ca_bundle + b"\n\n" + cluster_access.ca_bundle.rstrip()
    assert pem_blocks(bundle) == [cluster_access.ca_bundle] * 2
