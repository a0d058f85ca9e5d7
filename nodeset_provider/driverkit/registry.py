"""Finds installed drivers by the entry-point group ``nodeset_provider.drivers``.

A plug-in that cannot be used does not stop the others: it is represented by a :class:`BrokenDriver`, so whoever asks
it for a driver gets an error that names the plug-in and the remedy, on the very NodeClass that needs it.
May touch: the metadata of installed packages, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import NoReturn, cast

from nodeset_provider.driverkit.contract import DriverFactory
from nodeset_provider.driverkit.errors import InvalidSpec

ENTRY_POINT_GROUP = "nodeset_provider.drivers"


class BrokenDriver:
    """Stands where a factory should: an entry point that cannot be loaded, or a name that nothing installs."""

    required_credentials: tuple[str, ...] = ()

    def __init__(self, name: str, error: str) -> None:
        self.name = name
        self.error = error

    def __call__(self, credentials: Mapping[str, bytes]) -> NoReturn:  # noqa: ARG002 - the shape of a DriverFactory
        """Raises InvalidSpec with the reason, always."""
        raise InvalidSpec(self.error, field="driver")


def load_drivers(names: Iterable[str] | None = None) -> dict[str, DriverFactory]:
    """The factories of the installed drivers by name; of ``names`` only, where given.

    Never raises. What is broken (import error, not a factory, two packages claiming one name) or not installed is a
    :class:`BrokenDriver` under its name; ``broken_drivers`` picks those out for the log of the server's start.
    """
    found: dict[str, list[metadata.EntryPoint]] = {}
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry_point.name, []).append(entry_point)
    wanted = sorted(found) if names is None else list(dict.fromkeys(names))
    return {name: _load(name, found.get(name, []), sorted(found)) for name in wanted}


def broken_drivers(drivers: Mapping[str, DriverFactory]) -> dict[str, str]:
    """Name → reason of those that cannot make a driver."""
    return {name: factory.error for name, factory in drivers.items() if isinstance(factory, BrokenDriver)}


def _load(name: str, entry_points: list[metadata.EntryPoint], installed: list[str]) -> DriverFactory:
    targets = sorted({f"{entry_point.value}{_origin(entry_point)}" for entry_point in entry_points})
    if not targets:
        known = ", ".join(installed) or "none"
        return BrokenDriver(name, f"driver {name!r} is not installed (installed: {known}); install its package")
    if len(targets) > 1:
        return BrokenDriver(name, f"driver {name!r} is claimed by {' and '.join(targets)}; uninstall all but one")
    try:
        factory = entry_points[0].load()
    except Exception as error:  # noqa: BLE001 - whatever a foreign package raises on import
        return BrokenDriver(name, f"driver {name!r} ({targets[0]}) cannot be loaded: {type(error).__name__}: {error}")
    required = getattr(factory, "required_credentials", None)
    if not callable(factory) or not isinstance(required, tuple):
        return BrokenDriver(
            name, f"driver {name!r} ({targets[0]}) is no DriverFactory: a callable with required_credentials"
        )
    return cast("DriverFactory", factory)


def _origin(entry_point: metadata.EntryPoint) -> str:
    return f" of {entry_point.dist.name}" if entry_point.dist else ""
