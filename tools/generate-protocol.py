"""Write the generated protocol code from proto/, or with --check say whether what is committed is current.

Runs in the development environment (buf, grpcio-tools, mypy-protobuf; Go for the comparison server's messages), without
network once Go's modules are in its cache. ``--check`` also lints proto/, checks its format, and compares it with
proto/baseline.binpb, the image of what has been released: a change of the wire contract has to be deliberate
(``--baseline`` writes a new one).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = "proto/baseline.binpb"
GENERATED = {
    "nodeset_provider/protocol": ("*_pb2*.py", "*_pb2*.pyi"),
    "tools/frontdoor": ("**/*.pb.go",),
}


def buf(*arguments: str) -> None:
    """Run buf with this interpreter's tools first on PATH; ends the program where buf finds fault."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(["buf", *arguments], cwd=ROOT, env={**os.environ, "PATH": path}, check=False)  # noqa: S603, S607
    if done.returncode:
        sys.exit(f"buf {arguments[0]} found something to mend (see above).")


def files(root: Path) -> dict[str, str]:
    """Every generated file below ``root`` with its content."""
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for folder, patterns in GENERATED.items()
        for pattern in patterns
        for path in (root / folder).glob(pattern)
    }


def check() -> None:
    """Lint, format, compatibility, and committed = generated."""
    buf("lint")
    buf("format", "--diff", "--exit-code")
    buf("breaking", "--against", BASELINE)
    with tempfile.TemporaryDirectory() as folder:
        buf("generate", "--output", folder)
        wanted, found = files(Path(folder)), files(ROOT)
    stale = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if stale:
        sys.exit(f"Not what proto/ says: {', '.join(stale)}\nRun: python tools/generate-protocol.py")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="change nothing; exit 1 where something is not current")
    mode.add_argument("--baseline", action="store_true", help=f"take today's proto/ as the released one ({BASELINE})")
    arguments = parser.parse_args()
    if arguments.check:
        check()
    elif arguments.baseline:
        buf("build", "--exclude-source-info", "--output", BASELINE)
    else:
        buf("generate")


if __name__ == "__main__":
    main()
