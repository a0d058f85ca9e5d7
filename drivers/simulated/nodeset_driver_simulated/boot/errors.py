"""Why a machine does not join."""

from __future__ import annotations


class BootError(Exception):
    """The machine cannot join with this configuration, however often it tries. The message goes to its console."""
