"""The gRPC service: 15 unary RPCs over raw bytes.

Requests are parsed here and not by grpcio, which would answer INTERNAL to unreadable ones; answers are already
serialised. Whatever goes wrong becomes a status of :mod:`.statuses`, and what nobody foresaw is logged and becomes
UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.names import LABEL_GPU
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler.answers import Answers
from nodeset_provider.autoscaler.changes import Changes
from nodeset_provider.autoscaler.departed import Departed
from nodeset_provider.autoscaler.metrics import MethodMetrics
from nodeset_provider.autoscaler.questions import Questions
from nodeset_provider.autoscaler.slots import Slots
from nodeset_provider.autoscaler.statuses import Refused, invalid, of_api_error, unavailable
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock
from nodeset_provider.kube.errors import ApiError
from nodeset_provider.kube.informer import Informer
from nodeset_provider.protocol import externalgrpc_pb2 as pb

log = structlog.get_logger(__name__)

SERVICE_NAME: Final = pb.DESCRIPTOR.services_by_name["CloudProvider"].full_name
SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # The autoscaler's largest requests are a few KiB; grpcio answers RESOURCE_EXHAUSTED to anything beyond.
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # Without its pings for bandwidth estimation every call is shorter (docs/decisions/010-front-door-latency.md).
    ("grpc.http2.bdp_probe", 0),
)
"""For ``grpc.aio.server(options=…)``."""

_LONGEST_CHANGE: Final = 10.0
"""Seconds that a change of size may take where the caller sets no deadline; the autoscaler's own is 5 s."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Context], Awaitable[bytes]]
Request = TypeVar("Request", bound=Message)


class FrontDoor:
    """Answers the Cluster Autoscaler from the caches of NodeSets and Machines.

    ``machines`` has been made with :data:`nodeset_provider.kube.indexes.MACHINE_INDEXERS`; both informers are run by
    the caller, in the loop in which the server runs. ``gpu_label`` is the label that the autoscaler takes as "this node
    has GPUs".
    """

    def __init__(
        self,
        client: Client,
        node_sets: Informer[NodeSet],
        machines: Informer[Machine],
        *,
        gpu_label: str = LABEL_GPU,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._clock = clock
        slots, departed = Slots(), Departed()
        answers = Answers(node_sets, machines, slots, gpu_label=gpu_label)
        machines.add_handler(departed.on_machine)
        self._questions = Questions(node_sets, machines, answers=answers, slots=slots, gpu_label=gpu_label)
        self._changes = Changes(client, node_sets, machines, answers=answers, slots=slots, departed=departed)

    def add_to_server(self, server: grpc.aio.Server) -> None:
        """Register the service; before the server is started."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(handler)  # no (de)serialisers: bytes in, bytes out
            for name, handler in self.handlers().items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    def handlers(self) -> dict[str, Handler]:
        """Every RPC by its name."""
        ask, change = self._questions, self._changes
        return {
            "Refresh": self._answering("Refresh", pb.RefreshRequest, ask.refresh),
            "Cleanup": self._answering("Cleanup", pb.CleanupRequest, ask.cleanup),
            "NodeGroups": self._answering("NodeGroups", pb.NodeGroupsRequest, ask.node_groups),
            "NodeGroupForNode": self._answering(
                "NodeGroupForNode", pb.NodeGroupForNodeRequest, ask.node_group_for_node
            ),
            "NodeGroupTargetSize": self._answering(
                "NodeGroupTargetSize", pb.NodeGroupTargetSizeRequest, ask.target_size
            ),
            "NodeGroupNodes": self._answering("NodeGroupNodes", pb.NodeGroupNodesRequest, ask.nodes),
            "NodeGroupTemplateNodeInfo": self._answering(
                "NodeGroupTemplateNodeInfo", pb.NodeGroupTemplateNodeInfoRequest, ask.template
            ),
            "NodeGroupGetOptions": self._answering(
                "NodeGroupGetOptions", pb.NodeGroupAutoscalingOptionsRequest, ask.get_options
            ),
            "GPULabel": self._answering("GPULabel", pb.GPULabelRequest, ask.gpu_label),
            "GetAvailableGPUTypes": self._answering(
                "GetAvailableGPUTypes", pb.GetAvailableGPUTypesRequest, ask.gpu_types
            ),
            "PricingNodePrice": self._answering("PricingNodePrice", pb.PricingNodePriceRequest, ask.node_price),
            "PricingPodPrice": self._answering("PricingPodPrice", pb.PricingPodPriceRequest, ask.pod_price),
            "NodeGroupIncreaseSize": self._changing(
                "NodeGroupIncreaseSize", pb.NodeGroupIncreaseSizeRequest, change.increase
            ),
            "NodeGroupDecreaseTargetSize": self._changing(
                "NodeGroupDecreaseTargetSize", pb.NodeGroupDecreaseTargetSizeRequest, change.decrease
            ),
            "NodeGroupDeleteNodes": self._changing(
                "NodeGroupDeleteNodes", pb.NodeGroupDeleteNodesRequest, change.delete_nodes
            ),
        }

    def _answering(self, name: str, kind: type[Request], answer: Callable[[Request], bytes]) -> Handler:
        return self._handler(name, kind, lambda request, _context: answer(request))

    def _changing(self, name: str, kind: type[Request], change: Callable[[Request], Awaitable[bytes]]) -> Handler:
        """Within the caller's time, so that it hears of it when the API server is slow."""

        async def in_time(request: Request, context: Context) -> bytes:
            self._questions.require_synced()
            left = context.time_remaining()
            async with asyncio.timeout(_LONGEST_CHANGE if left is None else min(left, _LONGEST_CHANGE)):
                return await change(request)

        return self._handler(name, kind, in_time)

    def _handler(
        self, name: str, kind: type[Request], answer: Callable[[Request, Context], bytes | Awaitable[bytes]]
    ) -> Handler:
        """The hot path: parse, look up, count."""
        metrics, now, parse = MethodMetrics(SERVICE_NAME, name), self._clock.monotonic, kind.FromString

        async def handle(raw: bytes, context: Context) -> bytes:
            started = now()
            try:
                reply = answer(parse(raw), context)
                if not isinstance(reply, bytes):
                    reply = await reply
            except Exception as error:  # noqa: BLE001 - see _refusal
                refusal = _refusal(name, error)
            else:
                metrics.answered(now() - started)
                return reply
            metrics.refused(refusal.code, now() - started)
            return await context.abort(refusal.code, refusal.message)

        return handle


def _refusal(method: str, error: Exception) -> Refused:
    """The status of whatever went wrong; what nobody foresaw is logged with its traceback, which stays here."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, DecodeError):
        return invalid(f"the request is not a serialised message of {method}")
    if isinstance(error, ApiError):
        log.warning("the API server refused", method=method, reason=error.reason, message=error.message)
        return of_api_error(error)
    if isinstance(error, TimeoutError):
        return Refused(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "the time for this call was over before the API server had answered; the change may have taken effect",
        )
    log.error("an RPC failed", method=method, exc_info=error)
    return unavailable("the provider failed on this request; its log says why")
