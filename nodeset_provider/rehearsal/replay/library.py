"""Where traces come from: the shipped ones by name, a file of the trace language, or a recording (``.jsonl``)."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Final

from nodeset_provider.rehearsal.replay.language import Trace, TraceError, parse, release_of
from nodeset_provider.rehearsal.replay.recording import trace_of_recording

_FOLDER: Final = resources.files("nodeset_provider.rehearsal") / "traces"
_SUFFIX: Final = ".trace"


def shipped() -> tuple[str, ...]:
    """Names of the traces that come with the package, in the order in which they are played."""
    return tuple(
        sorted(entry.name.removesuffix(_SUFFIX) for entry in _FOLDER.iterdir() if entry.name.endswith(_SUFFIX))
    )


def load(name: str) -> Trace:
    """A shipped trace by its name, else the file of that path; raises TraceError."""
    if name in shipped():
        return parse((_FOLDER / f"{name}{_SUFFIX}").read_text())
    path = Path(name)
    try:
        text = path.read_text()
    except OSError as error:
        raise TraceError(f"{name}: {error.strerror}; shipped traces are {', '.join(shipped())}") from error
    try:
        return _recording(path.stem, text) if path.suffix == ".jsonl" else parse(text)
    except TraceError as error:
        raise TraceError(f"{name}: {error}") from None


def _recording(stem: str, text: str) -> Trace:
    found = re.search(r"\d+\.\d+(\.\d+)?", stem)
    if not found:
        raise TraceError("a recording's file name has to hold the autoscaler's release, such as ca-1.36.1-mine.jsonl")
    return trace_of_recording(text, name=stem, release=release_of(found[0]))
