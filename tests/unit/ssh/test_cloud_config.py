"""User-data becomes exactly the steps that it says, in cloud-init's order, or is refused by name."""

import base64
import gzip
import io
import tarfile

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from nodeset_driver_ssh.applier.bundle import bundle_of, tar_of
from nodeset_driver_ssh.applier.cloud_config import read_steps
from nodeset_driver_ssh.applier.plan import CommandStep, FileStep, HostnameStep, UserStep

from nodeset_provider.driverkit.errors import InvalidSpec
from nodeset_provider.join import cloud_init
from nodeset_provider.join.document import Document, MachineFile, MachineUnit, MachineUser

HOSTILE = st.text(st.characters(exclude_categories=("Cs",)), max_size=80) | st.sampled_from(
    ["#cloud-config\n", "${x} `id` $(id)", "'\"\\\n", "\n", "\r\n", "a\x00b", "- : |\n", "ü€\u2028", "--", "-n"]
)
WORDS = HOSTILE.map(lambda text: text.replace("\x00", ""))


def cloud_config(**keys: object) -> bytes:
    return b"#cloud-config\n" + yaml.safe_dump(keys).encode()


@settings(deadline=None)
@given(contents=st.lists(HOSTILE, max_size=4), commands=st.lists(st.lists(WORDS, min_size=1, max_size=4), max_size=4))
def test_what_the_renderer_writes_is_what_is_applied(contents: list[str], commands: list[list[str]]) -> None:
    argvs = [("run", *words) for words in commands]
    files = [MachineFile(path=f"/etc/f{n}", content=text.encode(), mode=0o640) for n, text in enumerate(contents)]
    document = Document(hostname="node-1", files=tuple(files), commands_before=tuple(argvs))
    assert list(read_steps(cloud_init.render(document))) == [
        *(FileStep(path=file.path, content=file.content, mode=0o640) for file in files),
        HostnameStep("node-1"),
        *(CommandStep(argv) for argv in argvs),
    ]


@settings(deadline=None)
@given(commands=st.lists(st.lists(WORDS, min_size=1, max_size=4).map(lambda words: ("run", *words)), max_size=4))
def test_words_reach_the_host_byte_for_byte_and_one_a_file(commands: list[tuple[str, ...]]) -> None:
    archive = tar_of(bundle_of([CommandStep(argv) for argv in commands], run=b"", step_seconds=1))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    for number, argv in enumerate(commands, start=1):
        kept = [found[f"steps/{number:04d}/argv/{index:04d}"] for index in range(len(argv))]
        assert kept == [word.encode() for word in argv]


def test_whole_document_in_cloud_inits_order() -> None:
    document = Document(
        hostname="node-1",
        files=(MachineFile(path="/home/op/x", content=b"\xff", mode=0o600, owner="op:op"),),
        users=(MachineUser(name="op", ssh_authorized_keys=("ssh-ed25519 AAAA op",), sudo=True),),
        units=(MachineUnit(name="kubelet.service", drop_ins=(("20-n.conf", b"[Service]\n"),), start=True),),
        commands_after=(("true",),),
    )
    steps = read_steps(cloud_init.render(document))
    assert [type(step) for step in steps[:4]] == [FileStep, HostnameStep, UserStep, FileStep]
    assert steps[0].path == "/etc/systemd/system/kubelet.service.d/20-n.conf"  # type: ignore[union-attr]
    assert steps[2] == UserStep(name="op", keys=("ssh-ed25519 AAAA op",), sudo=("ALL=(ALL) NOPASSWD:ALL",))
    assert steps[3] == FileStep(path="/home/op/x", content=b"\xff", mode=0o600, owner="op:op")
    assert steps[-1] == CommandStep(("true",))
    assert all(isinstance(step, CommandStep) for step in steps[4:])


def test_encodings_are_undone() -> None:
    packed = gzip.compress(b"content")
    entries = [
        {"path": "/a", "encoding": "b64", "content": base64.b64encode(b"content").decode()},
        {"path": "/b", "encoding": "gz+b64", "content": base64.b64encode(packed).decode()},
        {"path": "/c", "encoding": "gzip", "content": packed},
    ]
    assert [step.content for step in read_steps(cloud_config(write_files=entries))] == [b"content"] * 3  # type: ignore[union-attr]


def test_text_command_is_for_a_shell() -> None:
    assert read_steps(cloud_config(runcmd=["a && b"])) == (CommandStep(("sh", "-c", "a && b")),)


@pytest.mark.parametrize(
    ("user_data", "said"),
    [
        (b"\xff", "UTF-8"),
        (b"#!/bin/sh\nid\n", "begin with #cloud-config"),
        (b"Content-Type: multipart/mixed; boundary=x\n", "multipart"),
        (b"#cloud-config\n- a\n", "not a mapping"),
        (b"#cloud-config\na: [s3cret\n", "not YAML"),
        (cloud_config(packages=["s3cret"]), "key 'packages' cannot be applied over SSH"),
        (cloud_config(write_files="s3cret"), "write_files is not a list"),
        (cloud_config(write_files=[{"content": "s3cret"}]), r"write_files\[0\] has no plain absolute path"),
        (cloud_config(write_files=[{"path": "/a/../b"}]), "plain absolute path"),
        (cloud_config(write_files=[{"path": "/a\nb"}]), "plain absolute path"),
        (cloud_config(write_files=[{"path": "/a", "permissions": "rw"}]), "octal"),
        (cloud_config(write_files=[{"path": "/a", "owner": "$(id)"}]), "owner"),
        (cloud_config(write_files=[{"path": "/a", "append": True}]), "key 'append'"),
        (cloud_config(write_files=[{"path": "/a", "encoding": "rot13"}]), "encoding"),
        (cloud_config(write_files=[{"path": "/a", "encoding": "gz+b64", "content": "s3cret"}]), "what encoding says"),
        (cloud_config(hostname="a b"), "host name"),
        (cloud_config(users=[{"name": "root"}]), "login name"),
        (cloud_config(users=[{"name": "a;id"}]), "login name"),
        (cloud_config(users=[{"name": "a", "lock_passwd": False}]), "lock_passwd"),
        (cloud_config(users=[{"name": "a", "passwd": "s3cret"}]), "key 'passwd'"),
        (cloud_config(users=[{"name": "a", "primary_group": "s3cret"}]), "group of its own name"),
        (cloud_config(users=[{"name": "a", "groups": ["a", "s3cret"]}]), "group of its own name"),
        (cloud_config(runcmd=["s3cret"] * 10000), "has 10000 files, users and commands"),
        (cloud_config(users=[{"name": "a", "ssh_authorized_keys": ["s3cret\nx"]}]), "list of lines"),
        (cloud_config(runcmd=[[]]), "neither a command"),
        (cloud_config(runcmd=[["a", "b\0s3cret"]]), "NUL"),
        (cloud_config(runcmd=[["a", {"b": 1}]]), "no string"),
    ],
)
def test_what_cannot_be_applied_is_refused_by_name_and_never_quoted(user_data: bytes, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said) as wrong:
        read_steps(user_data)
    assert "s3cret" not in wrong.value.message


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_ends_in_nothing_but_invalid_spec(garbage: bytes) -> None:
    for user_data in (garbage, b"#cloud-config\n" + garbage):
        try:
            read_steps(user_data)
        except InvalidSpec:
            continue


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(deadline=None)
@given(keys=st.dictionaries(st.sampled_from(["write_files", "users", "runcmd", "hostname"]), JUNK))
def test_wrong_shapes_end_in_nothing_but_invalid_spec(keys: dict[str, object]) -> None:
    try:
        bundle_of(read_steps(cloud_config(**keys)), run=b"", step_seconds=1)
    except InvalidSpec:
        return


def test_title_of_a_command_holds_no_argument() -> None:
    files = bundle_of([CommandStep(("kubeadm", "join", "--token=s3cret"))], run=b"", step_seconds=1)
    assert files["steps/0001/title"] == b"step 1 of 1, command kubeadm,"
