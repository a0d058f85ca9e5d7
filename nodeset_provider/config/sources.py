"""Reads the three sources and lays them over each other. What is wrong is collected, so that one start shows it all."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from nodeset_provider.config.errors import ConfigError
from nodeset_provider.config.settings import Settings
from nodeset_provider.config.table import PREFIX, SETTINGS, Setting

FILE_VARIABLE: Final = f"{PREFIX}CONFIG"
_BY_VARIABLE: Final = {setting.variable: setting for setting in SETTINGS.values()}
_SERVICE_VARIABLE: Final = re.compile(rf"{PREFIX}([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_[0-9]+_.*)")
"""What Kubernetes puts into every Pod beside a Service called nodeset-provider or nodeset-provider-…; not for us."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """``settings``, and for each key that is not at its default where the value came from, for people."""

    settings: Settings
    sources: Mapping[str, str]

    def origin(self, key: str) -> str:
        """``grpc.listen (flag --grpc-listen)``: how a message names a setting."""
        return f"{key} ({self.sources.get(key, 'default')})"


def load(*, file: str | None, environment: Mapping[str, str], flags: Mapping[str, object]) -> Loaded:
    """Defaults, under ``file`` (or the one that the environment names), under ``environment``, under ``flags``.

    ``flags`` maps keys to values as the command line gave them: text, or a bool, or a tuple of texts.

    Raises:
        ConfigError: with every problem of every source.
    """
    layers = _Layers()
    if path := file or environment.get(FILE_VARIABLE, ""):
        for key, value in _leaves(_read(path, layers.problems), ""):
            layers.take(key, value, f"file {path}", strict=True)
    for variable, text in environment.items():
        if variable in _BY_VARIABLE:
            layers.take(_BY_VARIABLE[variable].key, text, f"environment variable {variable}", strict=False)
        elif variable.startswith(PREFIX) and variable != FILE_VARIABLE and not _SERVICE_VARIABLE.fullmatch(variable):
            layers.problems.append(f"environment variable {variable}: no such setting{_meant(variable, _BY_VARIABLE)}")
    for key, flag_value in flags.items():
        layers.take(key, flag_value, f"flag {SETTINGS[key].flag}", strict=False)
    if layers.problems:
        raise ConfigError(layers.problems)
    return Loaded(_build(layers.values), layers.sources)


class _Layers:
    """What was found so far; a later value takes the place of an earlier one."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []

    def take(self, key: str, value: object, source: str, *, strict: bool) -> None:
        """Note the value, or what is wrong with it. ``strict``: of the right type already, not text to be read."""
        setting = SETTINGS.get(key)
        if setting is None:
            self.problems.append(f"{key} ({source}): no such setting{_meant(key, SETTINGS)}")
            return
        try:
            self.values[key] = _convert(setting, value, strict=strict)
        except msgspec.ValidationError:
            self.problems.append(f"{key} ({source}): {_shown(value)} is not {setting.expected}")
        else:
            self.sources[key] = source


def _build(values: Mapping[str, Any]) -> Settings:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *sections, leaf = key.split(".")
        target = tree
        for section in sections:
            target = target.setdefault(section, {})
        target[leaf] = value
    defaults = msgspec.to_builtins(Settings())
    for name, section in tree.items():
        defaults[name] = {**defaults[name], **section} if isinstance(section, dict) else section
    return msgspec.convert(defaults, Settings)


def _convert(setting: Setting, value: object, *, strict: bool) -> Any:  # noqa: ANN401
    if isinstance(value, str) and setting.type == tuple[str, ...]:
        if strict:
            raise msgspec.ValidationError
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, str) and setting.type is bool and not strict:
        value = value.lower()
    return msgspec.convert(value, setting.type, strict=strict)


def _leaves(node: object, key: str) -> Iterator[tuple[str, object]]:
    """Settings in the file. A section that should be a value, or the other way round, shows as an unknown key."""
    if isinstance(node, dict) and (not key or any(known.startswith(f"{key}.") for known in SETTINGS)):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif node is not None or key in SETTINGS:
        yield key, node


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which YAML would take the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name.value} is given twice; remove one", name.start_mark
                )
            seen.add(str(name.value))
        return super().construct_mapping(node, deep)


def _read(path: str, problems: list[str]) -> dict[str, object]:
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        problems.append(f"config file {path}: cannot be read: {reason}; name a readable file with --config")
        return {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        # Only what the parser says, never the line itself: it may be of any file that was named by mistake.
        problems.append(f"config file {path}{where}: {getattr(error, 'problem', None) or 'is no YAML'}")
        return {}
    if content is None:
        return {}
    if not isinstance(content, dict):
        problems.append(f"config file {path}: must be a mapping of settings, for example `grpc: {{listen: …}}`")
        return {}
    return content


def _meant(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else "; `nodeset-provider serve --help` lists all"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004
