"""Installed drivers are found by entry point, and a broken one speaks for itself without stopping the others."""

import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from nodeset_provider.driverkit.errors import InvalidSpec
from nodeset_provider.driverkit.registry import ENTRY_POINT_GROUP, broken_drivers, load_drivers


class _Factory:
    required_credentials = ()

    def __call__(self, credentials: object) -> object:
        return self


good = _Factory()
no_factory = object()


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {
        "good": [f"{__name__}:good"],
        "absent-module": ["nodeset_no_such_module:x"],
        "absent-attribute": [f"{__name__}:nothing"],
        "no-factory": [f"{__name__}:no_factory"],
        "claimed-twice": [f"{__name__}:good", f"{__name__}:other"],
    }
    found = [
        metadata.EntryPoint(name, target, ENTRY_POINT_GROUP) for name, values in targets.items() for target in values
    ]
    monkeypatch.setattr(
        metadata, "entry_points", lambda *, group: found if group == ENTRY_POINT_GROUP else pytest.fail(group)
    )
    # Test modules are imported without a place in sys.modules, where an entry point looks for its target.
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(good=good, no_factory=no_factory))


def test_good_driver_is_there_whatever_else_is_broken() -> None:
    drivers = load_drivers()
    assert set(drivers) == {"good", "absent-module", "absent-attribute", "no-factory", "claimed-twice"}
    assert "good" not in broken_drivers(drivers)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent-module", "cannot be loaded: ModuleNotFoundError"),
        ("absent-attribute", "cannot be loaded: AttributeError"),
        ("no-factory", "is no DriverFactory"),
        ("claimed-twice", "is claimed by .* and .*; uninstall all but one"),
        ("unknown", "is not installed .installed: absent-attribute, .*good.*; install its package"),
    ],
)
def test_broken_driver_says_what_is_wrong_when_it_is_asked(name: str, said: str) -> None:
    drivers = load_drivers([name, "good"])
    assert list(drivers) == [name, "good"]
    assert list(broken_drivers(drivers)) == [name]
    with pytest.raises(InvalidSpec, match=f"driver '{name}'.*{said}") as refused:
        drivers[name]({})
    assert refused.value.field == "driver"


def test_only_what_is_asked_for_is_loaded() -> None:
    assert list(load_drivers(["good"])) == ["good"]
    assert load_drivers([]) == {}
