"""The stand-in's side of the protocol: the provider's groups as plain calls that answer or raise. Effects: calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal import messages
from nodeset_provider.rehearsal.autoscale.kinds import Metadata, Node, NodeSpec, NodeStatus, Taint
from nodeset_provider.rehearsal.connection import Provider
from nodeset_provider.rehearsal.replay.language import Shape

A = TypeVar("A", bound=Message)


class Refused(Exception):
    """The provider did not answer OK."""

    def __init__(self, rpc: str, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{rpc} answered {code.name}: {details}")
        self.code = code


class FrontDoor:
    """One provider. Every call raises Refused where it is not answered OK."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def _call(self, rpc: str, request: Message, answer: type[A]) -> A:
        exchange = self._provider.call(rpc, request)
        if not isinstance(exchange.answer, answer):
            raise Refused(rpc, exchange.code, exchange.details)
        return exchange.answer

    def refresh(self) -> None:
        """Begins a loop."""
        self._call("Refresh", pb.RefreshRequest(), pb.RefreshResponse)

    def groups(self) -> list[pb.NodeGroup]:
        """All groups."""
        return list(self._call("NodeGroups", pb.NodeGroupsRequest(), pb.NodeGroupsResponse).nodeGroups)

    def group_of(self, node: Node) -> str:
        """Id of the node's group, '' where it is nobody's."""
        request = pb.NodeGroupForNodeRequest(node=_external(node))
        return self._call("NodeGroupForNode", request, pb.NodeGroupForNodeResponse).nodeGroup.id

    def target(self, group: str) -> int:
        """Target size."""
        request = pb.NodeGroupTargetSizeRequest(id=group)
        return self._call("NodeGroupTargetSize", request, pb.NodeGroupTargetSizeResponse).targetSize

    def instances(self, group: str) -> tuple[pb.Instance, ...]:
        """All instances, those being made and deleted too."""
        request = pb.NodeGroupNodesRequest(id=group)
        return tuple(self._call("NodeGroupNodes", request, pb.NodeGroupNodesResponse).instances)

    def template(self, group: str) -> Node:
        """The node that the group would make; a template that is no Node raises Refused too."""
        request = pb.NodeGroupTemplateNodeInfoRequest(id=group)
        answer = self._call("NodeGroupTemplateNodeInfo", request, pb.NodeGroupTemplateNodeInfoResponse)
        try:
            return _node(core_pb2.Node.FromString(answer.nodeBytes or answer.nodeInfo))
        except DecodeError as error:
            raise Refused("NodeGroupTemplateNodeInfo", grpc.StatusCode.OK, f"no v1.Node for {group}") from error

    def price(self, group: str, labels: Mapping[str, str]) -> float:
        """Price of one hour of such a node."""
        request = messages.node_price(messages.template_node(group, labels))
        return self._call("PricingNodePrice", request, pb.PricingNodePriceResponse).price

    def increase(self, group: str, delta: int) -> None:
        """Asks for ``delta`` machines more."""
        request = pb.NodeGroupIncreaseSizeRequest(id=group, delta=delta)
        self._call("NodeGroupIncreaseSize", request, pb.NodeGroupIncreaseSizeResponse)

    def delete_node(self, group: str, node: Node) -> None:
        """Takes a registered node away."""
        request = pb.NodeGroupDeleteNodesRequest(id=group, nodes=[_external(node)])
        self._call("NodeGroupDeleteNodes", request, pb.NodeGroupDeleteNodesResponse)

    def delete_placeholder(self, group: str, instance: str, reason: Shape) -> None:
        """Takes away an instance that has no Node."""
        node = messages.machine_node(instance, reason, {})
        request = pb.NodeGroupDeleteNodesRequest(id=group, nodes=[node])
        self._call("NodeGroupDeleteNodes", request, pb.NodeGroupDeleteNodesResponse)


def _external(node: Node) -> pb.ExternalGrpcNode:
    return pb.ExternalGrpcNode(
        providerID=node.spec.provider_id,
        name=node.metadata.name,
        labels=node.metadata.labels,
        annotations=node.metadata.annotations,
    )


def _node(node: core_pb2.Node) -> Node:
    return Node(
        metadata=Metadata(name=node.metadata.name, labels=dict(node.metadata.labels)),
        spec=NodeSpec(taints=[Taint(it.key, it.value, it.effect) for it in node.spec.taints]),
        status=NodeStatus(allocatable={name: it.string for name, it in node.status.allocatable.items()}),
    )
