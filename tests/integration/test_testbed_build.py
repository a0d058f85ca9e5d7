"""Programs are looked up in order, built whole or not at all, and a missing Go tool chain is said clearly.

The tool chain is a script here: the real one is at work whenever the control plane has been built.
"""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from testbed.binaries import BINARIES, Assets, MissingBinariesError, target_platform

FAKE_GO = """#!/bin/sh
case "$1" in
env) echo "${FAKE_GO_VERSION:-go1.99.0}" ;;
build)
  while [ "$1" != -o ]; do shift; done
  echo "$3" >> "$FAKE_GO_CALLS"
  printf half > "$2"
  [ -z "$FAKE_GO_FAILS" ] || { echo "undefined: everything" >&2; exit 1; }
  printf whole > "$2"; chmod +x "$2" ;;
esac
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    tools = tmp_path / "tools"
    tools.mkdir()
    go = tools / "go"
    go.write_text(FAKE_GO)
    go.chmod(go.stat().st_mode | stat.S_IXUSR)
    kept = {key: value for key, value in os.environ.items() if key not in {"KUBEBUILDER_ASSETS", "GOTOOLCHAIN"}}
    return {
        **kept,
        "PATH": f"{tools}:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "FAKE_GO_CALLS": str(tmp_path / "calls"),
    }


def _build(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed.build"], env=environment, capture_output=True, text=True, check=False
    )


def _calls(environment: dict[str, str]) -> list[str]:
    calls = Path(environment["FAKE_GO_CALLS"])
    return calls.read_text().split() if calls.exists() else []


def test_everything_is_built_once_into_a_folder_of_its_version(environment: dict[str, str]) -> None:
    first = _build(environment)
    assert first.returncode == 0, first.stderr
    assert sorted(_calls(environment)) == sorted(binary.package for binary in BINARIES)
    assert f"1/{len(BINARIES)} kube-apiserver" in first.stderr
    assert "usually 3:14 min" in first.stderr
    again = _build(environment)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(_calls(environment)) == len(BINARIES)
    versions = {binary.name: binary.version for binary in BINARIES}
    assets = Assets.locate(environment)
    assert assets["kubectl"].parent.name == f"{versions['kubectl']}-{target_platform()}"
    assert assets["kwok"].parent.parent.name == "kwok"


def test_ready_made_programs_are_used_one_by_one(environment: dict[str, str], tmp_path: Path) -> None:
    """As in the bundles of controller-runtime: etcd, kube-apiserver and kubectl, nothing else."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    bundled = ("etcd", "kube-apiserver", "kubectl")
    for name in bundled:
        (bundle / name).touch(mode=0o755)
    missing = [binary.name for binary in BINARIES if binary.name not in bundled]
    environment["KUBEBUILDER_ASSETS"] = str(bundle)
    with pytest.raises(MissingBinariesError, match=rf"{', '.join(missing)}\. Run `make"):
        Assets.locate(environment)
    assert _build(environment).returncode == 0
    assert len(_calls(environment)) == len(missing)
    assets = Assets.locate(environment)
    assert assets["etcd"] == bundle / "etcd"
    assert assets["kwok"].is_relative_to(tmp_path / "cache")


def test_failed_build_leaves_nothing_that_looks_built(environment: dict[str, str], tmp_path: Path) -> None:
    failed = _build({**environment, "FAKE_GO_FAILS": "1"})
    assert failed.returncode == 1
    assert "building kube-apiserver failed:\nundefined: everything" in failed.stderr
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != ".build-lock"]
    assert left == []
    assert _build(environment).returncode == 0


def test_two_builds_at_once_build_everything_once(environment: dict[str, str]) -> None:
    with ThreadPoolExecutor() as pool:
        assert [done.returncode for done in pool.map(_build, [environment] * 2)] == [0, 0]
    assert len(_calls(environment)) == len(BINARIES)


def test_missing_go_is_named_with_the_remedy(environment: dict[str, str]) -> None:
    (Path(environment["PATH"].split(":")[0]) / "go").unlink()
    failed = _build(environment)
    assert failed.returncode == 1
    assert "Go is not installed" in failed.stderr
    assert "KUBEBUILDER_ASSETS" in failed.stderr


def test_too_old_go_is_named_with_the_version_that_is_needed(environment: dict[str, str]) -> None:
    failed = _build({**environment, "FAKE_GO_VERSION": "go1.20.3"})
    assert failed.returncode == 1
    assert "Go 1.26.0 or newer is needed" in failed.stderr
    assert "go1.20.3" in failed.stderr
    assert _calls(environment) == []
