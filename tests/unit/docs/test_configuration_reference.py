"""docs/configuration.md has a row for each setting, as the code has it."""

from __future__ import annotations

from documentation_pages import Pages

from nodeset_provider.config import SETTINGS, Setting
from nodeset_provider.config.table import PREFIX

PAGE = "docs/configuration.md"


def shown_default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def row(setting: Setting) -> str:
    default = shown_default(setting.default)
    cells = [f"`{setting.key}`", f"`{default}`" if default else "", f"`{setting.variable}`", setting.help]
    return "| " + " | ".join(cells) + " |"


def test_every_setting_has_its_row(pages: Pages) -> None:
    lines = pages.text(PAGE).splitlines()
    missing = [row(setting) for setting in SETTINGS.values() if row(setting) not in lines]
    assert not missing, f"write these rows into {PAGE}:\n" + "\n".join(missing)


def test_no_row_is_about_a_setting_that_does_not_exist(pages: Pages) -> None:
    documented = {row[0].strip("`") for row in pages.rows(PAGE)}
    assert documented == set(SETTINGS)


def test_flags_are_named_as_the_page_says() -> None:
    for setting in SETTINGS.values():
        assert setting.flag == "--" + setting.variable.removeprefix(PREFIX).lower().replace("_", "-")
