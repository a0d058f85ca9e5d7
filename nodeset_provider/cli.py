"""The command ``nodeset-provider``: serve, rehearse, version.

Every command is imported when it is asked for: the server does not load the rehearsal, nor the other way round.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

import click

_COMMANDS: Final = {
    "serve": ("nodeset_provider.server.command", "serve", "Run the provider: gRPC front door and controllers."),
    "rehearse": (
        "nodeset_provider.rehearsal.cli",
        "rehearse",
        "Play the Cluster Autoscaler against any external gRPC provider.",
    ),
    "version": ("nodeset_provider.server.version", "version", "Say which version this is, and of what it is made."),
}
"""Name → module, attribute, and the line that the help shows without importing it."""


class LazyGroup(click.Group):
    """A group whose commands are imported by :data:`_COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import it."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


_group: Callable[..., Any] = click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})


@_group
def main() -> None:
    """nodeset-provider: a Kubernetes cluster that manages its own worker nodes."""
