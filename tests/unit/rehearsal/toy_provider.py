"""A small correct external gRPC provider in memory, to be spoiled one rule at a time by the tests."""

# The methods are named by the protocol, their arguments typed by it.
# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN204, N802

import contextlib
import threading
from concurrent import futures
from dataclasses import dataclass, field

import grpc

from nodeset_provider.protocol import core_pb2, externalgrpc_pb2_grpc
from nodeset_provider.protocol import externalgrpc_pb2 as pb

STATE = pb.InstanceStatus.InstanceState
CREATING, RUNNING, DELETING = STATE.instanceCreating, STATE.instanceRunning, STATE.instanceDeleting
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def q(**amounts):
    return {name: core_pb2.Quantity(string=text) for name, text in amounts.items()}


@dataclass
class Group:
    id: str
    minimum: int = 0
    maximum: int = 5
    target: int = 0
    instances: dict = field(default_factory=dict)
    age: dict = field(default_factory=dict)
    gone: set = field(default_factory=set)
    made: int = 0
    fails: bool = False


class Toy(externalgrpc_pb2_grpc.CloudProviderServicer):
    """Instances run at the third look at them and are gone at the third look after their deletion."""

    allocatable = q(cpu="2", memory="4Gi", pods="110")

    def __init__(self, *groups):
        self.groups = {g.id: g for g in groups or (Group("big", maximum=5), Group("small", maximum=3))}
        self.lock = threading.RLock()
        self.refreshed = False

    # -- helpers
    def group(self, id_, context):
        if not id_:
            context.abort(INVALID, "id is empty")
        if id_ not in self.groups:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no group {id_}")
        return self.groups[id_]

    def message(self, group):
        return pb.NodeGroup(id=group.id, minSize=group.minimum, maxSize=group.maximum, debug=group.id)

    def owner(self, id_):
        return next((g for g in self.groups.values() if id_ in g.instances or id_ in g.gone), None)

    def live(self, group):
        return [i for i in group.instances.values() if i.status.instanceState != DELETING]

    def make(self, group):
        group.made += 1
        id_ = f"toy://{group.id}-{group.made}"
        status = pb.InstanceStatus(instanceState=CREATING)
        if group.fails:
            status.errorInfo.CopyFrom(
                pb.InstanceErrorInfo(errorCode="InsufficientCapacity", errorMessage="none left", instanceErrorClass=1)
            )
        group.instances[id_] = pb.Instance(id=id_, status=status)
        group.age[id_] = 0

    def pass_time(self, group):
        for id_, instance in list(group.instances.items()):
            group.age[id_] += 1
            if group.age[id_] < 3 or instance.status.HasField("errorInfo"):
                continue
            if instance.status.instanceState == DELETING:
                del group.instances[id_]
                group.gone.add(id_)
            else:
                instance.status.instanceState = RUNNING

    def node(self, group):
        return core_pb2.Node(
            metadata=core_pb2.ObjectMeta(name=group.id, labels={"group": group.id}),
            status=core_pb2.NodeStatus(capacity=self.allocatable, allocatable=self.allocatable),
        ).SerializeToString()

    # -- the protocol
    def NodeGroups(self, request, context):
        return pb.NodeGroupsResponse(nodeGroups=[self.message(g) for g in self.groups.values()])

    def NodeGroupForNode(self, request, context):
        with self.lock:
            group = self.owner(request.node.providerID)
            if group is None or request.node.providerID not in {i.id for i in self.live(group)}:
                return pb.NodeGroupForNodeResponse(nodeGroup=pb.NodeGroup())
            return pb.NodeGroupForNodeResponse(nodeGroup=self.message(group))

    def PricingNodePrice(self, request, context):
        return pb.PricingNodePriceResponse(price=0.1)

    def PricingPodPrice(self, request, context):
        return pb.PricingPodPriceResponse(price=0.01)

    def GPULabel(self, request, context):
        return pb.GPULabelResponse(label="toy/gpu")

    def GetAvailableGPUTypes(self, request, context):
        return pb.GetAvailableGPUTypesResponse()

    def Cleanup(self, request, context):
        return pb.CleanupResponse()

    def Refresh(self, request, context):
        self.refreshed = True
        return pb.RefreshResponse()

    def NodeGroupTargetSize(self, request, context):
        return pb.NodeGroupTargetSizeResponse(targetSize=self.group(request.id, context).target)

    def NodeGroupIncreaseSize(self, request, context):
        group = self.group(request.id, context)
        with self.lock:
            if request.delta <= 0:
                context.abort(INVALID, f"delta {request.delta} is not positive")
            if group.target + request.delta > group.maximum:
                context.abort(grpc.StatusCode.OUT_OF_RANGE, f"{group.target} + {request.delta} > {group.maximum}")
            group.target += request.delta
            for _ in range(request.delta):
                self.make(group)
        return pb.NodeGroupIncreaseSizeResponse()

    def NodeGroupDeleteNodes(self, request, context):
        group = self.group(request.id, context)
        with self.lock:
            for node in request.nodes:
                if self.owner(node.providerID) is not group:
                    context.abort(INVALID, f"{node.providerID} is not of {group.id}")
            for node in request.nodes:
                self.delete(group, node.providerID)
        return pb.NodeGroupDeleteNodesResponse()

    def delete(self, group, id_):
        instance = group.instances.get(id_)
        if instance is None or instance.status.instanceState == DELETING:
            return
        instance.status.Clear()
        instance.status.instanceState = DELETING
        group.age[id_] = 0
        group.target -= 1

    def NodeGroupDecreaseTargetSize(self, request, context):
        group = self.group(request.id, context)
        with self.lock:
            if request.delta >= 0:
                context.abort(INVALID, f"delta {request.delta} is not negative")
            group.target = max(group.target + request.delta, len(self.live(group)))
        return pb.NodeGroupDecreaseTargetSizeResponse()

    def NodeGroupNodes(self, request, context):
        group = self.group(request.id, context)
        with self.lock:
            answer = pb.NodeGroupNodesResponse(instances=group.instances.values())
            self.pass_time(group)
            return answer

    def NodeGroupTemplateNodeInfo(self, request, context):
        node = self.node(self.group(request.id, context))
        return pb.NodeGroupTemplateNodeInfoResponse(nodeInfo=node, nodeBytes=node)

    def NodeGroupGetOptions(self, request, context):
        self.group(request.id, context)
        return pb.NodeGroupAutoscalingOptionsResponse()


@contextlib.contextmanager
def serve(toy):
    """Address of an in-process server of ``toy``."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    externalgrpc_pb2_grpc.add_CloudProviderServicer_to_server(toy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
