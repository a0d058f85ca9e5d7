"""A kubelet's PKCS #10 request as plain values. Pure; for bytes that a stranger made.

Whoever reads here decides, and kube-controller-manager signs what *its* parser reads. So nothing is accepted that two
parsers may read differently: one PEM block and nothing around it (Go takes the first block it can decode, others the
first of the right type), one attribute (Go reads the requested extensions of PKCS #9 and no other, OpenSSL and
``cryptography`` take Microsoft's too, whichever comes first), no extension but the alternative names, no subject but
one common name and one organization.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

NODES_GROUP: Final = "system:nodes"
NODE_USER_PREFIX: Final = "system:node:"
LIMIT: Final = 16 * 1024
"""Bytes. A kubelet's request with an RSA key of 4096 bits and fifty addresses has four thousand."""

_BLOCK: Final = re.compile(
    rb"\s*-----BEGIN CERTIFICATE REQUEST-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE REQUEST-----\s*"
)
_EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"
_KINDS: Final[dict[type[x509.GeneralName], str]] = {
    x509.RFC822Name: "email address",
    x509.UniformResourceIdentifier: "resource identifier (URI)",
}
_SHOWN: Final = 120
"""Characters of foreign text in a message."""


class NotAKubelets(Exception):
    """No kubelet asks like this. The message says why, for people."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: ``CN=common_name, O=system:nodes`` and nothing else in the subject."""

    common_name: str
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    """IP addresses as ``ipaddress`` writes them."""


def read(pem: bytes) -> Request:
    """What the request asks for. Raises NotAKubelets, for any bytes."""
    if len(pem) > LIMIT:
        raise NotAKubelets(f"it has {len(pem)} bytes, a kubelet's has fewer than {LIMIT}")
    block = _BLOCK.fullmatch(pem)
    if block is None:
        raise NotAKubelets("it is not one PEM block of type CERTIFICATE REQUEST and nothing else")
    try:
        parsed = x509.load_der_x509_csr(b64decode(b"".join(block[1].split()), validate=True))
        is_signed = parsed.is_signature_valid
        attributes = [attribute.oid.dotted_string for attribute in parsed.attributes]
        extensions = list(parsed.extensions)
        subject = list(parsed.subject)
    except Exception as error:  # noqa: BLE001 - the parsers raise many kinds
        raise NotAKubelets(f"it is no certificate request ({type(error).__name__})") from None
    if not is_signed:
        raise NotAKubelets("its signature is wrong")
    if attributes not in ([], [_EXTENSION_REQUEST]):
        raise NotAKubelets("it has other attributes than one list of extensions")
    return Request(_common_name(subject), *_alternative_names(extensions))


def _common_name(subject: list[x509.NameAttribute[str | bytes]]) -> str:
    names = [str(a.value) for a in subject if a.oid == NameOID.COMMON_NAME]
    organizations = [str(a.value) for a in subject if a.oid == NameOID.ORGANIZATION_NAME]
    if len(names) == 1 and organizations == [NODES_GROUP] and len(subject) == len(names) + len(organizations):
        return names[0]
    shown = shorten(", ".join(a.rfc4514_string() for a in subject))
    raise NotAKubelets(f"its subject is {shown!r}, a kubelet's is exactly CN={NODE_USER_PREFIX}<name>, O={NODES_GROUP}")


def _alternative_names(
    extensions: list[x509.Extension[x509.ExtensionType]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """DNS names and IP addresses."""
    dns_names: list[str] = []
    addresses: list[str] = []
    for extension in extensions:
        if not isinstance(extension.value, x509.SubjectAlternativeName):
            raise NotAKubelets(f"it asks for the extension {extension.oid.dotted_string}")
        for name in extension.value:
            if isinstance(name, x509.DNSName):
                dns_names.append(name.value)
            elif isinstance(name, x509.IPAddress):
                addresses.append(str(name.value))
            else:
                kind = _KINDS.get(type(name), "alternative name")
                raise NotAKubelets(f"it asks for the {kind} {shorten(str(name.value))!r}")
    return tuple(dns_names), tuple(addresses)


def usage_problem(usages: Collection[str], purpose: str) -> str:
    """Why these are not a kubelet's key usages for that purpose; empty where they are.

    As kube-controller-manager has it (``pkg/apis/certificates/helpers.go``): key encipherment only comes with RSA keys.
    """
    required = {"digital signature", purpose}
    if required <= set(usages) <= required | {"key encipherment"}:
        return ""
    allowed = ", ".join(sorted(required))
    return f"its usages are {', '.join(sorted(usages)) or 'none'}, a kubelet's are {allowed}, perhaps key encipherment"


def shorten(text: str) -> str:
    """Foreign text, cut to what a message has room for."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
