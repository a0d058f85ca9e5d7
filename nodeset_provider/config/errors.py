"""The one error of this package."""

from __future__ import annotations

from collections.abc import Sequence


class ConfigError(Exception):
    """What is wrong with the configuration, one line per problem; each names the key, its source and the remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
