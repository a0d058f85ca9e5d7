"""The ``rehearse`` group of commands: replay, loop, autoscale."""

from __future__ import annotations

import json

import click
from rich.console import Console

from nodeset_provider.rehearsal import steady
from nodeset_provider.rehearsal.autoscale.command import autoscale
from nodeset_provider.rehearsal.connection import Provider, Target
from nodeset_provider.rehearsal.options import channel_to, provider_options
from nodeset_provider.rehearsal.replay.command import replay
from nodeset_provider.rehearsal.replay.language import release_of

_COUNT = click.IntRange(min=1)


@click.group()
def rehearse() -> None:
    """Play the Cluster Autoscaler against any external gRPC provider.

    A stand-in for demos, conformance and benchmarks, not the autoscaler itself: docs/rehearsal.md says how to run the
    real one.
    """


@click.command()
@provider_options
@click.option("--release", type=click.Choice(steady.RELEASES), default="1.36", show_default=True)
@click.option("--groups", type=_COUNT, help="Ask about this many groups; all of the provider's by default.")
@click.option("--nodes", type=click.IntRange(min=0), help="Ask about this many instances; all by default.")
@click.option(
    "--unneeded", type=click.IntRange(min=0), default=0, show_default=True, help="Nodes of them that are idle."
)
@click.option(
    "--strangers", type=click.IntRange(min=0), default=0, show_default=True, help="Nodes of no group, besides."
)
@click.option("--loops", type=_COUNT, default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def loop(
    *,
    target: Target,
    timeout: float,
    release: str,
    groups: int | None,
    nodes: int | None,
    unneeded: int,
    strangers: int,
    loops: int,
    as_json: bool,
) -> None:
    """Send the steady loop of a release and measure the answers. Changes nothing at the provider."""
    with channel_to(target) as channel:
        try:
            people = steady.census(
                Provider(channel, timeout=timeout), groups=groups, nodes=nodes, unneeded=unneeded, strangers=strangers
            )
            measured = steady.run(channel, release_of(release), people, loops, timeout=timeout)
        except steady.SteadyError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(measured.as_json(), indent=2))
    else:
        steady.show(Console(), measured)


for _command in (replay, loop, autoscale):
    rehearse.add_command(_command)
