"""Steps as files for ``host/run.sh``: a value each, so that nothing of them is ever read as a program. Pure."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence

from nodeset_driver_ssh.applier.plan import CommandStep, FileStep, HostnameStep, Step, UserStep


def bundle_of(steps: Sequence[Step], *, run: bytes, step_seconds: float) -> dict[str, bytes]:
    """What is uploaded with a claim: name → content. ``run`` is the program that takes the steps."""
    files = {"run.sh": run, "step-seconds": f"{step_seconds:g}".encode()}
    for number, step in enumerate(steps, start=1):
        for name, content in _files(step):
            files[f"steps/{number:04d}/{name}"] = content
        files[f"steps/{number:04d}/title"] = f"step {number} of {len(steps)}, {title(step)},".encode()
    if not steps:
        files["finished"] = b""
    return files


def title(step: Step) -> str:
    """What a step is called. Of a command only the program: an argument may be a token."""
    match step:
        case FileStep(path=path):
            return f"file {path}"
        case HostnameStep():
            return "host name"
        case UserStep(name=name):
            return f"user {name}"
        case CommandStep(argv=argv):
            return f"command {argv[0]}" if argv[0].isprintable() else "command"


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """An archive of regular files in that order: root's, for nobody else, without a date."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _files(step: Step) -> Iterator[tuple[str, bytes]]:
    match step:
        case FileStep():
            yield "kind", b"file"
            yield "path", step.path.encode()
            yield "owner", step.owner.encode()
            yield "mode", f"{step.mode:04o}".encode()
            yield "content", step.content
        case HostnameStep():
            yield "kind", b"hostname"
            yield "name", f"{step.name}\n".encode()
        case UserStep():
            yield "kind", b"user"
            yield "name", step.name.encode()
            yield "shell", step.shell.encode()
            yield "keys", "".join(f"{key}\n" for key in step.keys).encode()
            yield "sudo", "".join(f"{step.name} {rule}\n" for rule in step.sudo).encode()
        case CommandStep():
            yield "kind", b"command"
            for index, word in enumerate(step.argv):
                yield f"argv/{index:04d}", word.encode()
