"""Certificate requests as kubelets make them, and as forgers would: for tests of who gets a certificate.

Values only. What no library is willing to write is put together from DER here.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
CLIENT_USAGES = ("digital signature", "client auth")
SERVING_USAGES = ("digital signature", "server auth")

_PKCS9_EXTENSIONS = bytes.fromhex("06092a864886f70d01090e")
_MICROSOFT_EXTENSIONS = bytes.fromhex("060a2b06010401823702010e")
_ALTERNATIVE_NAME = bytes.fromhex("0603551d11")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key as kubelets make them."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key, PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request_pem(
    common_name: str,
    organizations: Sequence[str] = ("system:nodes",),
    *,
    names: Sequence[str] = (),
    unit: str = "",
    extensions: Sequence[x509.ExtensionType] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """A PKCS #10 request. ``names``: ``10.0.0.1`` an address, ``a@b`` an e-mail, ``x://y`` a URI, others DNS names."""
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    attributes += [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    attributes += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if names:
        builder = builder.add_extension(_alternative_names(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key or new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def two_faced_pem(common_name: str, *, shown: Sequence[str], signed: Sequence[str]) -> bytes:
    """A request with two lists of names: OpenSSL and ``cryptography`` see ``shown``, Go, and so the signer, ``signed``.

    Microsoft's attribute comes first (DER sorts them: ``shown`` has to be the shorter list); Go reads PKCS #9's only.
    """
    key = new_key()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pair = [_extension_request(_MICROSOFT_EXTENSIONS, shown), _extension_request(_PKCS9_EXTENSIONS, signed)]
    if sorted(pair) != pair:
        raise ValueError("shown must be shorter than signed")
    version = bytes.fromhex("020100")
    body = _tlv(0x30, version + subject.public_bytes() + public + _tlv(0xA0, b"".join(pair)))
    signature = key.sign(body, ec.ECDSA(hashes.SHA256()))
    return pem_block(_tlv(0x30, body + _ECDSA_SHA256 + _tlv(0x03, b"\0" + signature)))


def pem_block(der: bytes, kind: str = "CERTIFICATE REQUEST") -> bytes:
    """Bytes as PEM."""
    return f"-----BEGIN {kind}-----\n".encode() + base64.encodebytes(der) + f"-----END {kind}-----\n".encode()


def manifest(
    name: str, pem: bytes, *, signer: str = CLIENT, usages: Sequence[str] = CLIENT_USAGES, **metadata: Any
) -> dict[str, Any]:
    """The CertificateSigningRequest."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name, **metadata},
        "spec": {"request": base64.b64encode(pem).decode(), "signerName": signer, "usages": list(usages)},
    }


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _general_name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _extension_request(attribute: bytes, names: Sequence[str]) -> bytes:
    value = _tlv(0x04, _alternative_names(names).public_bytes())
    extensions = _tlv(0x30, _tlv(0x30, _ALTERNATIVE_NAME + value))
    return _tlv(0x30, attribute + _tlv(0x31, extensions))


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:  # noqa: PLR2004 - DER's short form
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content
