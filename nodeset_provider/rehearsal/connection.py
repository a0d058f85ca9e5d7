"""The way to a provider: a synchronous gRPC channel as the autoscaler's own client opens it, and one call over it.

Knows addresses, certificates, deadlines and status codes; knows nothing of what the calls mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from nodeset_provider.protocol import externalgrpc_pb2 as pb

GRPC_TIMEOUT: Final = 5.0
"""Seconds that the autoscaler gives a call where its cloud-config has no ``grpc_timeout``."""

SERVICE: Final = pb.DESCRIPTOR.services_by_name["CloudProvider"]
_TYPES: Final[Mapping[str, tuple[type[Message], type[Message]]]] = {
    method.name: (GetMessageClass(method.input_type), GetMessageClass(method.output_type)) for method in SERVICE.methods
}
RPCS: Final = frozenset(_TYPES)
"""Names of the protocol's RPCs."""


def request_type(rpc: str) -> type[Message]:
    """The message that ``rpc`` takes."""
    return _TYPES[rpc][0]


class ConnectionSettingsError(ValueError):
    """The certificates given do not make a connection; the message names the option."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the provider listens; the fields of the autoscaler's cloud-config.

    Plaintext without ``cert``. With it all three files are needed (mutual TLS), and the host part of ``address`` has
    to be a name in the server's certificate, as for the autoscaler itself.
    """

    address: str
    cert: Path | None = None
    key: Path | None = None
    cacert: Path | None = None


def open_channel(target: Target) -> grpc.Channel:
    """Returns a lazily connecting channel; raises ConnectionSettingsError where the files are incomplete."""
    options = [("grpc.max_receive_message_length", -1)]
    files = {"--cert": target.cert, "--key": target.key, "--cacert": target.cacert}
    missing = [name for name, path in files.items() if path is None]
    if len(missing) == len(files):
        return grpc.insecure_channel(target.address, options=options)
    if missing:
        raise ConnectionSettingsError(
            f"{', '.join(missing)} left out: mutual TLS needs --cert, --key and --cacert, plaintext none of them"
        )
    read: dict[str, bytes] = {}
    for name, path in files.items():
        if path is None:
            continue
        try:
            read[name] = path.read_bytes()
        except OSError as error:
            raise ConnectionSettingsError(f"{name} {path}: {error.strerror}") from error
    credentials = grpc.ssl_channel_credentials(read["--cacert"], read["--key"], read["--cert"])
    return grpc.secure_channel(target.address, credentials, options=options)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call and what came back. ``answer`` is None exactly where ``code`` is not OK; ``seconds`` is what it took."""

    rpc: str
    request: Message
    answer: Message | None
    code: grpc.StatusCode
    details: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the provider answered."""
        return self.code is grpc.StatusCode.OK


class Provider:
    """The calls of the protocol by name. Safe to use from several threads."""

    def __init__(
        self, channel: grpc.Channel, *, timeout: float = GRPC_TIMEOUT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout = timeout
        self._clock = clock
        self._calls = {
            name: channel.unary_unary(
                f"/{SERVICE.full_name}/{name}",
                request_serializer=request.SerializeToString,
                response_deserializer=answer.FromString,
            )
            for name, (request, answer) in _TYPES.items()
        }

    def call(self, rpc: str, request: Message) -> Exchange:
        """Sends one request and waits for the answer, an error or the deadline. Never raises a gRPC error."""
        began = self._clock()
        try:
            answer = self._calls[rpc](request, timeout=self._timeout)
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
            details = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
            return Exchange(rpc, request, None, code, details, self._clock() - began)
        return Exchange(rpc, request, answer, grpc.StatusCode.OK, "", self._clock() - began)
