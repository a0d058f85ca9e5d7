"""Ignition's own validator reads what every join mode sends."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from testbed.binaries import BINARIES

from nodeset_provider.join import Delivery, InvalidJoin, JoinRequest, render_user_data
from nodeset_provider.join.document import Document, MachineFile, MachineUser
from nodeset_provider.join.ignition import render
from nodeset_provider.join.modes import MODES

MakeRequest = Callable[..., JoinRequest]

IGNITION = Delivery(formats=("Ignition",), limit=1 << 20, gzip=False)


@pytest.fixture(scope="module")
def validator() -> Path:
    found = next(binary for binary in BINARIES if binary.name == "ignition-validate").located()
    if found is None:
        pytest.skip("ignition-validate is not built; make controlplane builds it")
    return found


def complaints(validator: Path, config: bytes) -> str:
    """All that it has to say, warnings too."""
    done = subprocess.run([str(validator), "-"], input=config, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    return said or f"exit code {done.returncode}" if done.returncode else said


@pytest.mark.parametrize("mode", MODES)
def test_it_has_nothing_to_say_about_any_mode(validator: Path, make_request: MakeRequest, mode: str) -> None:
    """Or the class is told that this mode does not go with it."""
    request = make_request(mode, "Ignition")
    if MODES[mode](request).parts:
        with pytest.raises(InvalidJoin, match="needs CloudInit"):
            render_user_data(request, IGNITION)
        return
    assert complaints(validator, render_user_data(request, IGNITION)) == ""


def test_it_takes_files_that_are_empty_large_binary_or_strangely_named(validator: Path) -> None:
    contents = (b"", b"\0" * 100_000, bytes(range(256)) * 4096)
    files = [MachineFile(path=f"/ü {n}%20'\"", content=content, mode=0o644) for n, content in enumerate(contents)]
    users = (MachineUser(name="ops", ssh_authorized_keys=("same", "same"), sudo=True),)
    assert complaints(validator, render(Document(hostname="h", files=tuple(files), users=users))) == ""


def test_it_would_complain(validator: Path) -> None:
    config = render(Document(hostname="", files=(MachineFile(path="not/absolute", content=b"", mode=0o644),)))
    assert "path not absolute" in complaints(validator, config)
