"""The renderer Ignition: what its reader gets back is byte for byte what the document holds."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from testbed.hostile import HOSTILE

from nodeset_provider.api.nodeclass import File, Join, Provisioning, User
from nodeset_provider.join import Delivery, InvalidJoin, JoinRequest, render_user_data
from nodeset_provider.join.document import Document, MachineFile, MachineUnit, MachineUser, Part
from nodeset_provider.join.ignition import render

MakeRequest = Callable[..., JoinRequest]

ANYWHERE = Delivery(formats=("CloudInit", "Ignition"), limit=1 << 20, gzip=True)


def parse(config: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(config.decode("ascii"))
    return parsed


def content(entry: dict[str, Any]) -> bytes:
    head, _, encoded = entry["contents"]["source"].partition(",")
    assert head == "data:;base64"
    raw = base64.b64decode(encoded, validate=True)
    return gzip.decompress(raw) if entry["contents"].get("compression") == "gzip" else raw


def files(config: bytes) -> dict[str, dict[str, Any]]:
    entries = parse(config)["storage"]["files"]
    assert len({entry["path"] for entry in entries}) == len(entries)
    return {entry["path"]: entry for entry in entries}


def with_files(*contents: bytes) -> Document:
    return Document(
        hostname="",
        files=tuple(MachineFile(path=f"/f{n}", content=data, mode=0o644) for n, data in enumerate(contents)),
    )


@given(st.lists(st.binary() | st.text().map(str.encode), max_size=4))
@example([text.encode() for text in HOSTILE])
@example([b"\0", b"\0" * 5000, bytes(range(256)) * 8])
def test_any_file_comes_back_byte_for_byte(contents: list[bytes]) -> None:
    assert [content(entry) for entry in files(render(with_files(*contents))).values()] == contents


@pytest.mark.parametrize("kind", ["text", "noise"])
def test_file_of_a_megabyte_comes_back_byte_for_byte(kind: str) -> None:
    file = {"text": b"".join(b"line %d\n" % n for n in range(100_000)), "noise": Random(0).randbytes(1 << 20)}[kind]
    assert content(files(render(with_files(file)))["/f0"]) == file


def test_file_is_compressed_only_where_that_saves_something_worth() -> None:
    noise = base64.b64encode(Random(0).randbytes(20_000))
    entries = files(render(with_files(b"short\n" * 20, b"long and alike\n" * 2000, noise))).values()
    assert [entry["contents"].get("compression") for entry in entries] == [None, "gzip", None]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_key_and_path_comes_back_character_for_character(text: str) -> None:
    file = MachineFile(path=f"/{text}", content=b"", mode=0o644)
    config = render(Document(hostname="", users=(MachineUser(name="u", ssh_authorized_keys=(text,)),), files=(file,)))
    assert parse(config)["passwd"]["users"][0]["sshAuthorizedKeys"] == [text]
    assert list(files(config)) == [f"/{text}"]


@pytest.mark.parametrize(("mode", "number"), [(0o644, 420), (0o600, 384), (0o7, 7), (0o755, 493)])
def test_mode_is_a_decimal_number_and_files_of_the_image_are_written_over(mode: int, number: int) -> None:
    entry = files(render(Document(hostname="", files=(MachineFile(path="/f", content=b"", mode=mode),))))["/f"]
    assert entry["mode"] == number
    assert entry["overwrite"] is True


def test_bits_that_ignition_does_not_set_are_set_by_the_first_boot() -> None:
    file = MachineFile(path="/usr/local/bin/su it", content=b"", mode=0o4755)
    entries = files(render(Document(hostname="", files=(file,))))
    assert entries[file.path]["mode"] == 0o755
    assert b"step mode-1 chmod 4755 '/usr/local/bin/su it'\n" in content(entries["/etc/nodeset/first-boot.sh"])


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("root:root", {}),
        ("root", {}),
        ("ops", {"user": {"name": "ops"}}),
        ("ops:adm", {"user": {"name": "ops"}, "group": {"name": "adm"}}),
        ("root:ops", {"group": {"name": "ops"}}),
    ],
)
def test_owner_is_said_by_name(owner: str, said: dict[str, Any]) -> None:
    entry = files(render(Document(hostname="", files=(MachineFile(path="/f", content=b"", mode=0o644, owner=owner),))))
    assert {name: value for name, value in entry["/f"].items() if name in ("user", "group")} == said


def test_host_name_is_written_where_there_is_one() -> None:
    assert content(files(render(Document(hostname="big-1")))["/etc/hostname"]) == b"big-1\n"
    assert "/etc/hostname" not in files(render(Document(hostname="")))


def test_users_have_no_password_and_become_root_by_a_file_that_only_root_reads() -> None:
    users = (
        MachineUser(name="ops", ssh_authorized_keys=("a", "b", "a"), sudo=True),
        MachineUser(name="ro"),
        MachineUser(name="core", sudo=True),
    )
    config = render(Document(hostname="", users=users))
    ops, ro, core = parse(config)["passwd"]["users"]
    assert ops == {"name": "ops", "shell": "/bin/bash", "sshAuthorizedKeys": ["a", "b"]}, "a second one is refused"
    assert (ro["name"], core["name"]) == ("ro", "core")
    sudoers = files(config)["/etc/sudoers.d/90-nodeset"]
    assert sudoers["mode"] == 0o440
    assert content(sudoers) == b"ops ALL=(ALL) NOPASSWD:ALL\ncore ALL=(ALL) NOPASSWD:ALL\n"
    assert not files(render(Document(hostname="", users=(MachineUser(name="ro"),))))


@pytest.mark.parametrize("name", ["docker", "wheel", "sudo"])
def test_user_that_no_useradd_makes_is_refused_with_its_field(name: str) -> None:
    with pytest.raises(InvalidJoin, match="choose another") as refusal:
        render(Document(hostname="", users=(MachineUser(name="ops"), MachineUser(name=name))))
    assert refusal.value.field == "spec.provisioning.users[1].name"


def test_units_are_files_that_our_own_unit_enables_and_starts() -> None:
    long = b"[Service]\nExecStart=kubelet " + b"--v=1 " * 1000 + b"\n"
    units = (
        MachineUnit(name="a.service", content=b"not a unit at all", start=True, enabled=False),
        MachineUnit(name="b.service", drop_ins=(("10-b.conf", long),), start=True),
        MachineUnit(name="c.timer", content=b"[Timer]\n[Install]\nWantedBy=timers.target\n"),
    )
    config = render(Document(hostname="", units=units))
    assert parse(config)["systemd"]["units"] == [{"name": "nodeset-first-boot.service", "enabled": True}]
    written = {path: content(entry) for path, entry in files(config).items()}
    assert b"WantedBy=" in written.pop("/etc/systemd/system/nodeset-first-boot.service")
    script = written.pop("/etc/nodeset/first-boot.sh").decode()
    assert "systemctl enable b.service c.timer\n" in script
    assert "systemctl restart --no-block a.service b.service\n" in script
    assert written == {
        "/etc/systemd/system/a.service": units[0].content,
        "/etc/systemd/system/b.service.d/10-b.conf": long,  # longer than Ignition takes in a unit
        "/etc/systemd/system/c.timer": units[2].content,
    }


def test_nothing_of_ours_is_on_a_machine_that_has_nothing_to_run() -> None:
    file = MachineFile(path="/f", content=b"", mode=0o644)
    config = render(Document(hostname="", files=(file,), users=(MachineUser(name="ro"),)))
    assert list(files(config)) == ["/f"]
    assert parse(config)["systemd"]["units"] == []


def test_script_with_the_commands_is_for_root_only() -> None:
    config = render(Document(hostname="", commands_before=(("true",),)))
    assert files(config)["/etc/nodeset/first-boot.sh"]["mode"] == 0o700


@pytest.mark.parametrize("path", ["/run/marker", "/tmp/x/y", "/var/run/x", "/var/lock/x", "/proc/sys/vm/swappiness"])
def test_file_that_would_be_gone_when_the_machine_has_booted_is_refused(make_request: MakeRequest, path: str) -> None:
    provisioning = Provisioning(files=[File(path=path)])
    with pytest.raises(InvalidJoin, match=rf"spec\.provisioning\.files: {path} is gone .*; choose a path on the disk"):
        render_user_data(make_request(join=Join(format="Ignition"), provisioning=provisioning), ANYWHERE)
    render_user_data(make_request(join=Join(format="CloudInit"), provisioning=provisioning), ANYWHERE)
    render(Document(hostname="", files=(MachineFile(path="/runner/tmp/x", content=b"", mode=0o644),)))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname",
        "/etc/sudoers.d/90-nodeset",
        "/etc/nodeset/first-boot.sh",
        "/etc/systemd/system/nodeset-first-boot.service",
    ],
)
def test_file_of_the_class_that_the_renderer_writes_itself_is_refused(make_request: MakeRequest, path: str) -> None:
    provisioning = Provisioning(users=[User(name="ops", sudo=True)], commands=["true"], files=[File(path=path)])
    with pytest.raises(InvalidJoin, match=f"spec.provisioning: {path} is written by the join configuration"):
        render_user_data(make_request(provisioning=provisioning, join=Join(format="Ignition")), ANYWHERE)


def test_parts_for_other_readers_are_refused_with_the_field() -> None:
    with pytest.raises(InvalidJoin, match="needs CloudInit") as caught:
        render(Document(hostname="", parts=(Part(content_type="application/node.eks.aws", content=b""),)))
    assert caught.value.field == "spec.join.format"


def test_it_is_never_compressed_as_a_whole_for_ignition_reads_json_only(make_request: MakeRequest) -> None:
    delivery = Delivery(formats=("Ignition",), limit=10, gzip=True)
    assert render_user_data(make_request(join=Join(format="Ignition")), delivery).startswith(b"{")
