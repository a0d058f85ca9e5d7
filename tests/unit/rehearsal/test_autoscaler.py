"""The stand-in's passes at a toy provider and a cluster in memory: up, down, failures, no machine too many."""

# Arguments are fixtures and parameters: their names say what they are.
# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202, ANN204, N802

import contextlib
import io
import json

import grpc
import msgspec
import pytest
from rehearsal_objects import NOW, node, pod
from toy_provider import Group, Toy, serve

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.autoscale.cluster import ClusterError
from nodeset_provider.rehearsal.autoscale.events import EventLog
from nodeset_provider.rehearsal.autoscale.front_door import FrontDoor
from nodeset_provider.rehearsal.autoscale.kinds import TO_BE_DELETED, Taint
from nodeset_provider.rehearsal.autoscale.loop import Autoscaler, Settings
from nodeset_provider.rehearsal.connection import Provider, Target, open_channel

QUICK = Settings(expander="first", unneeded_time=10, delay_after_add=0, max_node_provision_time=30, initial_backoff=100)


class MemoryCluster:
    def __init__(self):
        self.by_name = {}
        self.all_pods = []
        self.late = []

    def nodes(self):
        return list(self.by_name.values())

    def pods(self, on=""):
        return [p for p in self.all_pods + (self.late if on else []) if not on or p.spec.node_name == on]

    def daemon_sets(self):
        return []

    def mark_going(self, it):
        return self._write(it, [*it.spec.taints, Taint(TO_BE_DELETED, "0", "NoSchedule")])

    def unmark_going(self, it):
        return self._write(it, [t for t in it.spec.taints if t.key != TO_BE_DELETED])

    def _write(self, it, taints):
        changed = msgspec.structs.replace(it, spec=msgspec.structs.replace(it.spec, taints=taints))
        self.by_name[it.metadata.name] = changed
        return changed

    def register(self, toy, group, **options):
        for id_ in toy.groups[group].instances:
            name = id_.rpartition("/")[2]
            self.by_name.setdefault(name, node(name, provider_id=id_, group=group, **options))

    def pending(self, count, **spec):
        self.all_pods += [pod(pending=True, **spec) for _ in range(count)]


class Rig:
    def __init__(self, toy, door, settings=QUICK):
        self.toy = toy
        self.time = 0.0
        self.cluster = MemoryCluster()
        self.file = io.StringIO()
        log = EventLog(None, self.file, now=lambda: NOW)
        self.scaler = Autoscaler(self.cluster, door, log, settings, clock=lambda: self.time, now=lambda: NOW)

    def settle(self, after=0.0):
        self.time += after
        while self.scaler.run_once():
            pass
        return {g.id: g.target for g in self.toy.groups.values()}

    def events(self, kind):
        lines = [json.loads(line) for line in self.file.getvalue().splitlines()]
        return [line for line in lines if line["event"] == kind]


@pytest.fixture
def rig_for():
    with contextlib.ExitStack() as stack:

        def make(*groups, kind=Toy, settings=QUICK):
            toy = kind(*groups)
            channel = stack.enter_context(open_channel(Target(stack.enter_context(serve(toy)))))
            return Rig(toy, FrontDoor(Provider(channel)), settings)

        yield make


def test_pending_pods_become_the_nodes_they_need_once_however_often_it_looks(rig_for):
    rig = rig_for(Group("big"), Group("small"))
    rig.cluster.pending(3, cpu="1", nodeSelector={"group": "big"})
    rig.cluster.pending(1, cpu="1", nodeSelector={"group": "small"})
    for _ in range(3):
        assert rig.settle(after=1) == {"big": 2, "small": 1}
    rig.cluster.register(rig.toy, "big", ready=False)
    assert rig.settle(after=1) == {"big": 2, "small": 1}
    assert [(e["group"], e["delta"], e["pod_count"]) for e in rig.events("scale_up")] == [
        ("big", 2, 3),
        ("small", 1, 1),
    ]


def test_idle_nodes_are_marked_and_deleted_after_their_time_and_the_minimum_stays(rig_for):
    rig = rig_for(Group("big", minimum=1))
    rig.cluster.pending(3, cpu="2")
    assert rig.settle() == {"big": 3}
    rig.cluster.register(rig.toy, "big")
    rig.cluster.all_pods = [pod(on="big-1"), pod(on="big-2", owner="DaemonSet")]
    assert rig.settle(after=1) == {"big": 3}
    assert rig.settle(after=9) == {"big": 3}
    assert rig.settle(after=1) == {"big": 1}
    gone = {e["node"] for e in rig.events("scale_down")}
    assert gone == {"big-2", "big-3"}
    assert {n.metadata.name for n in rig.cluster.nodes() if n.going} == gone
    rig.cluster.all_pods = []
    assert rig.settle(after=100) == {"big": 1}


def test_a_pod_that_comes_between_look_and_mark_keeps_its_node(rig_for):
    rig = rig_for(Group("big"))
    rig.cluster.pending(1, cpu="1")
    rig.settle()
    rig.cluster.register(rig.toy, "big")
    rig.cluster.all_pods = []
    rig.settle()
    rig.cluster.late = [pod(on="big-1")]
    assert rig.settle(after=20) == {"big": 1}
    assert not any(n.going for n in rig.cluster.nodes())


def test_nothing_goes_for_a_while_after_a_scale_up(rig_for):
    settings = Settings("first", 10, 60, 300, 100, 200)
    rig = rig_for(Group("big"), settings=settings)
    rig.cluster.pending(1, cpu="1")
    rig.settle()
    rig.cluster.register(rig.toy, "big")
    rig.cluster.all_pods = []
    rig.settle()
    assert rig.settle(after=59) == {"big": 1}
    assert rig.settle(after=2) == {"big": 0}


def test_a_create_error_is_cleaned_up_backs_the_group_off_and_another_group_is_tried(rig_for):
    rig = rig_for(Group("dry", fails=True), Group("wet"))
    rig.cluster.pending(1, cpu="1")
    assert rig.settle() == {"dry": 0, "wet": 1}
    assert [(e["group"], e["code"], e["error_class"]) for e in rig.events("create_error")] == [
        ("dry", "InsufficientCapacity", 1)
    ]
    assert [(e["group"], e["seconds"]) for e in rig.events("backoff")] == [("dry", 100)]


def test_a_group_is_tried_again_when_its_back_off_is_over_and_then_left_alone_for_longer(rig_for):
    rig = rig_for(Group("dry", fails=True))
    rig.cluster.pending(1, cpu="1")
    rig.settle()
    rig.settle(after=99)
    assert rig.toy.groups["dry"].made == 1
    rig.settle(after=2)
    assert rig.toy.groups["dry"].made == 2
    assert [e["seconds"] for e in rig.events("backoff")] == [100, 200]


def test_a_machine_that_never_registers_is_deleted_and_the_group_backed_off(rig_for):
    rig = rig_for(Group("big"))
    rig.cluster.pending(1, cpu="1")
    assert rig.settle() == {"big": 1}
    assert rig.settle(after=1) == {"big": 1}
    assert rig.settle(after=31) == {"big": 0}
    assert [e["instance"] for e in rig.events("registration_timeout")] == ["toy://big-1"]
    assert [e["group"] for e in rig.events("backoff")] == ["big"]


def test_a_machine_that_never_registers_stays_at_the_minimum(rig_for):
    rig = rig_for(Group("big", minimum=1))
    rig.cluster.pending(1, cpu="1")
    rig.settle()
    rig.settle(after=1)
    assert rig.settle(after=100) == {"big": 1}


def test_a_refused_scale_up_backs_the_group_off(rig_for):
    class Refuses(Toy):
        def NodeGroupIncreaseSize(self, request, context):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota")

    rig = rig_for(Group("big"), kind=Refuses)
    rig.cluster.pending(1, cpu="1")
    assert rig.settle() == {"big": 0}
    assert "quota" in rig.events("scale_up_failed")[0]["message"]
    assert rig.events("backoff")[0]["group"] == "big"


def test_a_refused_deletion_takes_the_mark_off_again(rig_for):
    class Refuses(Toy):
        def NodeGroupDeleteNodes(self, request, context):
            context.abort(grpc.StatusCode.UNAVAILABLE, "later")

    rig = rig_for(Group("big"), kind=Refuses)
    rig.cluster.pending(1, cpu="1")
    rig.settle()
    rig.cluster.register(rig.toy, "big")
    rig.cluster.all_pods = []
    rig.settle()
    assert rig.settle(after=20) == {"big": 1}
    assert "later" in rig.events("scale_down_failed")[0]["message"]
    assert not any(n.going for n in rig.cluster.nodes())


def test_nodes_of_nobody_are_left_alone(rig_for):
    rig = rig_for(Group("big"))
    rig.cluster.by_name["stranger"] = node("stranger")
    rig.settle()
    rig.settle(after=1000)
    assert not rig.cluster.by_name["stranger"].going


def test_a_pod_that_nothing_helps_is_reported_once(rig_for):
    rig = rig_for(Group("big"))
    rig.cluster.pending(1, cpu="64")
    rig.settle()
    rig.settle()
    (event,) = rig.events("no_scale_up")
    assert list(event["pods"].values()) == [{"big": "not enough cpu"}]


def test_a_provider_that_is_away_is_reported_once_and_work_goes_on_when_it_is_back(rig_for):
    class Away(Toy):
        away = True

        def Refresh(self, request, context):
            if self.away:
                context.abort(grpc.StatusCode.UNAVAILABLE, "caches not synced")
            return super().Refresh(request, context)

    rig = rig_for(Group("big"), kind=Away)
    rig.cluster.pending(1, cpu="1")
    assert [rig.settle(), rig.settle()] == [{"big": 0}] * 2
    assert len(rig.events("provider_refused")) == 1
    rig.toy.away = False
    assert rig.settle() == {"big": 1}


def test_an_api_server_that_is_away_is_reported_and_nothing_is_scaled(rig_for):
    rig = rig_for(Group("big"))

    def gone():
        raise ClusterError("GET /api/v1/nodes: 503")

    rig.cluster.nodes = gone
    assert rig.settle() == {"big": 0}
    assert "503" in rig.events("cluster_refused")[0]["message"]


def test_a_mark_left_by_an_earlier_run_is_taken_off_at_the_start(rig_for):
    rig = rig_for(Group("big"))
    rig.toy.groups["big"].target = 1
    rig.toy.make(rig.toy.groups["big"])
    rig.cluster.by_name["big-1"] = node("big-1", taints=(TO_BE_DELETED, "other"))
    rig.scaler.recover()
    assert [t.key for t in rig.cluster.by_name["big-1"].spec.taints] == ["other"]


def test_the_cheaper_group_wins_with_the_price_expander(rig_for):
    class Priced(Toy):
        def PricingNodePrice(self, request, context):
            return pb.PricingNodePriceResponse(price={"dear": 9.0, "cheap": 1.0}[request.node.labels["group"]])

    rig = rig_for(Group("dear"), Group("cheap"), kind=Priced, settings=Settings(expander="price"))
    rig.cluster.pending(1, cpu="1")
    assert rig.settle() == {"dear": 0, "cheap": 1}


def test_events_are_json_lines_with_their_time_and_lines_for_people():
    lines, file = io.StringIO(), io.StringIO()
    log = EventLog(lines, file, now=lambda: NOW)
    log.emit("scale_up", group="big", delta=2, pods=["a", "b"], message="two words")
    assert lines.getvalue() == '00:00:00.000 scale_up group=big delta=2 pods=a,b message="two words"\n'
    assert json.loads(file.getvalue()) == {
        "time": "2026-01-01T00:00:00.000+00:00",
        "event": "scale_up",
        "group": "big",
        "delta": 2,
        "pods": ["a", "b"],
        "message": "two words",
    }
