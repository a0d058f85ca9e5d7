"""Reads a NodeClass's ``spec.config`` into a driver's own struct, declared with msgspec. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from nodeset_provider.driverkit.errors import InvalidSpec

T = TypeVar("T", bound=msgspec.Struct)


def convert(config: Mapping[str, Any], kind: type[T], *, first: str = "") -> T:
    """The config as ``kind``.

    Raises InvalidSpec with the path of the key that is wrong. msgspec gives none where a required key is missing:
    ``first`` is then named, where it is.
    """
    try:
        return msgspec.convert(dict(config), kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`").removeprefix(".") or ("" if first in config else first)
        raise InvalidSpec(f"{field}: {message}" if field else message, field=field) from None
