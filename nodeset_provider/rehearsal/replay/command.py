"""``rehearse replay``: plays traces at a provider and reports on the contract's rules."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich.console import Console

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.connection import Provider, Target
from nodeset_provider.rehearsal.options import channel_to, provider_options
from nodeset_provider.rehearsal.replay import library, report
from nodeset_provider.rehearsal.replay.language import Trace, TraceError
from nodeset_provider.rehearsal.replay.player import play
from nodeset_provider.rehearsal.replay.stage import Pace, Played, ProviderError, Session


class MappingError(ValueError):
    """--map is wrong; the message names what was expected."""


def map_groups(traces: Sequence[Trace], offered: Sequence[str], chosen: Sequence[str]) -> dict[str, str]:
    """Trace's group name → provider's group id: ``chosen`` (``a=big``) first, the others in the provider's order.

    A trace's group for which the provider has none left stays out; its steps are skipped. Raises MappingError.
    """
    names = list(dict.fromkeys(name for trace in traces for name in trace.groups))
    mapping: dict[str, str] = {}
    for word in chosen:
        name, sign, id_ = word.partition("=")
        if not sign or name not in names:
            raise MappingError(f"--map {word}: expected NAME=GROUP with a group of the traces ({', '.join(names)})")
        if id_ not in offered:
            raise MappingError(f"--map {word}: the provider has no group {id_!r}, only {', '.join(offered) or 'none'}")
        if id_ in mapping.values():
            raise MappingError(f"--map {word}: {id_!r} plays another group already")
        mapping[name] = id_
    left = iter([id_ for id_ in offered if id_ not in mapping.values()])
    for name in names:
        if name not in mapping and (free := next(left, None)):
            mapping[name] = free
    return mapping


def _list_traces(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and not ctx.resilient_parsing:
        click.echo("\n".join(library.shipped()))
        ctx.exit()


@click.command()
@provider_options
@click.option(
    "--map", "chosen", multiple=True, metavar="NAME=GROUP", help="Group of the traces = group of the provider."
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="1 waits as the autoscaler waited, 10 a tenth of it, 0 not at all.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a machine of the trace to be listed, or to run where it was a Node.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_traces,
    help="Print the names of the shipped traces and end.",
)
@click.argument("traces", nargs=-1, metavar="[TRACE]...")
def replay(
    *,
    target: Target,
    timeout: float,
    chosen: Sequence[str],
    speed: float,
    patience: float,
    as_json: bool,
    traces: Sequence[str],
) -> None:
    """Send recorded sequences of the autoscaler to a provider and check its contract on the answers.

    TRACE is a shipped trace's name, a file of the trace language, or a recording (.jsonl); all shipped ones by default.
    The provider's groups are really scaled: what a trace made is deleted at its end. Nobody else may scale them
    meanwhile. Exits with 1 where a rule is violated.
    """
    try:
        loaded = [library.load(name) for name in traces or library.shipped()]
    except TraceError as error:
        raise click.UsageError(str(error)) from error
    played: list[Played] = []
    with channel_to(target) as channel:
        session = Session(Provider(channel, timeout=timeout), Pace(speed, patience))
        try:
            mapping = map_groups(loaded, _offered(session.provider), chosen)
            for trace in loaded:
                mapped = {name: id_ for name, id_ in mapping.items() if name in trace.groups}
                played.append(play(session, trace, mapped))
        except MappingError as error:
            raise click.UsageError(str(error)) from error
        except ProviderError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(report.as_json(target.address, played, session.verdicts), indent=2))
    else:
        report.show(Console(), target.address, played, session.verdicts)
    if session.verdicts.violated():
        raise SystemExit(1)


def _offered(provider: Provider) -> list[str]:
    listing = provider.call("NodeGroups", pb.NodeGroupsRequest())
    if listing.answer is None:
        # A provider may want the first Refresh; that it should not is found out by the traces.
        provider.call("Refresh", pb.RefreshRequest())
        listing = provider.call("NodeGroups", pb.NodeGroupsRequest())
    if not isinstance(listing.answer, pb.NodeGroupsResponse):
        raise ProviderError(f"NodeGroups answered {listing.code.name}: {listing.details}")
    if not listing.answer.nodeGroups:
        raise ProviderError("the provider has no node groups: make one or two that may grow, then rehearse")
    return [group.id for group in listing.answer.nodeGroups]
