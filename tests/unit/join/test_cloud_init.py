"""The renderer CloudInit: hostile content comes back byte for byte, for YAML's readers and for cloud-init itself."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from nodeset_provider.api.nodeclass import Provisioning
from nodeset_provider.api.nodeclass import User as ClassUser
from nodeset_provider.join import Delivery, JoinRequest, render_user_data
from nodeset_provider.join.cloud_init import HEADER, render
from nodeset_provider.join.document import Document, MachineFile, MachineUser

MakeRequest = Callable[..., JoinRequest]

ANYWHERE = Delivery(formats=("CloudInit", "Ignition"), limit=1 << 20, gzip=False)

CLOUD_INIT = shutil.which("cloud-init")
needs_cloud_init = pytest.mark.skipif(
    CLOUD_INIT is None, reason="cloud-init is not installed; tools/install-cloud-init.sh installs it"
)
HOSTILE = [
    "#cloud-config\nruncmd: [reboot]\n",
    "## template: jinja\n{{ ds.meta_data }}\n",
    "${HOME} $(reboot) `reboot` %h %%",
    "'single' \"double\" \\back\\slash\\n",
    "\n\n leading and trailing \n\n",
    "  indented\n\tand tabbed\n    more\n",
    "a: b\n- c\n? d\n--- \n...\n!!python/object/apply:os.system [reboot]\n",
    "&anchor *alias <<: | > @ ` % ! ~ null",
    "dos\r\nlines\r\n",
    "\0\x01\x07\x1b[31m\x7f\x80\x85\u2028\u2029\ufeff",
    "é ü 世界 🚀",
    "MIME-Version: 1.0\nContent-Type: multipart/mixed\n",
    "",
    " ",
    "\n",
    "x" * 5000,
    "0644",
    "y",
    "1e3",
    "2026-11-24",
]


def parse(user_data: bytes) -> dict[str, Any]:
    return yaml.safe_load(user_data.decode("ascii"))


def content(entry: dict[str, Any]) -> bytes:
    if entry.get("encoding") == "b64":
        return base64.b64decode(entry["content"], validate=True)
    assert isinstance(entry["content"], str)
    return entry["content"].encode()


def document(*, files: list[bytes] | None = None, commands: list[tuple[str, ...]] | None = None) -> Document:
    return Document(
        hostname="h",
        files=tuple(MachineFile(path=f"/f{n}", content=data, mode=0o644) for n, data in enumerate(files or [])),
        commands_before=tuple(commands or ()),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_file_comes_back_byte_for_byte(text: str) -> None:
    assert content(parse(render(document(files=[text.encode()])))["write_files"][0]) == text.encode()


@given(st.lists(st.binary() | st.text().map(str.encode) | st.text("ab \n\t-#:|>'\"\\").map(str.encode), max_size=4))
def test_any_file_comes_back_byte_for_byte(files: list[bytes]) -> None:
    user_data = render(document(files=files))
    assert user_data.startswith(HEADER)
    assert [content(entry) for entry in parse(user_data)["write_files"]] == files


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1).map(tuple), max_size=4))
@example([("sh", "-c", text) for text in HOSTILE])
def test_any_command_comes_back_character_for_character(commands: list[tuple[str, ...]]) -> None:
    assert [tuple(command) for command in parse(render(document(commands=commands))).get("runcmd", [])] == commands


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_key_comes_back_character_for_character(key: str) -> None:
    user_data = render(Document(hostname="h", users=(MachineUser(name="u", ssh_authorized_keys=(key,)),)))
    assert parse(user_data)["users"][1]["ssh_authorized_keys"] == [key]


def test_first_line_is_the_header_and_all_is_ascii(make_request: MakeRequest) -> None:
    provisioning = Provisioning(
        users=[ClassUser(name="u", ssh_authorized_keys=["ssh-rsa A é"])], commands=["echo 世界"]
    )
    user_data = render_user_data(make_request(provisioning=provisioning), ANYWHERE)
    assert user_data.split(b"\n", 1)[0] == b"#cloud-config"
    assert user_data.isascii()


@pytest.mark.parametrize(("mode", "text"), [(0o644, '"0644"'), (0o600, '"0600"'), (0o7, '"0007"'), (0o4755, '"4755"')])
def test_permissions_are_quoted_so_that_nobody_reads_them_as_a_number(mode: int, text: str) -> None:
    user_data = render(Document(hostname="h", files=(MachineFile(path="/f", content=b"", mode=mode),)))
    assert f"permissions: {text}\n".encode() in user_data


def test_host_name_that_looks_like_a_number_stays_a_name() -> None:
    for name in ("123", "1e3", "0x1f", "no", "null"):
        assert parse(render(Document(hostname=name)))["hostname"] == name


def test_file_of_a_user_of_the_class_waits_until_the_user_exists() -> None:
    files = tuple(
        MachineFile(path=f"/{n}", content=b"", mode=0o644, owner=o) for n, o in enumerate(["u", "root:u", "root"])
    )
    entries = parse(render(Document(hostname="h", files=files, users=(MachineUser(name="u"),))))["write_files"]
    assert [entry.get("defer", False) for entry in entries] == [True, True, False]


def test_users_are_added_to_the_images_own_and_have_no_password() -> None:
    users = (MachineUser(name="ops", ssh_authorized_keys=("k",), sudo=True), MachineUser(name="ro"))
    default, ops, ro = parse(render(Document(hostname="h", users=users)))["users"]
    assert default == "default"
    assert ops["lock_passwd"] is True
    assert ops["sudo"] == "ALL=(ALL) NOPASSWD:ALL"
    assert "sudo" not in ro
    assert "users" not in parse(render(Document(hostname="h")))


@needs_cloud_init
def test_cloud_init_finds_the_user_data_valid(make_request: MakeRequest, tmp_path: Path) -> None:
    provisioning = Provisioning(
        users=[ClassUser(name="ops", ssh_authorized_keys=["ssh-ed25519 A b"], sudo=True), ClassUser(name="ro")],
        commands=HOSTILE[:3],
    )
    path = tmp_path / "user-data"
    path.write_bytes(render_user_data(make_request(provisioning=provisioning, provider_id="simulated://1"), ANYWHERE))
    result = subprocess.run([CLOUD_INIT, "schema", "-c", str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Valid" in result.stdout + result.stderr


def cloud_inits_python() -> str:
    first = Path(CLOUD_INIT or "").read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#!").split()[0]


@needs_cloud_init
def test_cloud_inits_own_modules_write_the_files_and_the_script(tmp_path: Path) -> None:
    files = [text.encode() for text in HOSTILE]
    (tmp_path / "user-data").write_bytes(
        render(document(files=files, commands=[("printf", "%s\\n", " ".join(HOSTILE[:6]))]))
    )
    program = (
        "import base64, json, sys\n"
        "from cloudinit import util\n"
        "from cloudinit.config.cc_write_files import canonicalize_extraction, extract_contents\n"
        "config = util.load_yaml(open(sys.argv[1]).read())\n"
        "files = []\n"
        "for entry in config['write_files']:\n"
        "    found = extract_contents(entry.get('content', ''), canonicalize_extraction(entry.get('encoding')))\n"
        "    files.append(base64.b64encode(found if isinstance(found, bytes) else found.encode()).decode())\n"
        "print(json.dumps({'files': files, 'script': util.shellify(config['runcmd'])}))\n"
    )
    result = subprocess.run(
        [cloud_inits_python(), "-c", program, str(tmp_path / "user-data")], capture_output=True, text=True, check=True
    )
    read = json.loads(result.stdout)
    assert [base64.b64decode(file) for file in read["files"]] == files
    echoed = subprocess.run(["sh", "-c", read["script"]], capture_output=True, text=True, check=True).stdout
    assert echoed == " ".join(HOSTILE[:6]) + "\n"


@needs_cloud_init
@pytest.mark.parametrize(
    "command", ["exit 1", "echo 'open", "cat <<EOF", "set -e; false", "exec true", "kill $$", "}", "#"]
)
def test_command_that_goes_wrong_does_not_keep_the_kubelet_from_starting(
    make_request: MakeRequest, tmp_path: Path, command: str
) -> None:
    """With cloud-init's own shell script of the runcmd, and a systemctl that writes down its calls."""
    (tmp_path / "user-data").write_bytes(
        render_user_data(make_request(provisioning=Provisioning(commands=[command])), ANYWHERE)
    )
    program = (
        "import sys\n"
        "from cloudinit import util\n"
        "print(util.shellify(util.load_yaml(open(sys.argv[1]).read())['runcmd']))"
    )
    script = subprocess.run(
        [cloud_inits_python(), "-c", program, str(tmp_path / "user-data")], capture_output=True, text=True, check=True
    ).stdout
    fake = tmp_path / "systemctl"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    fake.chmod(0o755)
    subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "restart --no-block kubelet.service"
