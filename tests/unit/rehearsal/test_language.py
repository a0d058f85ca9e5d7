"""The trace language: what is written is read, what is wrong is named, recordings become parts in a story."""

# Arguments are fixtures and parameters: their names say what they are.
# ruff: noqa: ANN001, ANN201

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeset_provider.rehearsal.replay import library
from nodeset_provider.rehearsal.replay.language import (
    BEYOND_MAX,
    Machine,
    Shape,
    Step,
    Stranger,
    TemplateNode,
    Trace,
    TraceError,
    parse,
)
from nodeset_provider.rehearsal.replay.recording import trace_of_recording

group = st.sampled_from(["a", "b"])
machine = st.builds(Machine, group, st.integers(1, 9), st.sampled_from(Shape))
at = st.integers(0, 100_000).map(lambda n: n / 100)
steps = st.one_of(
    st.builds(Step, at, st.sampled_from(["Refresh", "NodeGroups", "GPULabel", "PricingPodPrice", "Cleanup"])),
    st.builds(Step, at, st.sampled_from(["NodeGroupNodes", "NodeGroupTargetSize", "NodeGroupGetOptions"]), group),
    st.builds(Step, at, st.just("NodeGroupIncreaseSize"), group, st.integers(-9, 9) | st.just(BEYOND_MAX)),
    st.builds(
        Step, at, st.just("NodeGroupForNode"), subjects=st.tuples(machine | st.builds(Stranger, st.integers(1, 9)))
    ),
    st.builds(Step, at, st.just("PricingNodePrice"), subjects=st.tuples(st.builds(TemplateNode, group))),
    st.builds(
        Step,
        at,
        st.just("NodeGroupDeleteNodes"),
        group,
        subjects=st.lists(machine, min_size=1, max_size=3).map(tuple),
        together=st.booleans(),
    ),
)


@settings(deadline=None)
@given(st.lists(steps, max_size=20).map(tuple))
def test_what_is_written_is_read_back(written):
    trace = Trace("t", (1, 36), ("a", "b"), written)
    assert parse(str(trace)) == trace


@pytest.mark.parametrize("name", library.shipped())
def test_a_shipped_trace_says_itself_in_its_own_words(name):
    trace = library.load(name)
    assert trace.name == name
    assert parse(str(trace)) == trace


HEAD = "trace t\nrelease 1.36\ngroups a b\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("release 1.36\ngroups a\n", "expected one line 'trace NAME'"),
        ("trace t\nrelease new\ngroups a\n", "release 'new'"),
        ("trace t\nrelease 1.36\ngroups a a\n", "groups 'a a'"),
        ("trace t\nrelease 1.36\ngroups nowhere\n", "groups 'nowhere'"),
        (HEAD + "Refresh\n", "line 4: 'Refresh': expected @SECONDS"),
        (HEAD + "@soon Refresh\n", "line 4: '@soon'"),
        (HEAD + "\n@1 Reload\n", "line 5: 'Reload' is no call"),
        (HEAD + "@1 NodeGroupNodes c\n", "line 4: 'c': expected one of the groups a, b, nowhere"),
        (HEAD + "@1 NodeGroupIncreaseSize a much\n", "line 4: 'much': expected a number or beyond-max"),
        (HEAD + "@1 NodeGroupDeleteNodes a\n", "line 4: NodeGroupDeleteNodes: a machine is missing"),
        (HEAD + "@1 NodeGroupDeleteNodes a a[0]\n", "line 4: 'a[0]': expected a machine"),
        (HEAD + "@1 NodeGroupForNode a[1]:lost\n", "line 4: 'a[1]:lost': a machine is node, unregistered"),
        (HEAD + "@1 NodeGroupForNode a[1] a[2]\n", "line 4: NodeGroupForNode: 'a[2]' is one word too many"),
        (HEAD + "@1 Refresh\ngroups c\n", "line 5: 'groups'"),
    ],
)
def test_a_wrong_line_is_named_with_what_was_expected(text, said):
    with pytest.raises(TraceError) as error:
        parse(text)
    assert said in str(error.value)


def recorded(rpc, t=0.0, loop=0, request=None, response=None):
    return json.dumps({"t": t, "loop": loop, "rpc": rpc, "request": request or {}, "response": response or {}})


def test_a_recording_becomes_parts_in_order_of_appearance_and_calls_at_once_stay_so():
    reason = {"k8s.io/cluster-autoscaler/fake-node-reason": "unregistered"}
    lines = [
        recorded("NodeGroups", response={"nodeGroups": [{"id": "a"}]}),
        recorded("NodeGroupForNode", 1, request={"node": {"providerID": "x://1", "name": "somebody"}}),
        recorded("NodeGroupIncreaseSize", 2, request={"id": "a", "delta": 2}),
        recorded("NodeGroupNodes", 3, request={"id": "a"}, response={"instances": [{"id": "i-9"}, {"id": "i-3"}]}),
        recorded("NodeGroupDeleteNodes", 5.0, 2, {"id": "a", "nodes": [{"providerID": "i-3", "name": "n"}]}),
        recorded(
            "NodeGroupDeleteNodes",
            5.01,
            2,
            {"id": "a", "nodes": [{"providerID": "i-9", "name": "i-9", "annotations": reason}]},
        ),
    ]
    trace = trace_of_recording("\n".join(lines), name="mine", release=(1, 30))
    assert str(trace).splitlines()[3:] == [
        "@0 NodeGroups",
        "@1 NodeGroupForNode stranger[1]",
        "@2 NodeGroupIncreaseSize a +2",
        "@3 NodeGroupNodes a",
        "@5 NodeGroupDeleteNodes a a[2]",
        "@5.01 & NodeGroupDeleteNodes a a[1]:unregistered",
    ]


def test_a_recording_is_loaded_by_its_file_with_the_release_in_its_name(tmp_path):
    path = tmp_path / "ca-1.28.7-mine.jsonl"
    path.write_text(recorded("NodeGroups", response={"nodeGroups": [{"id": "a"}]}))
    assert library.load(str(path)).release == (1, 28)
    nameless = tmp_path / "mine.jsonl"
    nameless.write_text(path.read_text())
    with pytest.raises(TraceError, match="has to hold the autoscaler's release"):
        library.load(str(nameless))


def test_an_unknown_trace_is_answered_with_those_there_are():
    with pytest.raises(TraceError, match=r"shipped traces are .*probes"):
        library.load("ca-0.1")
