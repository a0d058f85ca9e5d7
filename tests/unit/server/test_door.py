"""The gRPC server on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from testbed.pki import Authority, KeyPair

from nodeset_provider.config.address import Address
from nodeset_provider.protocol import externalgrpc_pb2, externalgrpc_pb2_grpc
from nodeset_provider.server.door import CLOUD_PROVIDER, CannotListen, Door
from nodeset_provider.server.tls import CertificateFiles, ReloadingCredentials, UnusableCertificates

LOOPBACK = Address(host="127.0.0.1", port=0)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Slow(externalgrpc_pb2_grpc.CloudProviderServicer):
    """Refresh answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def Refresh(self, request: object, context: object) -> externalgrpc_pb2.RefreshResponse:  # noqa: N802 - the proto's name
        self.asked.set()
        await self.answer.wait()
        return externalgrpc_pb2.RefreshResponse()


@contextlib.asynccontextmanager
async def serving(
    address: Address = LOOPBACK, credentials: grpc.ServerCredentials | None = None, servicer: Slow | None = None
) -> AsyncIterator[tuple[Door, Address]]:
    door = Door(
        address,
        options=[("grpc.max_receive_message_length", 4 * 1024 * 1024)],
        credentials=credentials,
        add_servicer=lambda server: externalgrpc_pb2_grpc.add_CloudProviderServicer_to_server(
            servicer or Slow(), server
        ),
    )
    where = await door.start()
    try:
        yield door, where
    finally:
        await door.stop(0)


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    return int(answer.status)


class Files:
    """The three files of a server, replaced as Kubernetes replaces a Secret's: by a rename."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key, self.client_ca = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
        self.names = CertificateFiles(str(self.certificate), str(self.key), str(self.client_ca))

    def write(self, pair: KeyPair, client_ca: bytes) -> None:
        contents = {self.certificate: pair.certificate, self.key: pair.key, self.client_ca: client_ca}
        for path, content in contents.items():
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)

    def serve_as(self, authority: Authority) -> None:
        self.write(authority.issue("server", hosts=["127.0.0.1"]), ca_of(authority))


@pytest.fixture
def authority() -> Authority:
    return Authority("ca")


@pytest.fixture
def other_authority() -> Authority:
    return Authority("other-ca")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def ca_of(authority: Authority) -> bytes:
    return authority.pair.certificate


def client(authority: Authority, pair: KeyPair | None) -> grpc.ChannelCredentials:
    if pair is None:
        return grpc.ssl_channel_credentials(ca_of(authority))
    return grpc.ssl_channel_credentials(ca_of(authority), pair.key, pair.certificate)


async def refused(address: Address, credentials: grpc.ChannelCredentials) -> bool:
    async with grpc.aio.secure_channel(str(address), credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(channel)
    return caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_is_not_serving_until_it_is_said_and_after_the_stop() -> None:
    async with serving() as (door, address), grpc.aio.insecure_channel(str(address)) as channel:
        assert await health(channel) == NOT_SERVING
        await door.set_serving(serving=True)
        assert await health(channel) == SERVING
        assert await health(channel, CLOUD_PROVIDER) == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(channel, "unknown.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watchers_of_health_hear_of_the_stop_before_the_door_closes() -> None:
    async with serving() as (door, address), grpc.aio.insecure_channel(str(address)) as channel:
        await door.set_serving(serving=True)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(door.stop(10))
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        await asyncio.wait_for(stopping, 10)


async def test_running_rpc_is_finished_and_new_ones_are_refused_while_stopping() -> None:
    servicer = Slow()
    async with serving(servicer=servicer) as (door, address), grpc.aio.insecure_channel(str(address)) as channel:
        stub = externalgrpc_pb2_grpc.CloudProviderStub(channel)
        running = asyncio.ensure_future(stub.Refresh(externalgrpc_pb2.RefreshRequest(), timeout=30))
        await asyncio.wait_for(servicer.asked.wait(), 10)
        stopping = asyncio.create_task(door.stop(30))
        async with grpc.aio.insecure_channel(str(address), options=[("grpc.enable_retries", 0)]) as late:
            with pytest.raises(grpc.aio.AioRpcError):
                await health(late)
        assert not stopping.done()
        servicer.answer.set()
        assert await running == externalgrpc_pb2.RefreshResponse()
        await asyncio.wait_for(stopping, 10)


async def test_rpc_that_does_not_end_is_cut_off_after_the_grace() -> None:
    servicer = Slow()
    async with serving(servicer=servicer) as (door, address), grpc.aio.insecure_channel(str(address)) as channel:
        stub = externalgrpc_pb2_grpc.CloudProviderStub(channel)
        running = asyncio.ensure_future(stub.Refresh(externalgrpc_pb2.RefreshRequest(), timeout=30))
        await asyncio.wait_for(servicer.asked.wait(), 10)
        await asyncio.wait_for(door.stop(0.05), 10)
        with pytest.raises(grpc.aio.AioRpcError):
            await running


async def test_reflection_names_the_services() -> None:
    async with serving() as (_, address), grpc.aio.insecure_channel(str(address)) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(timeout=10)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        call.cancel()
        names = {service.name for service in answer.list_services_response.service}
        assert {CLOUD_PROVIDER, "grpc.health.v1.Health"} <= names


async def test_message_over_the_limit_is_resource_exhausted() -> None:
    async with serving() as (_, address), grpc.aio.insecure_channel(str(address)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(channel, "x" * 100_000_000)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_second_server_on_the_same_port_is_refused_with_the_address() -> None:
    async with serving() as (_, address):
        with pytest.raises(CannotListen, match=f"{address}: it is in use"):
            async with serving(address):
                pass


async def test_unix_socket_serves_and_a_stale_one_is_no_obstacle(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "provider.sock"))
    for _ in range(2):
        async with serving(address) as (_, where), grpc.aio.insecure_channel(str(where)) as channel:
            assert await health(channel) == NOT_SERVING


async def test_only_certificates_of_the_client_ca_get_in(
    authority: Authority, other_authority: Authority, files: Files
) -> None:
    files.serve_as(authority)
    credentials = ReloadingCredentials(files.names).credentials
    async with serving(credentials=credentials) as (_, address):
        good = client(authority, authority.issue("autoscaler"))
        async with grpc.aio.secure_channel(str(address), good) as channel:
            assert await health(channel) == NOT_SERVING
        assert await refused(address, client(authority, None))
        assert await refused(address, client(authority, other_authority.issue("autoscaler")))
        assert await refused(address, client(other_authority, authority.issue("autoscaler")))
        async with grpc.aio.insecure_channel(str(address)) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await health(channel)


async def test_rotated_certificates_serve_the_next_connection_and_open_ones_go_on(
    authority: Authority, other_authority: Authority, files: Files
) -> None:
    files.serve_as(authority)
    credentials = ReloadingCredentials(files.names).credentials
    async with serving(credentials=credentials) as (_, address):
        old = client(authority, authority.issue("autoscaler"))
        new = client(other_authority, other_authority.issue("autoscaler"))
        async with grpc.aio.secure_channel(str(address), old) as open_channel:
            assert await health(open_channel) == NOT_SERVING
            files.serve_as(other_authority)
            async with grpc.aio.secure_channel(str(address), new) as channel:
                assert await health(channel) == NOT_SERVING
            assert await health(open_channel) == NOT_SERVING
        # Another argument makes another connection: gRPC shares those of equal channels.
        async with grpc.aio.secure_channel(str(address), old, options=[("test.fresh", 1)]) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await health(channel)


@pytest.mark.parametrize("broken", ["certificate", "key", "client_ca"])
async def test_broken_rotation_keeps_the_last_good_certificates_until_it_is_mended(
    authority: Authority, other_authority: Authority, files: Files, broken: str
) -> None:
    files.serve_as(authority)
    credentials = ReloadingCredentials(files.names).credentials
    options = iter(range(100))

    async def connects(ca: Authority) -> bool:
        channel_options = [("test.fresh", next(options))]
        credentials = client(ca, ca.issue("autoscaler"))
        async with grpc.aio.secure_channel(str(address), credentials, options=channel_options) as channel:
            try:
                return await health(channel) == NOT_SERVING
            except grpc.aio.AioRpcError:
                return False

    async with serving(credentials=credentials) as (_, address):
        with structlog.testing.capture_logs() as captured:
            files.serve_as(other_authority)
            getattr(files, broken).write_bytes(b"half of a")
            assert await connects(authority)
            assert await connects(authority)
        complaints = [entry for entry in captured if entry["log_level"] == "error"]
        assert len(complaints) == 1
        assert str(getattr(files, broken)) in complaints[0]["reason"]
        files.serve_as(other_authority)
        assert await connects(other_authority)


def test_unusable_files_are_refused_at_the_start_with_file_and_remedy(authority: Authority, files: Files) -> None:
    with pytest.raises(UnusableCertificates, match=r"tls\.crt: No such file"):
        ReloadingCredentials(files.names)
    good = authority.issue("server", hosts=["127.0.0.1"])
    files.write(good, ca_of(authority))
    files.key.write_bytes(authority.issue("another").key)
    with pytest.raises(UnusableCertificates, match=r"tls\.key does not belong to .*tls\.crt"):
        ReloadingCredentials(files.names)
    files.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    with pytest.raises(UnusableCertificates, match="no unencrypted PEM private key") as caught:
        ReloadingCredentials(files.names)
    assert "c2VjcmV0" not in str(caught.value)
    files.write(good, b"")
    with pytest.raises(UnusableCertificates, match=r"ca\.crt: holds no PEM certificate"):
        ReloadingCredentials(files.names)
