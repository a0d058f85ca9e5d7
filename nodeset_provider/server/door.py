"""The gRPC server around the front door: port, transport security, health, reflection.

What is asked and answered is the servicer's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from nodeset_provider.config.address import Address
from nodeset_provider.protocol import externalgrpc_pb2

CLOUD_PROVIDER: Final = externalgrpc_pb2.DESCRIPTOR.services_by_name["CloudProvider"].full_name
_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    # A second process on the same port must fail instead of getting every other call.
    ("grpc.so_reuseport", 0),
    # A client that keeps its connection warm (grpc-go: at most every 10 s) is not turned away.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class CannotListen(Exception):
    """The port or socket cannot be had; the message names it."""


class Door:
    """``add_servicer`` puts the service on the server, ``options`` are its wishes; ``credentials`` None: plaintext."""

    def __init__(
        self,
        address: Address,
        *,
        credentials: grpc.ServerCredentials | None,
        add_servicer: Callable[[grpc.aio.Server], None],
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._server = grpc.aio.server(options=(*_OPTIONS, *options))
        add_servicer(self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((CLOUD_PROVIDER, HEALTH_SERVICE, reflection.SERVICE_NAME), self._server)

    async def start(self) -> Address:
        """Listen, with health NOT_SERVING. Returns where; raises CannotListen."""
        await self.set_serving(serving=False)
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(str(self._address))
            else:
                port = self._server.add_secure_port(str(self._address), self._credentials)
        except RuntimeError:
            await self._server.start()  # grpcio only lets a server end in peace that has been started
            await self.stop(0)
            raise CannotListen(
                f"cannot listen on {self._address}: it is in use or not of this machine; choose another address"
            ) from None
        await self._server.start()
        return self._address if self._address.path else Address(host=self._address.host, port=port)

    async def set_serving(self, *, serving: bool) -> None:
        """What health checks are told from now on."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", CLOUD_PROVIDER):
            await self._health.set(service, status)

    async def stop(self, grace: float) -> None:
        """Health NOT_SERVING, no new RPCs; running ones have ``grace`` seconds to end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
