"""CA certificates: read from PEM, and fingerprinted as kubeadm and k3s do it."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.request import ClusterAccess

CA_FIELD: Final = "the provider's join.caFile"
_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def pem_blocks(bundle: bytes) -> list[bytes]:
    """The certificates of a bundle, each with a line end; text around them is left out."""
    return [block + b"\n" for block in _BLOCK.findall(bundle.replace(b"\r\n", b"\n"))]


def check_cluster_ca(cluster: ClusterAccess) -> None:
    """Raises InvalidJoin where the cluster's CA is no certificate."""
    if not pem_blocks(cluster.ca_bundle):
        raise InvalidJoin(CA_FIELD, "holds no PEM certificate; name the API server's CA file")


def read_certificates(field: str, bundle: bytes) -> list[x509.Certificate]:
    """The certificates of a bundle. Raises InvalidJoin with ``field`` where there is none, or one is broken."""
    try:
        certificates = [x509.load_pem_x509_certificate(block) for block in pem_blocks(bundle)]
    except ValueError:
        raise InvalidJoin(field, "holds a certificate that cannot be read; give it as PEM") from None
    if not certificates:
        raise InvalidJoin(field, "holds no PEM certificate; it begins with -----BEGIN CERTIFICATE-----")
    return certificates


def public_key_hashes(cluster: ClusterAccess) -> list[str]:
    """As in kubeadm's caCertHashes: ``sha256:`` and the hash of the SubjectPublicKeyInfo, each CA once."""
    hashes = (
        sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
        for certificate in read_certificates(CA_FIELD, cluster.ca_bundle)
    )
    return list(dict.fromkeys(f"sha256:{value}" for value in hashes))


def k3s_ca_hash(cluster: ClusterAccess) -> str:
    """The hash in a k3s token, as a k3s agent computes it of the server's /cacerts (pkg/clientaccess/token.go, hashCA).

    Of one certificate: the file's own bytes, to the last line end; so ``ca_bundle`` must be k3s' server-ca.crt as it is
    (which is what kube-root-ca.crt holds). Of several: the DER of the root that the first one leads to. An agent also
    looks at the validity of the chain; a hash needs no clock.
    """
    certificates = read_certificates(CA_FIELD, cluster.ca_bundle)
    root = _root(certificates) if len(certificates) > 1 else None
    return sha256(cluster.ca_bundle if root is None else root.public_bytes(Encoding.DER)).hexdigest()


def base64_text(data: bytes) -> str:
    """Base64 in one line, as Go's JSON has byte slices."""
    return base64.b64encode(data).decode("ascii")


def _root(certificates: list[x509.Certificate]) -> x509.Certificate | None:
    first, *others = certificates
    current, seen = first, 0
    while seen <= len(others):
        if current in others and _is_root(current):
            return current
        issuer = next((other for other in others if other != current and _issued(other, current)), None)
        if issuer is None:
            return None
        current, seen = issuer, seen + 1
    return None


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _is_root(certificate: x509.Certificate) -> bool:
    """As k3s sorts them: no authority key identifier, or its own."""
    authority = _key_identifier(certificate, x509.AuthorityKeyIdentifier)
    return not authority or authority == _key_identifier(certificate, x509.SubjectKeyIdentifier)


def _key_identifier(
    certificate: x509.Certificate, kind: type[x509.AuthorityKeyIdentifier | x509.SubjectKeyIdentifier]
) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value.key_identifier
    except x509.ExtensionNotFound:
        return None
