"""The front door behind a real gRPC server: statuses and wire forms as a client sees them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import grpc
import grpc.aio
import pytest
from autoscaler_world import REQUESTS, RESPONSES, World
from google.protobuf.message import Message

from nodeset_provider.autoscaler import SERVICE_NAME
from nodeset_provider.autoscaler.metrics import HANDLED
from nodeset_provider.kube.errors import Unavailable
from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.protocol.externalgrpc_pb2_grpc import CloudProviderStub

GARBAGE = b"\xff\xff\xff\xff\xff"
NO_UTF8 = b"\x0a\x02\xff\xfe"
EMPTY_REQUESTS = {"Refresh", "Cleanup", "NodeGroups", "GPULabel", "GetAvailableGPUTypes"}


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> CloudProviderStub:
    return CloudProviderStub(channel)


async def send(channel: grpc.aio.Channel, rpc: str, raw: bytes) -> bytes:
    return await channel.unary_unary(f"/{SERVICE_NAME}/{rpc}")(raw, timeout=20)


async def code(call: Awaitable[object]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert "Traceback" not in caught.value.details()
    return caught.value.code()


@pytest.mark.parametrize("rpc", sorted(REQUESTS))
async def test_garbage_is_an_invalid_argument(world: World, channel: grpc.aio.Channel, rpc: str) -> None:
    assert await code(send(channel, rpc, GARBAGE)) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("rpc", sorted(set(REQUESTS) - EMPTY_REQUESTS - {"PricingPodPrice"}))
async def test_text_that_is_no_utf8_is_an_invalid_argument(world: World, channel: grpc.aio.Channel, rpc: str) -> None:
    world.node_set()
    field = REQUESTS[rpc].DESCRIPTOR.fields_by_name.get("id")
    raw = NO_UTF8 if field is None else bytes([field.number << 3 | 2]) + NO_UTF8[1:]
    raw = bytes([1 << 3 | 2, len(raw)]) + raw if field is None else raw
    assert await code(send(channel, rpc, raw)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_of_100_mb_exhausts_our_patience_and_leaves_the_server_well(
    world: World, channel: grpc.aio.Channel, stub: CloudProviderStub
) -> None:
    world.node_set(replicas=3)
    assert await code(send(channel, "NodeGroupTargetSize", bytes(100_000_000))) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="a"))).targetSize == 3


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    assert await code(send(channel, "NodeGroupAtomicIncreaseSize", b"")) is grpc.StatusCode.UNIMPLEMENTED


async def test_unknown_fields_of_newer_releases_are_ignored(world: World, channel: grpc.aio.Channel) -> None:
    world.node_set(replicas=3)
    raw = pb.NodeGroupTargetSizeRequest(id="a").SerializeToString() + b"\xa2\x06\x03new"
    answer = pb.NodeGroupTargetSizeResponse.FromString(await send(channel, "NodeGroupTargetSize", raw))
    assert answer.targetSize == 3


@pytest.mark.parametrize(
    ("rpc", "request_", "expected"),
    [
        ("NodeGroupTargetSize", pb.NodeGroupTargetSizeRequest(id="nobody"), "NOT_FOUND"),
        ("NodeGroupTargetSize", pb.NodeGroupTargetSizeRequest(), "INVALID_ARGUMENT"),
        ("NodeGroupForNode", pb.NodeGroupForNodeRequest(), "INVALID_ARGUMENT"),
        ("NodeGroupIncreaseSize", pb.NodeGroupIncreaseSizeRequest(id="a"), "INVALID_ARGUMENT"),
        ("NodeGroupIncreaseSize", pb.NodeGroupIncreaseSizeRequest(id="a", delta=100), "OUT_OF_RANGE"),
        ("NodeGroupDecreaseTargetSize", pb.NodeGroupDecreaseTargetSizeRequest(id="a", delta=1), "INVALID_ARGUMENT"),
        ("NodeGroupDeleteNodes", pb.NodeGroupDeleteNodesRequest(id="a"), "INVALID_ARGUMENT"),
        ("PricingNodePrice", pb.PricingNodePriceRequest(), "NOT_FOUND"),
        ("PricingPodPrice", pb.PricingPodPriceRequest(), "INVALID_ARGUMENT"),
    ],
)
async def test_refusals_reach_the_client_with_their_status(
    world: World, stub: CloudProviderStub, rpc: str, request_: Message, expected: str
) -> None:
    world.node_set()
    writes = world.writes()
    assert (await code(getattr(stub, rpc)(request_))).name == expected
    assert world.writes() == writes


async def test_every_rpc_of_the_protocol_is_served(world: World, channel: grpc.aio.Channel) -> None:
    """An empty request is answered or refused by us, and never UNIMPLEMENTED by grpcio."""
    for rpc, response in RESPONSES.items():
        call = channel.unary_unary(f"/{SERVICE_NAME}/{rpc}")(b"", timeout=20)
        code = await call.code()
        assert code in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}, rpc
        if code is grpc.StatusCode.OK:
            response.FromString(await call)


async def test_a_call_ends_with_its_deadline_when_the_api_server_hangs(world: World, stub: CloudProviderStub) -> None:
    """The autoscaler's own time-out ends the call; the next one is served."""
    world.node_set(replicas=1)
    hanging = asyncio.Event()

    async def hang(verb: str, name: str) -> None:
        await hanging.wait()

    world.client.fault = hang
    request = pb.NodeGroupIncreaseSizeRequest(id="a", delta=1)
    assert await code(stub.NodeGroupIncreaseSize(request, timeout=0.2)) is grpc.StatusCode.DEADLINE_EXCEEDED
    world.client.fault = None
    await stub.NodeGroupIncreaseSize(request, timeout=5)
    assert world.replicas() == 2


async def test_concurrent_calls_from_one_client_are_all_answered(world: World, stub: CloudProviderStub) -> None:
    world.node_set(replicas=0, maximum=100)
    increases = [stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="a", delta=1)) for _ in range(20)]
    targets = [stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="a")) for _ in range(20)]
    await asyncio.gather(*increases, *targets)
    assert world.replicas() == 20


async def test_rpcs_are_counted_by_method_and_code(world: World, stub: CloudProviderStub) -> None:
    def count(status: str) -> float:
        return HANDLED.labels(SERVICE_NAME, "NodeGroupIncreaseSize", status)._value.get()

    world.node_set()
    before = {status: count(status) for status in ("OK", "OutOfRange", "Unavailable")}
    await stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="a", delta=1))
    await code(stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="a", delta=100)))

    async def fail(verb: str, name: str) -> None:
        raise Unavailable(503, "ServiceUnavailable", "restarting")

    world.client.fault = fail
    await code(stub.NodeGroupIncreaseSize(pb.NodeGroupIncreaseSizeRequest(id="a", delta=1)))
    assert {status: count(status) - value for status, value in before.items()} == dict.fromkeys(before, 1.0)


async def test_field_numbers_that_bite(world: World, channel: grpc.aio.Channel) -> None:
    """IncreaseSize and DecreaseTargetSize are {delta = 1, id = 2}, DeleteNodes is {nodes = 1, id = 2}."""
    world.node_set(replicas=1)
    world.machine(provider_id="cloud://1")
    await send(channel, "NodeGroupIncreaseSize", b"\x08\x02\x12\x01a")
    assert world.replicas() == 3
    minus_one = b"\x08" + b"\xff" * 9 + b"\x01"
    await send(channel, "NodeGroupDecreaseTargetSize", minus_one + b"\x12\x01a")
    assert world.replicas() == 2
    await send(channel, "NodeGroupDeleteNodes", b"\x0a\x0b\x0a\x09cloud://1\x12\x01a")
    assert world.replicas() == 1


async def test_wire_forms_of_durations(world: World, channel: grpc.aio.Channel) -> None:
    """metav1.Duration is {int64 duration = 1} in nanoseconds in field 3; google.protobuf.Duration in field 8."""
    world.node_set(options={"scaleDownUnneededSeconds": 1})
    raw = await send(channel, "NodeGroupGetOptions", b"\x0a\x01a")
    options = raw[2 + (raw[1] > 127) :]
    assert b"\x1a\x06\x08\x80\x94\xeb\xdc\x03" in options  # field 3: {1: 1_000_000_000}
    assert b"\x42\x02\x08\x01" in options  # field 8: {1: 1}


async def test_without_overrides_the_response_is_empty_on_the_wire(world: World, channel: grpc.aio.Channel) -> None:
    world.node_set()
    assert await send(channel, "NodeGroupGetOptions", b"\x0a\x01a") == b""


async def test_the_health_of_a_deleted_group_is_not_found_after_the_answer_was_cached(
    world: World, stub: CloudProviderStub
) -> None:
    """A cached answer never outlives its group."""
    world.node_set(replicas=3)
    await stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="a"))
    world.api.remove("/apis/nodeset.dev/v1alpha1/nodesets", "a")
    world.catch_up()
    assert await code(stub.NodeGroupTargetSize(pb.NodeGroupTargetSizeRequest(id="a"))) is grpc.StatusCode.NOT_FOUND
