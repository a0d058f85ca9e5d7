"""cloud-init itself reads what every join mode sends: its schema check, and what its code makes of it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from testbed.hostile import HOSTILE

from nodeset_provider.join import Delivery, JoinRequest, render_user_data
from nodeset_provider.join.document import unit_files
from nodeset_provider.join.modes import MODES

MakeRequest = Callable[..., JoinRequest]

CLOUD_INIT = shutil.which("cloud-init") or ""
pytestmark = [
    pytest.mark.skipif(not CLOUD_INIT, reason="cloud-init is not installed; tools/install-cloud-init.sh installs it"),
    pytest.mark.parametrize("mode", MODES),
]
READER = Path(__file__).parent / "read_as_cloud_init.py"
PLAIN = Delivery(formats=("CloudInit",), limit=1 << 20, gzip=False)
GZIP = Delivery(formats=("CloudInit",), limit=1, gzip=True)


@dataclass(frozen=True)
class Read:
    """What cloud-init read."""

    config: dict[str, Any]
    files: dict[str, bytes]
    script: str
    others: list[tuple[str, bytes]]


def read(user_data: bytes, folder: Path) -> Read:
    path = folder / "user-data"
    path.write_bytes(user_data)
    python = Path(CLOUD_INIT).read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("#!").split()[0]
    done = subprocess.run([python, str(READER), str(path)], capture_output=True, text=True, check=False)
    print(done.stderr)  # noqa: T201 - cloud-init's own words, shown where the test fails
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return Read(
        config=answer["config"],
        files={name: base64.b64decode(content) for name, content in answer["files"].items()},
        script=answer["script"],
        others=[(content_type, base64.b64decode(content)) for content_type, content in answer["others"]],
    )


def cloud_config(user_data: bytes) -> bytes:
    """The part for cloud-init: ``cloud-init schema`` knows no MIME."""
    if user_data.startswith(b"#cloud-config\n"):
        return user_data
    for part in message_from_bytes(user_data).walk():
        if part.get_content_type() == "text/cloud-config":
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            return content
    raise AssertionError("no part is a cloud-config")


def test_cloud_init_schema_finds_it_valid(make_request: MakeRequest, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_bytes(cloud_config(render_user_data(make_request(mode, "CloudInit"), PLAIN)))
    done = subprocess.run([CLOUD_INIT, "schema", "-c", str(path)], capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)  # noqa: T201 - shown where the test fails
    assert done.returncode == 0
    assert "Valid" in done.stdout + done.stderr


@pytest.mark.parametrize("delivery", [PLAIN, GZIP], ids=["plain", "gzip"])
def test_cloud_init_gets_back_all_that_the_mode_wants(
    make_request: MakeRequest, mode: str, delivery: Delivery, tmp_path: Path
) -> None:
    request = make_request(mode, "CloudInit")
    document = MODES[mode](request)
    got = read(render_user_data(request, delivery), tmp_path)
    assert got.files == {file.path: file.content for file in (*unit_files(document.units), *document.files)}
    assert got.others == [(part.content_type, part.content) for part in document.parts]
    assert got.config.get("hostname", "") == document.hostname
    assert [user["name"] for user in got.config["users"][1:]] == [user.name for user in document.users]
    commands = [tuple(command) for command in got.config["runcmd"]]
    assert commands[: len(document.commands_before)] == list(document.commands_before)
    assert commands[len(commands) - len(document.commands_after) :] == list(document.commands_after)


def test_a_shell_takes_the_words_of_every_command_as_they_are(
    make_request: MakeRequest, mode: str, tmp_path: Path
) -> None:
    """The script that cloud-init makes of the commands, with a ``sh`` that only says what it was given."""
    script = read(render_user_data(make_request(mode, "CloudInit"), PLAIN), tmp_path).script
    for name in ("sh", "env", "systemctl", "kubeadm", "k3s"):
        program = tmp_path / name
        program.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\nprintf "\\n\\0"\n')
        program.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, check=False
    )
    words = done.stdout.decode().split("\0")
    assert [text for text in HOSTILE if text not in words] == []
