"""Builds the requests that a given release of the autoscaler would send. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.connection import request_type
from nodeset_provider.rehearsal.replay.language import Shape

FAKE_NODE_REASON: Final = "k8s.io/cluster-autoscaler/fake-node-reason"
"""Annotation of the autoscaler's placeholders: ``unregistered`` or ``create-error``."""

_HOSTNAME: Final = "kubernetes.io/hostname"
_HOUR: Final = 3600
_NANOSECONDS: Final = 1_000_000_000
_PROVISION_TIME_SINCE: Final = (1, 29)
_NEW_FIELDS_SINCE: Final = (1, 34)
_OLD_FIELDS_UNTIL: Final = (1, 34)

_UNNEEDED, _UNREADY, _PROVISION = 600, 1200, 900
"""The autoscaler's own defaults, seconds."""


def default_options(release: tuple[int, int]) -> pb.NodeGroupAutoscalingOptions:
    """``defaults`` of GetOptions: the fields that this release fills (1.34 both generations, as from 1.34.2)."""
    options = pb.NodeGroupAutoscalingOptions(scaleDownUtilizationThreshold=0.5, scaleDownGpuUtilizationThreshold=0.5)
    if release <= _OLD_FIELDS_UNTIL:
        options.scaleDownUnneededTime.duration = _UNNEEDED * _NANOSECONDS
        options.scaleDownUnreadyTime.duration = _UNREADY * _NANOSECONDS
        if release >= _PROVISION_TIME_SINCE:
            options.MaxNodeProvisionTime.duration = _PROVISION * _NANOSECONDS
    if release >= _NEW_FIELDS_SINCE:
        options.scaleDownUnneededDuration.seconds = _UNNEEDED
        options.scaleDownUnreadyDuration.seconds = _UNREADY
        options.MaxNodeProvisionDuration.seconds = _PROVISION
    return options


def machine_node(id_: str, shape: Shape, labels: Mapping[str, str]) -> pb.ExternalGrpcNode:
    """The node of an instance: a registered one carries the template's ``labels``, a placeholder its reason."""
    if shape is not Shape.NODE:
        return pb.ExternalGrpcNode(providerID=id_, name=id_, annotations={FAKE_NODE_REASON: str(shape)})
    name = id_.rstrip("/").rpartition("/")[2]
    return pb.ExternalGrpcNode(providerID=id_, name=name, labels={**labels, _HOSTNAME: name})


def stranger_node(number: int) -> pb.ExternalGrpcNode:
    """A Node that no provider manages."""
    name = f"stranger-{number}"
    return pb.ExternalGrpcNode(providerID=f"rehearsal://{name}", name=name, labels={_HOSTNAME: name})


def template_node(group: str, labels: Mapping[str, str]) -> pb.ExternalGrpcNode:
    """The node that the price expander makes of a template: labels, a made-up name, no providerID."""
    name = f"template-node-for-{group}-4711"
    return pb.ExternalGrpcNode(name=name, labels={**labels, _HOSTNAME: name})


def node_price(node: pb.ExternalGrpcNode) -> pb.PricingNodePriceRequest:
    """The price of ``node`` for one hour, in the fields of every release."""
    begin, end = Timestamp(seconds=0), Timestamp(seconds=_HOUR)
    return pb.PricingNodePriceRequest(node=node, startTime=begin, endTime=end, startTimestamp=begin, endTimestamp=end)


def pod_price() -> pb.PricingPodPriceRequest:
    """The price of a pod of one core and one GiB for one hour, in the fields of every release."""
    requests = {"cpu": core_pb2.Quantity(string="1"), "memory": core_pb2.Quantity(string="1Gi")}
    container = core_pb2.Container(name="c", resources=core_pb2.ResourceRequirements(requests=requests))
    pod = core_pb2.Pod(
        metadata=core_pb2.ObjectMeta(name="p", namespace="default"), spec=core_pb2.PodSpec(containers=[container])
    ).SerializeToString()
    begin, end = Timestamp(seconds=0), Timestamp(seconds=_HOUR)
    return pb.PricingPodPriceRequest(
        pod=pod, pod_bytes=pod, startTime=begin, endTime=end, startTimestamp=begin, endTimestamp=end
    )


def simple(rpc: str, group: str, release: tuple[int, int]) -> Message:
    """A request that needs at most a group id."""
    if rpc == "PricingPodPrice":
        return pod_price()
    if rpc == "NodeGroupGetOptions":
        return pb.NodeGroupAutoscalingOptionsRequest(id=group, defaults=default_options(release))
    return request_type(rpc)(id=group) if group else request_type(rpc)()
