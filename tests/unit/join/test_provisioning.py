from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeset_provider.api.nodeclass import File, Provisioning, Unit, User
from nodeset_provider.join import Delivery, InvalidJoin, JoinRequest, render_user_data
from nodeset_provider.join.provisioning import class_commands_after_join, class_files

MakeRequest = Callable[..., JoinRequest]

ANYWHERE = Delivery(formats=("CloudInit", "Ignition"), limit=1 << 20, gzip=False)


def refused(make_request: MakeRequest, **provisioning: Any) -> str:
    with pytest.raises(InvalidJoin) as caught:
        render_user_data(make_request(provisioning=Provisioning(**provisioning)), ANYWHERE)
    return caught.value.field


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "relative",
        "//etc/x",
        "/etc/../x",
        "/etc/./x",
        "/etc//x",
        "/etc/x/",
        "/a\nb",
        "/a\0b",
        "/" + "x" * 4096,
        "~/x",
    ],
)
def test_path_that_is_not_plain_and_absolute_is_refused(make_request: MakeRequest, path: str) -> None:
    assert refused(make_request, files=[File(path="/ok"), File(path=path)]) == "spec.provisioning.files[1].path"


@pytest.mark.parametrize(
    "path",
    ["/etc/kubernetes/bootstrap-kubelet.conf", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeconfig"],
)
def test_class_cannot_write_over_the_join_configuration(make_request: MakeRequest, path: str) -> None:
    assert refused(make_request, files=[File(path=path)]) == "spec.provisioning.files[0].path"


def test_path_given_twice_is_refused_and_names_both(make_request: MakeRequest) -> None:
    with pytest.raises(InvalidJoin, match=r"files\[1\]\.path: /a is written by files\[0\] already"):
        render_user_data(make_request(provisioning=Provisioning(files=[File(path="/a"), File(path="/a")])), ANYWHERE)


@pytest.mark.parametrize("permissions", ["", "rw", "0o644", "0888", "64", "07777777", "0644\n", "-644", "420 "])
def test_permissions_that_are_not_octal_are_refused(make_request: MakeRequest, permissions: str) -> None:
    assert (
        refused(make_request, files=[File(path="/a", permissions=permissions)])
        == "spec.provisioning.files[0].permissions"
    )


@pytest.mark.parametrize(
    "owner", ["", ":", "root:", "root:root:x", "a b", "root\n", "-root", "1000", "0:0", "root:0", "1:root"]
)
def test_owner_that_is_none_is_refused(make_request: MakeRequest, owner: str) -> None:
    assert refused(make_request, files=[File(path="/a", owner=owner)]) == "spec.provisioning.files[0].owner"


@pytest.mark.parametrize("owner", ["root", "9p", "9p:1a", "dev:staff"])
def test_owner_that_is_a_name_is_taken(owner: str) -> None:
    (file,) = class_files(Provisioning(files=[File(path="/a", owner=owner)]), reserved=())
    assert file.owner == owner


@pytest.mark.parametrize("name", ["", "Ops", "1st", "a b", "a:b", "x" * 33, "a\n", "default user"])
def test_user_name_that_is_none_is_refused(make_request: MakeRequest, name: str) -> None:
    assert refused(make_request, users=[User(name=name)]) == "spec.provisioning.users[0].name"


@pytest.mark.parametrize("key", ["", "  ", "ssh-rsa A\nssh-rsa B", "ssh-rsa\0"])
def test_ssh_key_of_more_or_less_than_a_line_is_refused(make_request: MakeRequest, key: str) -> None:
    assert refused(make_request, users=[User(name="a", ssh_authorized_keys=["ssh-rsa A", key])]) == (
        "spec.provisioning.users[0].sshAuthorizedKeys[1]"
    )


def test_command_with_nul_is_refused(make_request: MakeRequest) -> None:
    assert refused(make_request, commands=["true", "a\0b"]) == "spec.provisioning.commands[1]"


def test_half_a_surrogate_pair_is_refused_with_its_field(make_request: MakeRequest) -> None:
    assert refused(make_request, files=[File(path="/a", content="\ud800")]) == "spec.provisioning.files[0].content"
    assert refused(make_request, commands=["\udfff"]) == "spec.provisioning.commands[0]"


def test_refusal_does_not_repeat_the_content_of_a_file(make_request: MakeRequest) -> None:
    with pytest.raises(InvalidJoin) as caught:
        render_user_data(make_request(provisioning=Provisioning(files=[File(path="x", content="password")])), ANYWHERE)
    assert "password" not in str(caught.value)


def test_base64_becomes_the_bytes_it_stands_for_however_it_is_wrapped() -> None:
    content = bytes(range(256))
    encoded = base64.encodebytes(content).decode()
    for text in (encoded, encoded.replace("\n", "\r\n "), "".join(encoded.split())):
        (file,) = class_files(Provisioning(files=[File(path="/a", content=text, encoding="Base64")]), reserved=())
        assert file.content == content


@pytest.mark.parametrize("content", ["no base64!", "AAA", "AA=A", "é", "\ud800"])
def test_what_is_no_base64_is_refused_with_its_field(make_request: MakeRequest, content: str) -> None:
    file = File(path="/a", content=content, encoding="Base64")
    assert refused(make_request, files=[file]) == "spec.provisioning.files[0].content"


@given(st.binary())
def test_any_bytes_can_be_brought_by_base64(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    (file,) = class_files(Provisioning(files=[File(path="/a", content=text, encoding="Base64")]), reserved=())
    assert file.content == content


@pytest.mark.parametrize(
    "name", ["", "tuning", "a b.service", "../a.service", ".service", "a.service\n", "a/b.service"]
)
def test_unit_name_that_is_none_is_refused(make_request: MakeRequest, name: str) -> None:
    assert refused(make_request, units=[Unit(name=name)]) == "spec.provisioning.units[0].name"


def test_unit_given_twice_is_refused(make_request: MakeRequest) -> None:
    assert (
        refused(make_request, units=[Unit(name="a.timer"), Unit(name="a.timer")]) == "spec.provisioning.units[1].name"
    )


def test_unit_with_half_a_surrogate_pair_is_refused(make_request: MakeRequest) -> None:
    assert refused(make_request, units=[Unit(name="a.timer", content="\udc00")]) == "spec.provisioning.units[0].content"


def test_command_after_the_join_is_checked_as_those_before(make_request: MakeRequest) -> None:
    assert refused(make_request, commands_after_join=["true", "a\0b"]) == "spec.provisioning.commandsAfterJoin[1]"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=4))
def test_commands_are_whole_arguments_whatever_is_in_them(commands: list[str]) -> None:
    given_commands = Provisioning(commands_after_join=commands)
    assert class_commands_after_join(given_commands) == tuple(("sh", "-c", command) for command in commands)
