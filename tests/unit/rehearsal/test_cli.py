"""The commands: exit codes, JSON, mapping of groups, and usage errors that name the option."""

# Arguments are fixtures and parameters: their names say what they are.
# ruff: noqa: ANN001, ANN002, ANN201

import json

import pytest
from click.testing import CliRunner
from toy_provider import Group, Toy, serve

from nodeset_provider.rehearsal.autoscale.command import Duration
from nodeset_provider.rehearsal.cli import rehearse


def run(*words):
    return CliRunner().invoke(rehearse, words)


class Doubles(Toy):
    def delete(self, group, id_):
        super().delete(group, id_)
        group.target -= 1


def test_replay_of_a_correct_provider_exits_with_0_and_lists_every_rule():
    with serve(Toy()) as address:
        result = run("replay", "--address", address, "--speed", "0", "--json", "probes")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["ok"] is True
    assert {rule["result"] for rule in report["rules"]} == {"passed", "not exercised"}
    assert report["traces"] == [{"name": "probes", "sent": report["traces"][0]["sent"], "skipped": 0, "notes": []}]


def test_replay_of_a_wrong_provider_exits_with_1_and_shows_the_evidence():
    with serve(Doubles()) as address:
        result = run("replay", "--address", address, "--speed", "0", "--patience", "0", "probes")
    assert result.exit_code == 1
    assert "violated" in result.stdout
    assert "would" in result.stdout


def test_map_decides_which_group_plays_which():
    toy = Toy(Group("big", maximum=5), Group("small", maximum=5))
    with serve(toy) as address:
        result = run("replay", "--address", address, "--speed", "0", "--map", "a=small", "ca-1.36.1-stuck")
    assert result.exit_code == 0
    assert (toy.groups["big"].made, toy.groups["small"].made) == (0, 3)


def test_a_provider_with_one_group_skips_what_needs_two():
    with serve(Toy(Group("only", maximum=5))) as address:
        result = run("replay", "--address", address, "--speed", "0", "--json", "probes")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["traces"][0]["skipped"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--map", "a"), "expected NAME=GROUP"),
        (("--map", "c=big"), "expected NAME=GROUP"),
        (("--map", "a=huge"), "no group 'huge'"),
        (("--map", "a=big", "--map", "b=big"), "'big' plays another group already"),
        (("--cert", "x"), "--key, --cacert left out"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_names_it(words, said):
    with serve(Toy()) as address:
        result = run("replay", "--address", address, *words, "probes")
    assert result.exit_code == 2
    assert said in result.output


def test_a_provider_without_groups_is_told_what_to_make():
    toy = Toy()
    toy.groups.clear()
    with serve(toy) as address:
        result = run("replay", "--address", address, "probes")
    assert result.exit_code == 1
    assert "has no node groups" in result.output


def test_shipped_traces_can_be_listed_without_a_provider():
    result = run("replay", "--list")
    assert result.exit_code == 0
    assert "ca-1.36.1-stuck" in result.output.split()


def test_loop_prints_counts_against_the_budget():
    with serve(Toy()) as address:
        table = run("loop", "--address", address, "--release", "1.30", "--loops", "1")
        facts = json.loads(run("loop", "--address", address, "--loops", "1", "--json").stdout)
    assert table.exit_code == 0
    assert "NodeGroupTargetSize" in table.output
    assert facts["rpcs_per_loop"] == facts["budget"]


def test_help_says_that_it_is_a_stand_in_and_how_to_run_the_real_one():
    text = run("autoscale", "--help").output
    assert "stand-in" in text
    assert "--cloud-provider=externalgrpc --cloud-config=cloud-config.yaml" in text


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("2", 2), ("0s", 0)])
def test_durations_are_written_as_the_autoscaler_writes_them(text, seconds):
    assert Duration().convert(text, None, None) == seconds


def test_a_wrong_duration_is_a_usage_error():
    result = run("autoscale", "--address", "x", "--scan-interval", "10 parsecs")
    assert result.exit_code == 2
    assert "expected a duration such as 10s" in result.output
