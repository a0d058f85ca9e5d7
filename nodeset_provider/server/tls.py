"""Mutual TLS for the gRPC server, with certificates that are read again when their files change.

gRPC asks for the certificates at every handshake. A look at the files' times costs microseconds, so that a rotated
certificate serves the very next connection; open connections keep theirs. Files that do not fit together (a rotation
that is half written, a wrong key) are not used: the last good ones stay, and the log says why.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from prometheus_client import Gauge

log = structlog.get_logger(__name__)

EXPIRES: Final = Gauge(
    "nodeset_grpc_certificate_expiry_timestamp_seconds", "When the gRPC server's certificate in use ends."
)


class UnusableCertificates(Exception):
    """The files are no working set of certificates; the message names the file and the remedy, never a content."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files."""

    certificate: str
    key: str
    client_ca: str


class ReloadingCredentials:
    """gRPC server credentials of these files. Raises UnusableCertificates where they cannot work at the start."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._state = self._look()
        self.credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            self._load(),
            self._fetch,  # type: ignore[arg-type]  # None is allowed and means: as before
            require_client_authentication=True,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC in a thread of its own at every handshake."""
        with self._lock:
            # Looked at before they are read: what changes in between is seen as a change at the next handshake.
            state = self._look()
            if state == self._state:
                return None
            self._state = state
            try:
                loaded = self._load()
            except UnusableCertificates as error:
                log.error("new certificates cannot be used, the old ones stay", reason=str(error))  # noqa: TRY400
                return None
            log.info("certificates were read again", certificate=self._files.certificate)
            return loaded

    def _look(self) -> Sequence[tuple[int, int, int]]:
        """Times, sizes and inodes. A Secret's mount swaps a link, so that the inode changes with every rotation."""
        found = []
        for path in (self._files.certificate, self._files.key, self._files.client_ca):
            try:
                status = Path(path).stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)

    def _load(self) -> grpc.ServerCertificateConfiguration:
        chain, key, client_ca = (
            _read(path) for path in (self._files.certificate, self._files.key, self._files.client_ca)
        )
        certificate = _certificate(self._files.certificate, chain)
        _certificate(self._files.client_ca, client_ca)
        try:
            private = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError):
            raise UnusableCertificates(
                f"{self._files.key}: is no unencrypted PEM private key; write one without a passphrase"
            ) from None
        if _public(private.public_key()) != _public(certificate.public_key()):
            raise UnusableCertificates(
                f"{self._files.key} does not belong to {self._files.certificate}; write a pair that was made together"
            )
        EXPIRES.set(certificate.not_valid_after_utc.timestamp())
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=client_ca)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnusableCertificates(f"{path}: {error.strerror}; name a file that the provider can read") from None


def _certificate(path: str, pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise UnusableCertificates(
            f"{path}: holds no PEM certificate; write one that begins with BEGIN CERTIFICATE"
        ) from None


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
