"""NodeGroupTemplateNodeInfo: the Node that would join, as the bytes of a v1.Node. Pure.

The autoscaler counts on **allocatable** cpu, memory and pods: without one of them it never scales the group up
(contract §3). An answer with neither field set crashes it, so a group without a usable template is refused.
"""

from __future__ import annotations

from typing import Final

import grpc

from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import CONDITION_READY, LABEL_NODESET
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.autoscaler.statuses import Refused
from nodeset_provider.protocol import core_pb2
from nodeset_provider.protocol import externalgrpc_pb2 as pb

_REQUIRED: Final = ("cpu", "memory", "pods")


def template_answer(node_set: NodeSet) -> pb.NodeGroupTemplateNodeInfoResponse:
    """The same raw bytes in the old and in the new field; raises Refused where there is no usable template.

    UNIMPLEMENTED, not FAILED_PRECONDITION: on any other error releases before 1.36 give up *every* scale-up, on this
    one only this group's (core/…/mixed_nodeinfos_processor.go skips a group that answers ErrNotImplemented).
    """
    template = node_set.status.template
    if template is None:
        ready = find_condition(node_set.status.conditions, CONDITION_READY)
        why = ready.message if ready is not None and ready.message else "the NodeSet has not been looked at yet"
        raise _no_template(node_set, why)
    missing = [resource for resource in _REQUIRED if not template.allocatable.get(resource)]
    if missing:
        raise _no_template(node_set, f"status.template.allocatable lacks {', '.join(missing)}")
    node = template_node(node_set).SerializeToString(deterministic=True)
    return pb.NodeGroupTemplateNodeInfoResponse(nodeInfo=node, nodeBytes=node)


def template_node(node_set: NodeSet) -> core_pb2.Node:
    """The Node; the autoscaler gives it a name and a host name of its own and takes startup taints off."""
    name = node_set.metadata.name
    node = core_pb2.Node(metadata=core_pb2.ObjectMeta(name=f"template-{name}"))
    ready = node.status.conditions.add(type="Ready", status="True", reason="KubeletReady")
    ready.message = "a template: no such node"
    template = node_set.status.template
    if template is None:
        return node
    node.metadata.labels.update({**template.labels, LABEL_NODESET: name})
    node.metadata.annotations.update(template.annotations)
    for taint in template.taints:
        node.spec.taints.add(key=taint.key, value=taint.value, effect=taint.effect)
    for resource, quantity in template.capacity.items():
        node.status.capacity[resource].string = quantity
    for resource, quantity in template.allocatable.items():
        node.status.allocatable[resource].string = quantity
    return node


def _no_template(node_set: NodeSet, why: str) -> Refused:
    return Refused(
        grpc.StatusCode.UNIMPLEMENTED, f"NodeSet {node_set.metadata.name!r} has no template for new nodes: {why}"
    )
