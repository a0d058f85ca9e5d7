"""Builds the programs of the testbed from Go modules, once: ``python -m testbed.build``, ``… ignition`` for that one.

May touch: the cache of `testbed.binaries`, the terminal, the Go tool chain (which keeps caches and fetches modules).
A program appears in the cache only when it is whole (built beside, then renamed), and two builds at the same time wait
for each other (a lock on a file of the cache), so that whatever is found there can be used.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from testbed.binaries import BINARIES, IGNITION, Assets, Binary, cache_root

_HEARTBEAT_SECONDS = 15


class BuildError(RuntimeError):
    """No build is possible, or one failed. The message says what to do."""


def build_missing(console: Console) -> Assets:
    """Build what is neither in ``KUBEBUILDER_ASSETS`` nor in the cache, and say where everything is.

    Raises:
        BuildError: Go is missing or too old, or a build failed.
    """
    build(BINARIES, console)
    return Assets.locate()


def build(binaries: Iterable[Binary], console: Console) -> None:
    """Build those of them that are not there yet.

    Raises:
        BuildError: Go is missing or too old, or a build failed.
    """
    missing = [binary for binary in binaries if binary.located() is None]
    if missing:
        environment = _go_environment(missing)
        with exclusive(cache_root(), console):
            for number, binary in enumerate(missing, start=1):
                # Whoever held the lock before may have built it.
                if binary.located() is None:
                    _build(binary, environment, console, f"{number}/{len(missing)}")


def _go_environment(wanted: list[Binary]) -> dict[str, str]:
    """The environment of every ``go`` call: nothing that the user has set for other work may change what is built.

    The tool chain in use stays the one that is installed, unless the user has said otherwise: a silent download of
    another one would surprise more than the message.
    """
    go = shutil.which("go")
    needed = max(_go_version((binary.source / "go.mod").read_text(), r"^go (\S+)") for binary in wanted)
    needed_text = ".".join(str(part) for part in needed)
    if go is None:
        raise BuildError(
            f"Go is not installed (no `go` in PATH), and {', '.join(b.name for b in wanted)} must be built: "
            f"install Go {needed_text} or newer, or name a folder of ready-made programs in KUBEBUILDER_ASSETS"
        )
    environment = {key: value for key, value in os.environ.items() if key not in {"GOOS", "GOARCH", "GOEXPERIMENT"}}
    environment.update(GOFLAGS="-mod=readonly", GOWORK="off")
    environment.setdefault("GOTOOLCHAIN", "local")
    answer = subprocess.run(  # noqa: S603
        [go, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False, cwd=wanted[0].source
    )
    # A Go that is older than go.mod asks for says so instead; one from before 1.21 does not know that line's meaning.
    if answer.returncode != 0 or _go_version(answer.stdout, r"^go(\d+(?:\.\d+)*)") < needed:
        raise BuildError(
            f"Go {needed_text} or newer is needed to build {', '.join(b.name for b in wanted)}; "
            f"`{go}` says: {(answer.stdout + answer.stderr).strip()}. "
            "Install a newer Go, or let Go fetch one by GOTOOLCHAIN=auto"
        )
    return environment


def _go_version(text: str, pattern: str) -> tuple[int, ...]:
    match = re.search(pattern, text, re.MULTILINE)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


@contextlib.contextmanager
def exclusive(root: Path, console: Console) -> Iterator[None]:
    """Hold the build lock of the cache. The kernel lets it go when we die."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".build-lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("Another build is under way: waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(binary: Binary, environment: dict[str, str], console: Console, position: str) -> None:
    target = binary.cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as scratch:
        output = Path(scratch) / binary.name
        argv = ["go", "build", "-trimpath", "-ldflags", _linker_flags(binary), "-o", str(output), binary.package]
        log = Path(scratch) / "log"
        environment = {**environment, "CGO_ENABLED": "1" if binary.c_library else "0"}
        started = time.monotonic()
        what = f"{position} {binary.name} {binary.version}"
        usual = f"usually {clock(binary.usual_seconds)}, the first time it fetches modules too"
        with log.open("wb") as log_file:
            build = subprocess.Popen(  # noqa: S603
                argv, cwd=binary.source, env=environment, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file
            )
            watch(build, lambda: f"{what}: {clock(time.monotonic() - started)} … ({usual})", console)
        if build.returncode != 0:
            raise BuildError(f"building {binary.name} failed:\n{log.read_text(errors='replace')}")
        output.replace(target)
    console.print(f"[green]✓[/] {what} built in {clock(time.monotonic() - started)}")


def _linker_flags(binary: Binary) -> str:
    """Without the version flags the API server says v0.0.0-master and clients that look at the version misbehave."""
    flags = "-s -w"
    for name, value in binary.settings:
        flags += f" -X {name}={value.format(version=binary.version)}"
    if binary.module == "k8s.io/kubernetes":
        major, minor, *_ = binary.version.removeprefix("v").split(".")
        package = "k8s.io/component-base/version"
        flags += (
            f" -X {package}.gitVersion={binary.version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        )
    return flags


def watch(build: subprocess.Popen[bytes], text: Callable[[], str], console: Console) -> None:
    """Wait for the end of a build and show what ``text`` says meanwhile; it is killed where the waiting is broken off.

    A live line on a terminal; elsewhere a line now and then, so that a log shows that it is alive.
    """
    try:
        if console.is_terminal:
            with console.status(text()) as status:
                while build.poll() is None:
                    status.update(text())
                    time.sleep(0.25)
            return
        while True:
            console.print(text())
            try:
                build.wait(_HEARTBEAT_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return
    finally:
        if build.poll() is None:
            build.kill()
            build.wait()


def clock(seconds: float) -> str:
    """``75`` as ``1:15 min``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def main() -> None:
    """Entry point: exit code 1 with a message when something cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m testbed.build", description=__doc__)
    parser.add_argument("what", nargs="*", choices=[[], IGNITION.name], help="a program that is built only when named")
    parser.add_argument("--list", action="store_true", help="say where every program is, one a line, and build nothing")
    arguments = parser.parse_args()
    if arguments.list:
        for binary in BINARIES:
            sys.stdout.write(f"{binary.name}\t{binary.version}\t{binary.located() or 'missing'}\n")
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        if arguments.what:
            build([IGNITION], console)
        else:
            build_missing(console)
    except BuildError as error:
        console.print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(1)


if __name__ == "__main__":
    main()
