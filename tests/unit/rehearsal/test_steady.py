"""The steady loop sends the contract's mix, measures it, and says when it cannot."""

# Arguments are fixtures and parameters: their names say what they are.
# ruff: noqa: ANN001, ANN201, ANN202, N802

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_provider import Group, Toy, serve

from nodeset_provider.rehearsal import steady
from nodeset_provider.rehearsal.connection import Provider, Target, open_channel


def people(groups, nodes, unneeded=0, strangers=0):
    names = tuple(f"g{i}" for i in range(groups))
    return steady.Population(
        names, tuple((f"i-{i}", names[i % groups]) for i in range(nodes)), min(unneeded, nodes), strangers
    )


@settings(deadline=None)
@given(
    st.sampled_from([(1, 28), (1, 30), (1, 34), (1, 36)]),
    st.builds(people, st.integers(1, 9), st.integers(0, 30), st.integers(0, 30), st.integers(0, 5)),
)
def test_the_script_of_a_loop_is_what_the_formula_says(release, crowd):
    counted: dict[str, int] = {}
    for rpc, _ in steady.calls(release, crowd):
        counted[rpc] = counted.get(rpc, 0) + 1
    assert counted == {rpc: count for rpc, count in steady.budget(release, crowd).items() if count}


def test_four_groups_with_ten_idle_nodes_each_are_214_calls_as_measured_on_1_30():
    assert sum(steady.budget((1, 30), people(4, 40, unneeded=40)).values()) == 214


def test_the_loop_takes_ids_from_the_provider_and_counts_every_call():
    toy = Toy(Group("big", maximum=9), Group("small"))
    for _ in range(3):
        toy.make(toy.groups["big"])
    with serve(toy) as address, open_channel(Target(address)) as channel:
        crowd = steady.census(Provider(channel), groups=None, nodes=2, unneeded=1, strangers=1)
        measured = steady.run(channel, (1, 36), crowd, loops=2)
    facts = measured.as_json()
    assert (facts["groups"], facts["nodes"], len(facts["loops"])) == (2, 2, 2)
    assert facts["rpcs_per_loop"] == facts["budget"] == 1 + 1 + (2 + 4) + 6 + (2 + 4 + 4) + 1
    assert {rpc: len(times) for rpc, times in measured.latencies.items()} == {
        rpc: 2 * count for rpc, count in measured.sent.items()
    }
    assert all(it["p50_ms"] <= it["p99_ms"] for it in facts["rpcs"].values())


def test_more_groups_or_nodes_than_there_are_is_an_error_that_names_the_option():
    with serve(Toy(Group("big"))) as address, open_channel(Target(address)) as channel:
        with pytest.raises(steady.SteadyError, match="--groups 2: the provider has 1"):
            steady.census(Provider(channel), groups=2, nodes=None, unneeded=0, strangers=0)
        with pytest.raises(steady.SteadyError, match="--nodes 5: the 1 groups have 0 instances"):
            steady.census(Provider(channel), groups=1, nodes=5, unneeded=0, strangers=0)


def test_a_refused_call_ends_the_loop():
    class NoOptions(Toy):
        def NodeGroupGetOptions(self, request, context):
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    toy = NoOptions(Group("big"))
    toy.make(toy.groups["big"])
    with serve(toy) as address, open_channel(Target(address)) as channel:
        crowd = steady.census(Provider(channel), groups=None, nodes=None, unneeded=0, strangers=0)
        with pytest.raises(steady.SteadyError, match="NodeGroupGetOptions was refused"):
            steady.run(channel, (1, 36), crowd, loops=1)
