"""Command line of the simulated cloud: ``simulated-cloud serve``, ``simulated-cloud types``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
import uvloop

from nodeset_driver_simulated.cloud.process import serve
from nodeset_driver_simulated.cloud.settings import Settings, check_settings, load_settings
from nodeset_driver_simulated.cloud.store import StateInUse

_LATENCIES = ("create", "read", "boot", "delete")
_SETTINGS = click.option(
    "--settings",
    "settings_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON file: types, quota, latency, visibilityDelay, seed, image. Flags win over it.",
)


@click.group()
@click.version_option(package_name="nodeset-driver-simulated")
def main() -> None:
    """A small cloud whose machines boot by using their user-data."""


@main.command("types")
@_SETTINGS
def types_command(settings_file: Path | None) -> None:
    """Print the instance types as JSON, in the form that --settings takes."""
    click.echo(msgspec.json.format(msgspec.json.encode({"types": _load(settings_file).types})))


@main.command("serve")
@click.option(
    "--state", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File that survives a restart."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: a free one.")
@click.option(
    "--api-token",
    required=True,
    envvar="SIMULATED_CLOUD_TOKEN",
    help="What callers must show. Better in $SIMULATED_CLOUD_TOKEN than on the command line.",
)
@_SETTINGS
@click.option("--create-seconds", type=click.FloatRange(0), help="Until create answers.")
@click.option("--read-seconds", type=click.FloatRange(0), help="Until any other call answers.")
@click.option("--boot-seconds", type=click.FloatRange(0), help="From created to running.")
@click.option("--delete-seconds", type=click.FloatRange(0), help="From delete to gone.")
@click.option("--jitter", type=click.FloatRange(0, 1), help="Share by which these vary.")
@click.option("--visibility-delay", type=click.FloatRange(0), help="Seconds until a new machine is seen.")
@click.option("--seed", type=int, help="Of the jitter.")
@click.option("--quota-instances", type=click.IntRange(0), help="Most machines at a time.")
@click.option("--quota-cpus", type=click.FloatRange(0), help="Most cpus at a time.")
def serve_command(
    *, state: Path, host: str, port: int, api_token: str, settings_file: Path | None, **flags: float | None
) -> None:
    """Serve until SIGTERM. Prints one line of JSON with url and pid as soon as it answers."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = check_settings(_with_flags(_load(settings_file), given))
        uvloop.run(serve(settings, state=state, host=host, port=port, api_token=api_token, ready=_ready))
    except (StateInUse, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _ready(url: str) -> None:
    click.echo(json.dumps({"url": url, "pid": os.getpid()}))


def _load(config: Path | None) -> Settings:
    try:
        return load_settings(config)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _with_flags(settings: Settings, given: Mapping[str, float]) -> Settings:
    """The settings with the flags that were given."""
    latency = {name: given[f"{name}_seconds"] for name in _LATENCIES if f"{name}_seconds" in given}
    if "jitter" in given:
        latency["jitter"] = given["jitter"]
    quota = {name: given[f"quota_{name}"] for name in ("instances", "cpus") if f"quota_{name}" in given}
    other = {name: given[name] for name in ("visibility_delay", "seed") if name in given}
    return msgspec.structs.replace(
        settings,
        latency=msgspec.structs.replace(settings.latency, **latency),
        quota=msgspec.structs.replace(settings.quota, **quota),
        **other,
    )
