"""The kubelet's client key and its certificate request (CN system:node:<name>, O system:nodes). Pure.

The key is a function of a secret that the cloud keeps and of the instance, where a real machine has it on its disk: a
boot that is interrupted goes on with the same request.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass, field
from hashlib import sha256, sha512
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
USAGES = ("digital signature", "client auth")
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class Request:
    """``name`` of the CertificateSigningRequest (the same for the same key and subject), its body, and the key."""

    name: str
    body: dict[str, Any]
    key_pem: bytes = field(repr=False)


def make_request(node_name: str, *, secret: bytes, instance_id: str) -> Request:
    """The request of that machine for a client certificate of that node."""
    number = int.from_bytes(hmac.digest(secret, instance_id.encode(), sha512), "big")
    key = ec.derive_private_key(1 + number % (_P256_ORDER - 1), ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node_name}"),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    name = f"node-csr-{sha256(public + node_name.encode()).hexdigest()[:43]}"
    pem = request.public_bytes(serialization.Encoding.PEM)
    return Request(
        name=name,
        body={
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(pem).decode("ascii"),
                "signerName": SIGNER,
                "usages": list(USAGES),
            },
        },
        key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
