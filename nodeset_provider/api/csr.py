"""certificates.k8s.io/v1 CertificateSigningRequest, as much of it as we read."""

from __future__ import annotations

from nodeset_provider.api.meta import APIStruct, ObjectMeta


class CertificateSigningRequestSpec(APIStruct, frozen=True):
    request: bytes
    """The PEM of the PKCS #10 request (base64 on the wire)."""
    signer_name: str
    usages: list[str] = []
    username: str = ""
    groups: list[str] = []


class CertificateSigningRequestCondition(APIStruct, frozen=True):
    type: str
    status: str = "True"
    reason: str = ""
    message: str = ""


class CertificateSigningRequestStatus(APIStruct, frozen=True):
    conditions: list[CertificateSigningRequestCondition] = []
    certificate: bytes = b""


class CertificateSigningRequest(APIStruct, frozen=True):
    metadata: ObjectMeta
    spec: CertificateSigningRequestSpec
    status: CertificateSigningRequestStatus = CertificateSigningRequestStatus()
