"""The certificate requests that are seen at all: those for the two signers of kubelets' certificates."""

from __future__ import annotations

import asyncio
from typing import Final

from nodeset_provider.api.csr import CertificateSigningRequest
from nodeset_provider.api.names import CSR_SIGNER_CLIENT, CSR_SIGNER_SERVING
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.informer import Handler, Informer
from nodeset_provider.kube.resources import CERTIFICATE_SIGNING_REQUESTS

_BY_USER: Final = "user"


class RequestCaches:
    """One cache for each signer.

    Field selectors know no "or": each signer has a watch of its own, which costs a connection, where one watch for all
    would carry every certificate of every service mesh.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        def cache(signer: str, name: str) -> Informer[CertificateSigningRequest]:
            return Informer(
                client,
                CERTIFICATE_SIGNING_REQUESTS,
                name=f"{CERTIFICATE_SIGNING_REQUESTS.plural}/{name}",
                field_selector=f"spec.signerName={signer}",
                indexers={_BY_USER: lambda csr: (csr.spec.username,)},
                clock=clock,
            )

        self.client = cache(CSR_SIGNER_CLIENT, "client")
        self.serving = cache(CSR_SIGNER_SERVING, "serving")

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for cache in (self.client, self.serving):
                tasks.create_task(cache.run())

    async def wait_synced(self) -> None:
        """Return once both first lists are complete."""
        await asyncio.gather(self.client.wait_synced(), self.serving.wait_synced())

    def add_handler(self, handler: Handler[CertificateSigningRequest]) -> None:
        """As Informer's, for both."""
        self.client.add_handler(handler)
        self.serving.add_handler(handler)

    def of(self, csr: CertificateSigningRequest) -> Informer[CertificateSigningRequest]:
        """The cache that a request belongs to."""
        return self.client if csr.spec.signer_name == CSR_SIGNER_CLIENT else self.serving

    def get(self, name: str) -> CertificateSigningRequest | None:
        """The request of that name."""
        return self.client.get(name) or self.serving.get(name)

    def with_the_same_token(self, csr: CertificateSigningRequest) -> list[CertificateSigningRequest]:
        """The other client requests of the same user."""
        found = self.client.by_index(_BY_USER, csr.spec.username)
        return [other for other in found if other.metadata.uid != csr.metadata.uid]


def is_approved(csr: CertificateSigningRequest) -> bool:
    """Whether somebody has approved it."""
    return any(condition.type == "Approved" for condition in csr.status.conditions)


def is_later(one: CertificateSigningRequest, other: CertificateSigningRequest) -> bool:
    """Whether it was made after the other; those of one second have some order, and always the same."""
    return _made(one) > _made(other)


def _made(csr: CertificateSigningRequest) -> tuple[str, str]:
    return csr.metadata.creation_timestamp or "", csr.metadata.uid
