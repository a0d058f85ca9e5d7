"""The renderer CloudInit: hostile content comes back byte for byte, for YAML's readers and for cloud-init itself."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from testbed.hostile import HOSTILE

from nodeset_provider.api.nodeclass import Provisioning
from nodeset_provider.api.nodeclass import User as ClassUser
from nodeset_provider.join import Delivery, JoinRequest, render_user_data
from nodeset_provider.join.cloud_init import HEADER, render
from nodeset_provider.join.document import Document, MachineFile, MachineUnit, MachineUser, Part

MakeRequest = Callable[..., JoinRequest]

ANYWHERE = Delivery(formats=("CloudInit", "Ignition"), limit=1 << 20, gzip=False)

CLOUD_INIT = shutil.which("cloud-init") or ""
needs_cloud_init = pytest.mark.skipif(
    not CLOUD_INIT, reason="cloud-init is not installed; tools/install-cloud-init.sh installs it"
)


def parse(user_data: bytes) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(user_data.decode("ascii"))
    return config


def content(entry: dict[str, Any]) -> bytes:
    encoding = entry.get("encoding")
    if encoding:
        raw = base64.b64decode(entry["content"], validate=True)
        return gzip.decompress(raw) if encoding == "gz+b64" else raw
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
@example([b"\0", b"\0" * 5000, bytes(range(256)) * 8])
def test_any_file_comes_back_byte_for_byte(files: list[bytes]) -> None:
    user_data = render(document(files=files))
    assert user_data.startswith(HEADER)
    assert [content(entry) for entry in parse(user_data).get("write_files", [])] == files


@pytest.mark.parametrize("kind", ["text", "noise", "long line"])
def test_file_of_a_megabyte_comes_back_byte_for_byte(kind: str) -> None:
    file = {
        "text": b"".join(b"line %d\n" % n for n in range(100_000)),
        "noise": Random(0).randbytes(1 << 20),
        "long line": b"'" * (1 << 20),
    }[kind]
    assert content(parse(render(document(files=[file])))["write_files"][0]) == file


def test_file_is_compressed_only_where_that_saves_something_worth() -> None:
    noise = base64.b64encode(Random(0).randbytes(20_000))
    files = [b"short\n" * 20, b"long and alike\n" * 2000, noise]
    entries = parse(render(document(files=files)))["write_files"]
    assert [entry.get("encoding") for entry in entries] == [None, "gz+b64", None]
    assert len(entries[1]["content"]) < len(files[1]) / 10


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["MIME-Version:", "mime-version:", "MimE-vErsion:"]),
)
@example("", "MIME-Version:")
@example("\\", "MIME-Version:")
def test_nothing_in_it_makes_cloud_init_take_it_for_a_mail(text: str, header: str) -> None:
    """It looks for this header in the first 4096 bytes, whatever the user-data begins with."""
    text = f"{text}{header} 1.0\n{text}"
    user_data = render(document(files=[text.encode()], commands=[("printf", text)]))
    assert b"mime-version" not in user_data.lower()
    assert content(parse(user_data)["write_files"][0]) == text.encode()
    assert parse(user_data)["runcmd"] == [["printf", text]]


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


def test_without_a_host_name_the_machine_keeps_the_clouds() -> None:
    assert parse(render(Document(hostname=""))) == {}


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
    assert (ro["primary_group"], ro["groups"]) == ("ro", ["ro"]), "its own, also where the group is there already"
    assert "users" not in parse(render(Document(hostname="h")))


def test_units_are_written_first_enabled_and_started_without_waiting_between_the_commands() -> None:
    units = (
        MachineUnit(name="a.service", content=b"[Service]\nExecStart=true\n", start=True, enabled=False),
        MachineUnit(name="b.service", drop_ins=(("10-b.conf", b"[Unit]\n"),), start=True),
        MachineUnit(name="c.timer", content=b"[Timer]\n"),
    )
    file = MachineFile(path="/f", content=b"", mode=0o600)
    config = parse(
        render(Document(hostname="h", files=(file,), units=units, commands_before=(("1",),), commands_after=(("2",),)))
    )
    assert [(entry["path"], entry["permissions"], entry["owner"]) for entry in config["write_files"]] == [
        ("/etc/systemd/system/a.service", "0644", "root:root"),
        ("/etc/systemd/system/b.service.d/10-b.conf", "0644", "root:root"),
        ("/etc/systemd/system/c.timer", "0644", "root:root"),
        ("/f", "0600", "root:root"),
    ]
    assert config["runcmd"] == [
        ["1"],
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "b.service", "c.timer"],
        ["systemctl", "restart", "--no-block", "a.service", "b.service"],
        ["2"],
    ]


# --- parts for other readers ------------------------------------------------------------------------------------------
NODE_CONFIG = "application/node.eks.aws"


def multipart(parts: list[bytes]) -> bytes:
    return render(
        Document(
            hostname="",
            commands_before=(("true",),),
            parts=tuple(Part(content_type=NODE_CONFIG, content=content) for content in parts),
        )
    )


def read_parts(user_data: bytes) -> list[tuple[str, bytes]]:
    parts = []
    for part in message_from_bytes(user_data).walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            parts.append((part.get_content_type(), content))
    return parts


@given(st.lists(st.binary() | st.text().map(str.encode), min_size=1, max_size=3))
@example([text.encode() for text in HOSTILE])
def test_any_part_comes_back_byte_for_byte_beside_the_cloud_config(parts: list[bytes]) -> None:
    (first_type, first), *others = read_parts(multipart(parts))
    assert first_type == "text/cloud-config"
    assert parse(first) == {"runcmd": [["true"]]}
    assert others == [(NODE_CONFIG, content) for content in parts]


def test_parts_have_a_boundary_that_is_in_none_of_them_and_the_same_each_time() -> None:
    once = multipart([b"a"])
    boundary = message_from_bytes(once).get_boundary()
    assert boundary is not None
    assert multipart([b"a"]) == once
    inside = multipart([f"--{boundary}--\n".encode()])
    assert message_from_bytes(inside).get_boundary() != boundary
    assert read_parts(inside)[1:] == [(NODE_CONFIG, f"--{boundary}--\n".encode())]


def test_no_content_of_a_document_is_in_its_repr() -> None:
    secret = "nobody-reads-this"
    drop_ins = (("d.conf", secret.encode()),)
    text = repr(
        Document(
            hostname="h",
            files=(MachineFile(path="/f", content=secret.encode(), mode=0o600),),
            units=(MachineUnit(name="u.service", content=secret.encode(), drop_ins=drop_ins),),
            parts=(Part(content_type=NODE_CONFIG, content=secret.encode()),),
        )
    )
    assert secret not in text


@needs_cloud_init
def test_cloud_init_finds_the_user_data_valid(make_request: MakeRequest, tmp_path: Path) -> None:
    provisioning = Provisioning(
        users=[ClassUser(name="ops", ssh_authorized_keys=["ssh-ed25519 A b"], sudo=True), ClassUser(name="ro")],
        commands=list(HOSTILE[:3]),
    )
    path = tmp_path / "user-data"
    path.write_bytes(render_user_data(make_request(provisioning=provisioning, provider_id="simulated://1"), ANYWHERE))
    result = subprocess.run([CLOUD_INIT, "schema", "-c", str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Valid" in result.stdout + result.stderr


def cloud_inits_python() -> str:
    first = Path(CLOUD_INIT).read_text(encoding="utf-8").split("\n", 1)[0]
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
