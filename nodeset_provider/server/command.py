"""The command ``nodeset-provider serve``: its flags are the table of settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from nodeset_provider.config import SETTINGS, ConfigError, Setting, check, load
from nodeset_provider.config.sources import FILE_VARIABLE

USAGE_ERROR = 2
"""Exit code where the configuration is wrong, as click's own."""


def _option(setting: Setting) -> Callable[[Any], Any]:
    text = f"{setting.help} [{setting.variable}]"
    name = setting.key.replace(".", "__")
    if setting.type is bool:
        return click.option(f"{setting.flag}/{setting.flag.replace('--', '--no-', 1)}", name, default=None, help=text)
    default = ",".join(setting.default) if isinstance(setting.default, tuple) else str(setting.default)
    shown = f"{text} Default: {default}." if default else text
    if setting.choices:
        return click.option(setting.flag, name, metavar="|".join(setting.choices), help=shown)
    metavar = {float: "NUMBER", str: "TEXT"}.get(setting.type, "TEXT,…")
    return click.option(setting.flag, name, metavar=metavar, help=shown)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(list(SETTINGS.values())):
        command = _option(setting)(command)
    return command


@click.command()
@click.option(
    "--config", "file", metavar="FILE", help=f"Settings as YAML; flags and environment win. [{FILE_VARIABLE}]"
)
@_options
def serve(*, file: str | None, **given: object) -> None:
    """Run the provider: gRPC front door and controllers.

    Every setting can stand in the file, in an environment variable (in brackets) and in a flag; a flag wins over the
    environment, and that over the file.
    """
    flags = {name.replace("__", "."): value for name, value in given.items() if value is not None}
    try:
        loaded = load(file=file, environment=os.environ, flags=flags)
        check(loaded)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(USAGE_ERROR)
    from nodeset_provider.server.process import run  # noqa: PLC0415 - gRPC starts threads when it is imported

    sys.exit(run(loaded))
