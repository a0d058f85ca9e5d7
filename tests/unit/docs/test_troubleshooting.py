"""docs/troubleshooting.md has a row for each reason that a condition or event can have, and for no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from documentation_pages import Pages

import nodeset_provider.controllers
from nodeset_provider.api import names
from nodeset_provider.driverkit import errors

PAGE = "docs/troubleshooting.md"
CONTROLLERS = Path(nodeset_provider.controllers.__file__).parent

# Words of the same form that are no reasons: kinds, statuses, types of events and addresses, the certificate's
# conditions, and what only the log says.
OTHER_WORDS = {
    "Approved",
    "Conflict",
    "DeletingNode",
    "Denied",
    "ExternalDNS",
    "ExternalIP",
    "False",
    "Handover",
    "Hostname",
    "InternalDNS",
    "InternalIP",
    "Machine",
    "Node",
    "NoExecute",
    "NodeClass",
    "NodeSet",
    "Normal",
    "NotLeading",
    "True",
    "Unknown",
    "Warning",
}


def words(path: Path) -> Iterator[str]:
    """String constants of the form of a reason, docstrings left out by their form."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"[A-Z][A-Za-z]+", node.value)
        ):
            yield node.value


def words_in_the_code() -> set[str]:
    """Not of __init__.py, which holds names of classes."""
    return {word for path in CONTROLLERS.rglob("*.py") if path.name != "__init__.py" for word in words(path)}


def reasons_in_the_code() -> set[str]:
    """An unknown word counts as a reason: whoever adds one that is none says so above."""
    drivers = {error.__name__ for error in errors.DriverError.__subclasses__()}
    shared = {value for name, value in vars(names).items() if name.startswith("REASON_")}
    return (words_in_the_code() - OTHER_WORDS) | shared | drivers - {"NotFound"}


def test_every_reason_in_the_code_has_its_row(pages: Pages) -> None:
    documented = {row[0].strip("`") for row in pages.rows(PAGE)}
    assert not reasons_in_the_code() - documented, f"write rows for these reasons into {PAGE}"


def test_no_row_is_about_a_reason_that_does_not_exist(pages: Pages) -> None:
    documented = {row[0].strip("`") for row in pages.rows(PAGE)}
    assert not documented - reasons_in_the_code()


def test_every_row_says_cause_and_remedy(pages: Pages) -> None:
    incomplete = [row[0] for row in pages.rows(PAGE) if len(row) != 4 or not all(row)]
    assert not incomplete


def test_words_that_are_no_reasons_are_still_in_the_code() -> None:
    assert words_in_the_code() >= OTHER_WORDS
