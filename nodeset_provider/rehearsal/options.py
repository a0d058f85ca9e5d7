"""Options that every ``rehearse`` command has: where the provider is and how to reach it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import grpc

from nodeset_provider.rehearsal.connection import GRPC_TIMEOUT, ConnectionSettingsError, Target, open_channel

_FILE = click.Path(path_type=Path, dir_okay=False)


def provider_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --address, --cert, --key, --cacert and --timeout; the command gets ``target`` and ``timeout`` instead."""

    @functools.wraps(command)
    def wrapped(*, address: str, cert: Path | None, key: Path | None, cacert: Path | None, **rest: object) -> None:
        command(target=Target(address, cert, key, cacert), **rest)

    options = (
        click.option("--address", required=True, metavar="HOST:PORT", help="Where the provider listens."),
        click.option("--cert", type=_FILE, help="Client certificate (PEM); left out: plaintext."),
        click.option("--key", type=_FILE, help="Key of the client certificate (PEM)."),
        click.option("--cacert", type=_FILE, help="CA of the provider's certificate (PEM)."),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=GRPC_TIMEOUT,
            show_default=True,
            help="Seconds for one call, as the autoscaler's grpc_timeout.",
        ),
    )
    decorated: Callable[..., None] = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


@contextmanager
def channel_to(target: Target) -> Iterator[grpc.Channel]:
    """An open channel; wrong certificate options end the command with a usage error."""
    try:
        channel = open_channel(target)
    except ConnectionSettingsError as error:
        raise click.UsageError(str(error)) from error
    with channel:
        yield channel
