"""The command ``nodeset-provider version``."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from nodeset_provider.driverkit.registry import ENTRY_POINT_GROUP


def provider_version() -> str:
    """Of the installed package."""
    return metadata.version("nodeset-provider")


@click.command()
def version() -> None:
    """Say which version this is, and of what it is made."""
    click.echo(f"nodeset-provider {provider_version()}")
    click.echo(f"Python {platform.python_version()}, grpcio {metadata.version('grpcio')}")
    drivers = sorted({entry_point.name for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP)})
    click.echo(f"drivers: {', '.join(drivers) or 'none installed'}")
