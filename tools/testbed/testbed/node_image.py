"""The image that the tests' real machines boot from, built once: ``python -m testbed.node_image``.

May touch: the cache of `testbed.binaries`, the terminal, and what ``tools/node-image/build.sh`` touches (packages of
the distribution, as root). An image lies in a folder named after the content of everything it is made of but the
packages; of those it has the versions of the day it was built::

    $XDG_CACHE_HOME/nodeset-provider/node-image/3f9a0c…/image.qcow2
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from testbed.binaries import TOOLS, Assets, MissingBinariesError, cache_root
from testbed.build import BuildError, clock, exclusive, watch

SOURCE = TOOLS / "node-image"

_PROGRAMS = ("mmdebstrap", "mke2fs", "qemu-img", "apt-get")
_USUAL_SECONDS = 60
_EMULATED = "module_blacklist=" + ",".join(
    (
        *("kvm", "kvm_amd", "kvm_intel", "powernow_k8", "acpi_cpufreq"),
        *("aesni_intel", "ghash_clmulni_intel", "crc32_pclmul", "crct10dif_pclmul"),
        *("sha1_ssse3", "sha256_ssse3", "sha512_ssse3"),
    )
)
"""Modules that the kernel loads for features of a processor, and then tries out: for an emulated one that is the fifth
part of all that a boot computes."""

_KEPT = 2
"""Images: three quarters of a gigabyte each, and another branch may be at work with another one."""


@dataclass(frozen=True, slots=True)
class NodeImage:
    """A folder as ``build.sh`` fills it.

    Attributes:
        disk: qcow2 image with one ext4 file system.
        kernel: to boot it with.
        initrd: to boot it with.
        command_line: of the kernel, for a processor that is probably emulated.
    """

    folder: Path

    @property
    def disk(self) -> Path:  # noqa: D102 -- of the class
        return self.folder / "image.qcow2"

    @property
    def kernel(self) -> Path:  # noqa: D102
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:  # noqa: D102
        return self.folder / "initrd"

    @property
    def command_line(self) -> str:  # noqa: D102
        return f"{json.loads((self.folder / 'manifest.json').read_text())['kernelCommandLine']} {_EMULATED}"


def missing() -> str:
    """Why none can be built here, as the reason of a skipped test; empty where one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the node image is built by root, on Linux"
    absent = [program for program in _PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(absent)} not in PATH: run tools/install-node-image.sh (Debian)" if absent else ""


def located(assets: Assets, environment: Mapping[str, str] = os.environ) -> NodeImage | None:
    """The image of these programs and of the files as they are now, or None when it has to be built."""
    image = NodeImage(_images(environment) / _content(assets))
    # Written last of all; the folder is renamed to its name even later.
    return image if (image.folder / "manifest.json").exists() else None


def build(assets: Assets, console: Console) -> NodeImage:
    """Build it where it is not there yet.

    Raises:
        BuildError: something is missing here, or the build failed; the message holds the end of its log.
    """
    if image := located(assets):
        return image
    if reason := missing():
        raise BuildError(reason)
    root = _images(os.environ)
    with exclusive(root, console):
        # Whoever held the lock before may have built it.
        if image := located(assets):
            return image
        image = NodeImage(root / _content(assets))
        with tempfile.TemporaryDirectory(prefix=".build-", dir=root) as scratch:
            _run(assets, Path(scratch), console)
            (Path(scratch) / "image").rename(image.folder)
        _forget_old(root)
    return image


def _run(assets: Assets, scratch: Path, console: Console) -> None:
    started = time.monotonic()
    log = scratch / "log"
    argv: list[str | Path] = [SOURCE / "build.sh", "--output", scratch / "image"]
    for name in ("kubelet", "kubeadm"):
        argv += [f"--{name}", assets[name]]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603
        watch(
            process,
            lambda: f"node image: {clock(time.monotonic() - started)} … (usually {clock(_USUAL_SECONDS)})",
            console,
        )
    if process.returncode != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise BuildError(f"building the node image failed; the end of its log:\n{end}")
    console.print(f"[green]✓[/] node image built in {clock(time.monotonic() - started)}")


def _images(environment: Mapping[str, str]) -> Path:
    return cache_root(environment) / "node-image"


def _content(assets: Assets) -> str:
    """A name for all that goes into the image."""
    total = hashlib.sha256()
    for name, path in _inputs(assets):
        with path.open("rb") as file:
            total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:24]


def _inputs(assets: Assets) -> Iterator[tuple[str, Path]]:
    for name in ("kubelet", "kubeadm"):
        yield name, assets[name]
    for path in sorted(SOURCE.rglob("*")):
        if path.is_file():
            yield path.relative_to(SOURCE).as_posix(), path


def _forget_old(root: Path) -> None:
    images = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for old in sorted(images, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    """Entry point: says where the image is; exit code 1 with a message when it cannot be built."""
    argparse.ArgumentParser(prog="python -m testbed.node_image", description=__doc__).parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        sys.stdout.write(f"{build(Assets.locate(), console).folder}\n")
    except (BuildError, MissingBinariesError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(1)


if __name__ == "__main__":
    main()
