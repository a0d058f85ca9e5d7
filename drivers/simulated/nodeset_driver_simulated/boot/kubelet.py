"""Finds the kubelet's command line in systemd's drop-ins, and reads its flags as the kubelet does. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nodeset_driver_simulated.boot.cloud_config import CloudConfig
from nodeset_driver_simulated.boot.errors import BootError

_DROP_IN = re.compile(r"/(?:etc|run|usr/lib)/systemd/system/kubelet\.service\.d/[^/]+\.conf")
_UNIT = "/etc/systemd/system/kubelet.service"
_UNIT_NAMES = {"kubelet", "kubelet.service"}

_FLAGS = frozenset(
    {
        "bootstrap-kubeconfig",
        "cert-dir",
        "cloud-provider",
        "config",
        "container-runtime-endpoint",
        "hostname-override",
        "kubeconfig",
        "node-ip",
        "node-labels",
        "provider-id",
        "register-with-taints",
        "root-dir",
        "v",
    }
)
"""The kubelet's flags that mean something to a simulated machine. It refuses others, as a kubelet refuses typos."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that matter for joining; empty where not given."""

    bootstrap_kubeconfig: str
    config: str
    hostname_override: str
    node_labels: Mapping[str, str]
    provider_id: str
    external_cloud_provider: bool


def read_flags(config: CloudConfig) -> Flags:
    """The flags of the kubelet that this machine starts. Raises BootError where it starts none, or one that exits."""
    if not any(_starts_kubelet(command) for command in config.commands):
        raise BootError("systemd: nothing in runcmd starts kubelet.service")
    words = _exec_start(config.files)
    if not words or words[0].rsplit("/", 1)[-1] != "kubelet":
        raise BootError("systemd: no drop-in of kubelet.service with an ExecStart= that runs the kubelet")
    given = _parse(words[1:])
    for name in ("bootstrap-kubeconfig", "kubeconfig"):
        if not given.get(name):
            raise BootError(f"kubelet: no --{name}: it would run standalone and join nothing")
    if "register-with-taints" in given:
        raise BootError("kubelet: this simulated kubelet takes registerWithTaints from its configuration file only")
    return Flags(
        bootstrap_kubeconfig=given["bootstrap-kubeconfig"],
        config=given.get("config", ""),
        hostname_override=given.get("hostname-override", ""),
        node_labels=_labels(given.get("node-labels", "")),
        provider_id=given.get("provider-id", ""),
        external_cloud_provider=given.get("cloud-provider", "") == "external",
    )


def _starts_kubelet(command: tuple[str, ...]) -> bool:
    """Whether it is ``systemctl [options] start|restart|enable --now kubelet``, alone or after a shell's ``-c``."""
    words = [word for part in command for word in part.replace(";", " ").split()]
    if "systemctl" not in words or _UNIT_NAMES.isdisjoint(words):
        return False
    verbs = set(words[words.index("systemctl") :])
    return not verbs.isdisjoint({"start", "restart", "reload-or-restart"}) or {"enable", "--now"} <= verbs


def _exec_start(files: Mapping[str, bytes]) -> list[str]:
    """The last ExecStart= of the unit and its drop-ins; an empty one resets, a second one of a simple service fails."""
    commands: list[str] = []
    for path in sorted(path for path in files if path == _UNIT or _DROP_IN.fullmatch(path)):
        section = ""
        for line in _lines(files[path]):
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line.split("=", 1)[0].strip() == "ExecStart":
                value = line.split("=", 1)[1].strip()
                commands = [*commands, value] if value else []
    if len(commands) > 1:
        raise BootError("systemd: kubelet.service has more than one ExecStart=; reset it with an empty one first")
    if not commands:
        return []
    try:
        words = shlex.split(commands[0].lstrip("-@:+!"))
    except ValueError as error:
        raise BootError(f"systemd: ExecStart= of kubelet.service: {error}") from None
    return [_expand(word) for word in words]


def _lines(content: bytes) -> Iterable[str]:
    """Lines as systemd reads them: joined at a trailing backslash, comments and blank ones left out."""
    joined = content.decode(errors="replace").replace("\\\n", " ")
    return (line for line in (raw.strip() for raw in joined.splitlines()) if line and line[0] not in "#;")


def _expand(word: str) -> str:
    """``%%`` and ``$$`` are one of each; no other specifier or variable is known to this machine."""
    plain = word.replace("%%", "").replace("$$", "")
    if "%" in plain or "$" in plain:
        raise BootError(f"systemd: {word!r} in ExecStart= has a specifier or variable that this machine does not know")
    return word.replace("%%", "%").replace("$$", "$")


def _parse(words: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in _FLAGS:
            raise BootError(f"kubelet: unknown flag: {word.partition('=')[0]}")
        given[name] = value if equals else next(rest, "")
    return given


# --- labels: what a kubelet may say about itself --------------------------------------------------------------------
_SELF_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
    }
)
_SELF_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise BootError(f"kubelet: --node-labels: {pair!r} is not key=value")
        labels[key.strip()] = value.strip()
    wrong = sorted(key for key in labels if not _kubelet_may_set(key))
    if wrong:
        raise BootError(f"kubelet: unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: {wrong}")
    return labels


def _kubelet_may_set(key: str) -> bool:
    """cmd/kubelet/app/options: any label outside Kubernetes' own domains, and a few inside."""
    domain = key.partition("/")[0] if "/" in key else ""
    if not _within(domain, ("kubernetes.io", "k8s.io")):
        return True
    return key in _SELF_LABELS or _within(domain, _SELF_DOMAINS)


def _within(domain: str, parents: tuple[str, ...]) -> bool:
    return any(domain == parent or domain.endswith(f".{parent}") for parent in parents)
