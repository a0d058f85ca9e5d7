"""The documentation as text, for the tests that hold it to the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]


def cells(line: str) -> list[str]:
    """The cells of one row of a Markdown table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


class Pages:
    """The documentation as text."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def all(self) -> Iterator[tuple[str, str]]:
        """(path below the repository, text) of every page that users read."""
        for path in [self.root / "README.md", *sorted((self.root / "docs").rglob("*.md"))]:
            yield str(path.relative_to(self.root)), path.read_text(encoding="utf-8")

    def rows(self, name: str) -> list[list[str]]:
        """Rows of all tables of a page whose first cell is one code span."""
        lines = [line for line in self.text(name).splitlines() if re.match(r"\| `[^`]+` \|", line)]
        return [cells(line) for line in lines]
