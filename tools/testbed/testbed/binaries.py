"""Which programs the testbed needs, and where they are: in ``KUBEBUILDER_ASSETS`` first, else in our cache.

May touch: reads the file system and ``go.mod`` files; builds nothing (that is `testbed.build`).
The cache lies outside the checkout, one folder per source version and platform::

    $XDG_CACHE_HOME/nodeset-provider/controlplane/v1.36.1-linux-amd64/kube-apiserver
    $XDG_CACHE_HOME/nodeset-provider/etcd/v3.6.8-linux-amd64/etcd
    $XDG_CACHE_HOME/nodeset-provider/kwok/v0.8.0-linux-amd64/kwok
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2]
"""The folder ``tools/`` of the checkout: it holds the Go modules that the programs are built from."""

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
"""Folder of ready-made programs, as controller-runtime's envtest uses it."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class MissingBinariesError(RuntimeError):
    """Programs are neither in ``KUBEBUILDER_ASSETS`` nor built. The message says how to build them."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that is built from a Go module.

    Attributes:
        name: of the file.
        package: Go's import path of its main package.
        module: whose version is the version of the program.
        folder: below ``tools/``, holds the ``go.mod`` that pins the module and all it needs.
        cache: name of its folder in the cache.
        usual_seconds: how long a build took on 2 cores with an empty Go build cache, in the order of `BINARIES`.
        c_library: it is linked with, as pkg-config calls it; empty: it needs no C.
        settings: variables that its own build sets, by their names for Go's linker; "{version}" is its version.
    """

    name: str
    package: str
    module: str
    folder: str
    cache: str
    usual_seconds: int
    c_library: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def source(self) -> Path:
        """Where ``go build`` runs."""
        return TOOLS / self.folder

    @property
    def version(self) -> str:
        """The version that ``go.mod`` pins, as ``v1.36.1``."""
        text = (self.source / "go.mod").read_text()
        match = re.search(rf"^(?:require)?\s*{re.escape(self.module)} (v\S+)", text, re.MULTILINE)
        if match is None:
            raise MissingBinariesError(f"{self.source / 'go.mod'} does not require {self.module}")
        return match[1]

    def cached(self, environment: Mapping[str, str] = os.environ) -> Path:
        """Where the built program lies, whether it exists yet or not."""
        return cache_root(environment) / self.cache / f"{self.version}-{target_platform()}" / self.name

    def located(self, environment: Mapping[str, str] = os.environ) -> Path | None:
        """The program to use, or None when it has to be built. Looked up one by one: envtest's bundles lack some."""
        assets = environment.get(ASSETS_VARIABLE)
        candidates = [Path(assets) / self.name] if assets else []
        candidates.append(self.cached(environment))
        return next((path for path in candidates if os.access(path, os.X_OK)), None)


_KUBERNETES = "k8s.io/kubernetes"
_IGNITION = "github.com/coreos/ignition/v2"


def _kubernetes(name: str, usual_seconds: int) -> Binary:
    return Binary(name, f"{_KUBERNETES}/cmd/{name}", _KUBERNETES, "controlplane", "controlplane", usual_seconds)


BINARIES = (
    _kubernetes("kube-apiserver", 194),
    _kubernetes("kube-scheduler", 16),
    Binary("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", "controlplane", "etcd", 6),
    _kubernetes("kubectl", 17),
    _kubernetes("kube-controller-manager", 32),
    _kubernetes("kubelet", 13),
    _kubernetes("kubeadm", 9),
    Binary("kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok", "kwok", "kwok", 65),
    Binary("ignition-validate", f"{_IGNITION}/validate", _IGNITION, "validators", "validators", 5),
)

IGNITION = Binary(
    "ignition",
    f"{_IGNITION}/internal",
    _IGNITION,
    "validators",
    "validators",
    75,
    c_library="blkid",
    # as Flatcar builds it; with relabelling it needs a root with SELinux
    settings=(
        (f"{_IGNITION}/internal/version.Raw", "{version}"),
        (f"{_IGNITION}/internal/distro.selinuxRelabel", "false"),
    ),
)
"""What configures a machine at its first boot. Built only where it is asked for: one test needs it."""


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of everything that is built once and kept."""
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nodeset-provider"


def target_platform() -> str:
    """Go's name for this machine, as ``linux-amd64``."""
    machine = platform.machine()
    return f"{sys.platform}-{_ARCHITECTURES.get(machine, machine)}"


@dataclass(frozen=True, slots=True)
class Assets:
    """Paths of all programs of the testbed."""

    paths: Mapping[str, Path]

    @classmethod
    def locate(cls, environment: Mapping[str, str] = os.environ) -> Assets:
        """Find all of them.

        Raises:
            MissingBinariesError: some have to be built first.
        """
        located = {binary.name: binary.located(environment) for binary in BINARIES}
        missing = [name for name, path in located.items() if path is None]
        if missing:
            raise MissingBinariesError(
                f"not built yet: {', '.join(missing)}. Run `make controlplane` (or `python -m testbed.build`), "
                f"or put them into the folder that {ASSETS_VARIABLE} names"
            )
        return cls({name: path for name, path in located.items() if path is not None})

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]
