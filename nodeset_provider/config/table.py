"""The settings as a flat table: for each its key in the file, its environment variable and its flag.

Derived from the types in :mod:`.settings`, so that a setting is added in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import inspect

from nodeset_provider.config.settings import Settings

PREFIX: Final = "NODESET_PROVIDER_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``path`` are the attribute names from :class:`Settings` down."""

    path: tuple[str, ...]
    key: str
    type: Any
    default: Any
    help: str

    @property
    def variable(self) -> str:
        """``NODESET_PROVIDER_GRPC_CERT_FILE``."""
        return PREFIX + "_".join(self.path).upper()

    @property
    def flag(self) -> str:
        """``--grpc-cert-file``."""
        return "--" + "-".join(self.path).replace("_", "-")

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a Literal, else none."""
        info = inspect.type_info(self.type)
        return tuple(str(value) for value in info.values) if isinstance(info, inspect.LiteralType) else ()

    @property
    def expected(self) -> str:
        """What a value looks like, for people."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return {str: "text", float: "a number", bool: "true or false"}.get(self.type, "a list of texts")


def _walk(section: type[msgspec.Struct], defaults: Any, path: tuple[str, ...], key: str) -> Iterator[Setting]:  # noqa: ANN401
    info = inspect.type_info(section)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - by construction
    hints = msgspec.structs.fields(section)
    for field, described in zip(hints, info.fields, strict=True):
        here = (*path, field.name)
        name = f"{key}.{field.encode_name}" if key else field.encode_name
        default = getattr(defaults, field.name)
        if isinstance(described.type, inspect.StructType):
            yield from _walk(described.type.cls, default, here, name)
            continue
        plain, text = _plain(field.type)
        yield Setting(here, name, plain, default, text)


def _plain(annotated: Any) -> tuple[Any, str]:  # noqa: ANN401
    meta = annotated.__metadata__[0]
    return annotated.__origin__, meta.description


SETTINGS: Final[Mapping[str, Setting]] = {setting.key: setting for setting in _walk(Settings, Settings(), (), "")}
"""By key, in the order of the types."""
