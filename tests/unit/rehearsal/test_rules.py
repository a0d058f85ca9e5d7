"""One faulty provider per rule: each is caught by exactly its rule, and a correct one by none."""

# The methods are named by the protocol, their arguments typed by it.
# ruff: noqa: ANN001, ANN002, ANN201, ANN202, ANN204, N802

import contextlib
import threading
import time

import grpc
import pytest
from toy_provider import CREATING, DELETING, INVALID, RUNNING, Group, Toy, q, serve

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.connection import Provider, Target, open_channel
from nodeset_provider.rehearsal.replay import library
from nodeset_provider.rehearsal.replay.player import play
from nodeset_provider.rehearsal.replay.rules import RULES, Result
from nodeset_provider.rehearsal.replay.stage import Pace, Session

FAULTY = ("ca-1.36.1-stuck", "ca-1.36.1-error", "probes")


def verdicts_on(toy, traces, *, timeout=5.0):
    played = []
    with serve(toy) as address, open_channel(Target(address)) as channel:
        pace = Pace(speed=0, patience=0.2, sleep=lambda _: None)
        session = Session(Provider(channel, timeout=timeout), pace)
        for name in traces:
            trace = library.load(name)
            mapping = dict(zip(trace.groups, toy.groups, strict=False))
            played.append(play(session, trace, mapping))
    return session.verdicts, played


class NoAnswerInTime(Toy):
    def NodeGroupIncreaseSize(self, request, context):
        time.sleep(0.4)
        return super().NodeGroupIncreaseSize(request, context)


class Crashes(Toy):
    def NodeGroupTargetSize(self, request, context):
        return pb.NodeGroupTargetSizeResponse(targetSize=self.groups[request.id].target)


class LeavesOutGpuTypes(Toy):
    def GetAvailableGPUTypes(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")


class WantsRefreshFirst(Toy):
    def GPULabel(self, request, context):
        if not self.refreshed:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not yet")
        return super().GPULabel(request, context)


class SecondRefreshFails(Toy):
    def Refresh(self, request, context):
        if self.refreshed:
            context.abort(grpc.StatusCode.UNAVAILABLE, "later")
        return super().Refresh(request, context)


class AnswersForAnyGroup(Toy):
    def NodeGroupGetOptions(self, request, context):
        return pb.NodeGroupAutoscalingOptionsResponse()


class NoMaximum(Toy):
    def NodeGroups(self, request, context):
        answer = super().NodeGroups(request, context)
        answer.nodeGroups.append(pb.NodeGroup(id="third"))
        return answer


class PartialList(Toy):
    count = 0

    def NodeGroups(self, request, context):
        self.count += 1
        answer = super().NodeGroups(request, context)
        if self.count % 5 == 0:
            del answer.nodeGroups[1:]
        return answer


class IdOnly(Toy):
    def NodeGroupForNode(self, request, context):
        answer = super().NodeGroupForNode(request, context)
        return pb.NodeGroupForNodeResponse(nodeGroup=pb.NodeGroup(id=answer.nodeGroup.id))


class OwnsStrangers(Toy):
    def NodeGroupForNode(self, request, context):
        if self.owner(request.node.providerID) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such node")
        return super().NodeGroupForNode(request, context)


class StillKnowsDeleted(Toy):
    def NodeGroupForNode(self, request, context):
        group = self.owner(request.node.providerID)
        return pb.NodeGroupForNodeResponse(nodeGroup=self.message(group) if group else pb.NodeGroup())


class ListsOtherIds(Toy):
    """The usual mistake: the list has the cloud's id where the Node has a URL."""

    def NodeGroupForNode(self, request, context):
        if not request.node.labels and request.node.providerID.startswith("toy://"):
            return pb.NodeGroupForNodeResponse(nodeGroup=pb.NodeGroup())
        return super().NodeGroupForNode(request, context)


class NoState(Toy):
    def NodeGroupNodes(self, request, context):
        answer = super().NodeGroupNodes(request, context)
        for instance in answer.instances:
            if instance.status.instanceState == CREATING:
                instance.status.instanceState = 0
        return answer


class ErrorOnRunning(Toy):
    def NodeGroupNodes(self, request, context):
        answer = super().NodeGroupNodes(request, context)
        for instance in answer.instances:
            if instance.status.instanceState == RUNNING:
                instance.status.errorInfo.CopyFrom(pb.InstanceErrorInfo(errorCode="Broken", instanceErrorClass=99))
        return answer


class ErrorWithoutCode(Toy):
    def make(self, group):
        super().make(group)
        last = list(group.instances.values())[-1]
        last.status.errorInfo.errorMessage = "something"


class HalfOptions(Toy):
    def NodeGroupGetOptions(self, request, context):
        self.group(request.id, context)
        options = pb.NodeGroupAutoscalingOptions(scaleDownUtilizationThreshold=0.5)
        options.scaleDownUnneededDuration.seconds = 60
        return pb.NodeGroupAutoscalingOptionsResponse(nodeGroupAutoscalingOptions=options)


class OneGroupWithoutTemplate(Toy):
    def NodeGroupTemplateNodeInfo(self, request, context):
        if request.id == "small":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no template yet")
        return super().NodeGroupTemplateNodeInfo(request, context)


class TemplateWithoutPods(Toy):
    allocatable = q(cpu="2", memory="4Gi")


class OldFieldOnly(Toy):
    def NodeGroupTemplateNodeInfo(self, request, context):
        answer = super().NodeGroupTemplateNodeInfo(request, context)
        answer.nodeBytes = b""
        return answer


class PricesRealNodesOnly(Toy):
    def PricingNodePrice(self, request, context):
        if not request.node.providerID:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such node")
        return super().PricingNodePrice(request, context)


class TargetLags(Toy):
    def NodeGroupIncreaseSize(self, request, context):
        group = self.group(request.id, context)
        before = group.target
        answer = super().NodeGroupIncreaseSize(request, context)
        group.target = before
        return answer


class HidesPending(Toy):
    def NodeGroupNodes(self, request, context):
        answer = super().NodeGroupNodes(request, context)
        shown = [i for i in answer.instances if i.status.instanceState != CREATING]
        return pb.NodeGroupNodesResponse(instances=shown)


class CutsToFit(Toy):
    def NodeGroupIncreaseSize(self, request, context):
        group = self.group(request.id, context)
        request.delta = min(request.delta, group.maximum - group.target)
        return super().NodeGroupIncreaseSize(request, context)


class TakesNoDelta(Toy):
    def NodeGroupIncreaseSize(self, request, context):
        if request.delta == 0:
            return pb.NodeGroupIncreaseSizeResponse()
        return super().NodeGroupIncreaseSize(request, context)


class CountsRefused(Toy):
    def NodeGroupIncreaseSize(self, request, context):
        group = self.group(request.id, context)
        if group.target + request.delta > group.maximum:
            group.target += 1
            self.make(group)
        return super().NodeGroupIncreaseSize(request, context)


class MakesOneTooMany(Toy):
    def NodeGroupIncreaseSize(self, request, context):
        answer = super().NodeGroupIncreaseSize(request, context)
        self.make(self.group(request.id, context))
        return answer


class LowersLater(Toy):
    """Lowers the target a second time when the machine is really gone."""

    def pass_time(self, group):
        before = len(group.gone)
        super().pass_time(group)
        group.target = max(0, group.target - (len(group.gone) - before))


class LowersTwoForOne(Toy):
    def NodeGroupDeleteNodes(self, request, context):
        group = self.group(request.id, context)
        plain = all(node.labels for node in request.nodes)
        answer = super().NodeGroupDeleteNodes(request, context)
        group.target += plain
        return answer


class RefusesPlaceholders(Toy):
    def NodeGroupDeleteNodes(self, request, context):
        if [n.annotations.get("k8s.io/cluster-autoscaler/fake-node-reason") for n in request.nodes] == ["create-error"]:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such node")
        return super().NodeGroupDeleteNodes(request, context)


class LowersAgain(Toy):
    def delete(self, group, id_):
        if id_ in group.instances and group.instances[id_].status.instanceState == DELETING:
            group.target -= 1
        super().delete(group, id_)


class OneMissingFailsAll(Toy):
    def NodeGroupDeleteNodes(self, request, context):
        group = self.group(request.id, context)
        alive = {i.id for i in self.live(group)}
        ids = {n.providerID for n in request.nodes}
        if ids & alive and ids - alive and all(self.owner(i) is group for i in ids):
            context.abort(grpc.StatusCode.NOT_FOUND, "one of them is gone")
        return super().NodeGroupDeleteNodes(request, context)


class LosesConcurrentDecrements(Toy):
    """Reads the size, makes a machine go, writes the size: two at a time write the same one."""

    def __init__(self, *groups):
        super().__init__(*groups)
        self.meeting = {id_: threading.Barrier(2) for id_ in self.groups}

    def NodeGroupDeleteNodes(self, request, context):
        group = self.group(request.id, context)
        read = group.target
        with contextlib.suppress(threading.BrokenBarrierError):
            self.meeting[group.id].wait(timeout=0.1)
            with self.lock:
                answer = super().NodeGroupDeleteNodes(request, context)
                group.target = read - 1
            return answer
        self.meeting[group.id].reset()
        return super().NodeGroupDeleteNodes(request, context)


class EnforcesMinimum(Toy):
    def NodeGroupDeleteNodes(self, request, context):
        group = self.group(request.id, context)
        ids = {n.providerID for n in request.nodes} & {i.id for i in self.live(group)}
        if ids and len(self.live(group)) - len(ids) < group.minimum and all(self.owner(i) is group for i in ids):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "minimum reached")
        return super().NodeGroupDeleteNodes(request, context)


class DeletesForeign(Toy):
    def NodeGroupDeleteNodes(self, request, context):
        self.group(request.id, context)
        foreign = [n for n in request.nodes if (o := self.owner(n.providerID)) and o.id != request.id]
        if foreign:
            return pb.NodeGroupDeleteNodesResponse()
        return super().NodeGroupDeleteNodes(request, context)


class DeletedStaysRunning(Toy):
    def delete(self, group, id_):
        super().delete(group, id_)
        group.gone.discard(id_)

    def NodeGroupNodes(self, request, context):
        answer = super().NodeGroupNodes(request, context)
        for instance in answer.instances:
            if instance.status.instanceState == DELETING:
                instance.status.instanceState = RUNNING
        return answer


class DoesNotClamp(Toy):
    def NodeGroupDecreaseTargetSize(self, request, context):
        group = self.group(request.id, context)
        if request.delta >= 0:
            context.abort(INVALID, "not negative")
        group.target += request.delta
        return pb.NodeGroupDecreaseTargetSizeResponse()


class DecreaseDeletes(Toy):
    def NodeGroupDecreaseTargetSize(self, request, context):
        group = self.group(request.id, context)
        if request.delta >= 0:
            context.abort(INVALID, "not negative")
        for instance in self.live(group)[: -request.delta]:
            self.delete(group, instance.id)
        return pb.NodeGroupDecreaseTargetSizeResponse()


class ForgetsOneDeletionAfterRevert(Toy):
    reverts = 0

    def NodeGroupDecreaseTargetSize(self, request, context):
        answer = super().NodeGroupDecreaseTargetSize(request, context)
        self.reverts -= request.delta
        return answer

    def delete(self, group, id_):
        before = group.target
        super().delete(group, id_)
        if self.reverts and group.target < before:
            self.reverts -= 1
            group.target = before


TOYS = {
    "in-time": NoAnswerInTime,
    "no-internal-unknown": Crashes,
    "mandatory-implemented": LeavesOutGpuTypes,
    "served-before-refresh": WantsRefreshFirst,
    "reads-answered": SecondRefreshFails,
    "unknown-group-refused": AnswersForAnyGroup,
    "groups-complete": NoMaximum,
    "groups-steady": PartialList,
    "for-node-complete": IdOnly,
    "for-node-unmanaged": OwnsStrangers,
    "for-node-after-delete": StillKnowsDeleted,
    "instance-id-is-provider-id": ListsOtherIds,
    "instance-state-set": NoState,
    "error-only-on-creating": ErrorOnRunning,
    "error-complete": ErrorWithoutCode,
    "options-unset-or-complete": HalfOptions,
    "template-every-group": OneGroupWithoutTemplate,
    "template-complete": TemplateWithoutPods,
    "template-both-fields": OldFieldOnly,
    "price-template-node": PricesRealNodesOnly,
    "target-rises": TargetLags,
    "creating-listed": HidesPending,
    "beyond-max-refused": CutsToFit,
    "bad-delta-refused": TakesNoDelta,
    "refused-unchanged": CountsRefused,
    "target-is-instances": MakesOneTooMany,
    "target-steady": LowersLater,
    "delete-lowers": LowersTwoForOne,
    "delete-placeholder": RefusesPlaceholders,
    "delete-idempotent": LowersAgain,
    "delete-missing-node": OneMissingFailsAll,
    "delete-concurrent": LosesConcurrentDecrements,
    "delete-below-min": EnforcesMinimum,
    "delete-foreign-refused": DeletesForeign,
    "deleted-not-counted": DeletedStaysRunning,
    "decrease-clamps": DoesNotClamp,
    "decrease-deletes-nothing": DecreaseDeletes,
    "revert-then-delete": ForgetsOneDeletionAfterRevert,
}


def test_every_rule_has_a_toy_that_breaks_it():
    assert TOYS.keys() == RULES.keys()


@pytest.mark.parametrize(("rule", "faulty"), TOYS.items(), ids=TOYS)
def test_a_fault_is_caught_by_exactly_its_rule(rule, faulty):
    groups = [Group("big", maximum=5), Group("small", minimum=int(rule == "delete-below-min"), maximum=3)]
    timeout = 0.3 if rule == "in-time" else 5.0
    verdicts, _ = verdicts_on(faulty(*groups), FAULTY, timeout=timeout)
    assert verdicts.violated() == {rule}, [e for v in verdicts.all() for e in v.evidence]


def test_a_correct_provider_passes_every_trace_and_every_rule_is_exercised():
    toy = Toy(Group("big", maximum=5), Group("small", minimum=1, maximum=3))
    verdicts, played = verdicts_on(toy, library.shipped())
    assert verdicts.violated() == set(), [e for v in verdicts.all() for e in v.evidence]
    idle = {v.rule.id for v in verdicts.all() if v.result is Result.NOT_EXERCISED}
    assert idle == {"error-only-on-creating", "error-complete"}
    assert [(p.skipped, p.notes) for p in played] == [(0, [])] * len(played)


def test_a_provider_out_of_capacity_passes_too():
    toy = Toy(Group("big", maximum=5, fails=True), Group("small", maximum=3))
    verdicts, _ = verdicts_on(toy, ["ca-1.30.7-error", "ca-1.34.5-error", "ca-1.36.1-error"])
    by_id = {v.rule.id: v for v in verdicts.all()}
    assert verdicts.violated() == set()
    assert by_id["error-complete"].result is Result.PASSED


def test_a_replay_leaves_no_machine_of_its_own_and_all_that_were_there():
    toy = Toy(Group("big", maximum=9), Group("small", maximum=3))
    old = toy.groups["big"]
    old.target = 2
    toy.make(old)
    toy.make(old)
    before = set(old.instances)
    verdicts_on(toy, FAULTY)
    assert {i.id for g in toy.groups.values() for i in toy.live(g)} == before
    assert old.target == 2


def test_a_group_without_room_is_reported_and_its_steps_skipped():
    toy = Toy(Group("big", maximum=1), Group("small", maximum=3))
    verdicts, (played,) = verdicts_on(toy, ["ca-1.36.1-updown"])
    assert verdicts.violated() == set()
    assert played.skipped > 0
    assert "of big at 0 of 1" in played.notes[0]


def test_a_machine_that_gets_its_real_id_at_the_wrong_moment_is_no_fault():
    class Renames(Toy):
        """A placeholder becomes a machine of another id right before the first DeleteNodes that names it arrives."""

        def make(self, group):
            super().make(group)
            self.rename(group, next(reversed(group.instances)), "slot://")

        def rename(self, group, old, scheme):
            new = scheme + old.partition("://")[2]
            instance = group.instances.pop(old)
            instance.id = new
            group.instances[new] = instance
            group.age[new] = group.age.pop(old)

        def NodeGroupDeleteNodes(self, request, context):
            group = self.group(request.id, context)
            for node in request.nodes:
                if node.providerID in group.instances and node.providerID.startswith("slot://"):
                    self.rename(group, node.providerID, "toy://")
                    return pb.NodeGroupDeleteNodesResponse()
            return super().NodeGroupDeleteNodes(request, context)

    toy = Renames(Group("big", maximum=5), Group("small", maximum=3))
    verdicts, _ = verdicts_on(toy, ["ca-1.36.1-error", "ca-1.36.1-stuck"])
    assert verdicts.violated() == set(), [e for v in verdicts.all() for e in v.evidence]
    by_id = {v.rule.id: v for v in verdicts.all()}
    assert by_id["delete-placeholder"].looks == 2
