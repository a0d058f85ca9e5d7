from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeset_provider.join import bootstrap_token as tokens
from nodeset_provider.join.yaml_text import yaml_text

KEY = bytes(range(32))
UID = "11111111-2222-3333-4444-555555555555"


def test_same_attempt_gives_the_same_token_and_every_other_one_another() -> None:
    first = tokens.derive(KEY, UID, 1)
    assert first == tokens.derive(KEY, UID, 1)
    others = [tokens.derive(KEY, UID, 2), tokens.derive(KEY, UID[:-1] + "6", 1), tokens.derive(KEY[::-1], UID, 1)]
    assert len({first.value, *(other.value for other in others)}) == 4


def test_attempt_and_uid_cannot_be_read_into_each_other() -> None:
    assert tokens.derive(KEY, "a", 11) != tokens.derive(KEY, "a1", 1)


@given(st.binary(min_size=32, max_size=64), st.uuids(), st.integers(min_value=1, max_value=10_000))
def test_every_token_has_the_form_that_the_api_server_takes(key: bytes, uid: object, attempt: int) -> None:
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", tokens.derive(key, str(uid), attempt).value)


def test_id_says_nothing_about_the_secret() -> None:
    token = tokens.derive(KEY, UID, 1)
    assert token.id not in token.secret
    assert token.secret not in repr(token)
    assert token.secret not in str(token)


def test_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 are needed"):
        tokens.derive(b"short", UID, 1)


def test_secret_is_what_the_token_authenticator_reads() -> None:
    token = tokens.BootstrapToken(id="123456", secret="0123456789012345")
    expires = datetime(2026, 11, 24, 20, 15, tzinfo=timezone(timedelta(hours=2)))
    manifest = json.loads(json.dumps(tokens.secret_manifest(token, machine="big-x1abc", expires=expires)))
    assert manifest["metadata"] == {"name": "bootstrap-token-123456", "namespace": "kube-system"}
    assert manifest["type"] == "bootstrap.kubernetes.io/token"
    data = manifest["stringData"]
    # Ids like this one look like numbers: everywhere a string, or the API server refuses one Secret in many.
    assert data["token-id"] == "123456"
    assert data["token-secret"] == "0123456789012345"
    assert data["expiration"] == "2026-11-24T18:15:00Z"
    assert data["usage-bootstrap-authentication"] == "true"
    assert "usage-bootstrap-signing" not in data
    assert data["auth-extra-groups"] == "system:bootstrappers:nodeset,system:bootstrappers:nodeset:big-x1abc"


def test_token_that_signs_cluster_info_says_so_and_is_otherwise_the_same() -> None:
    token, expires = tokens.derive(KEY, UID, 1), datetime(2026, 1, 1, tzinfo=UTC)
    plain = tokens.secret_manifest(token, machine="m", expires=expires)
    signing = tokens.secret_manifest(token, machine="m", expires=expires, signs_cluster_info=True)
    assert signing["stringData"] == plain["stringData"] | {"usage-bootstrap-signing": "true"}


@pytest.mark.parametrize(
    "token",
    ["123456.7890123456789012", "1e2345.7890123456789012", "123456.78901234567890e1", "123456.78901234567890e9"],
)
def test_token_that_looks_like_a_number_is_a_string_to_every_reader_of_yaml(token: str) -> None:
    assert yaml_text({"token": token}) == f'token: "{token}"\n'.encode()


def test_groups_have_the_form_that_the_token_authenticator_accepts() -> None:
    for group in tokens.groups("a" * 50 + "-x1abc"):
        assert re.fullmatch(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", group)


def test_longer_life_changes_nothing_but_the_expiration() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert tokens.expiration_patch(moment) == {"stringData": {"expiration": "2026-01-02T03:04:05Z"}}


def test_secret_of_another_machine_with_the_same_id_is_recognised() -> None:
    mine = {"auth-extra-groups": ",".join(tokens.groups("big-x1abc")).encode()}
    assert tokens.belongs_to(mine, "big-x1abc")
    assert not tokens.belongs_to(mine, "big-x1ab")
    assert not tokens.belongs_to({}, "big-x1abc")
    assert not tokens.belongs_to({"auth-extra-groups": b"\xff"}, "big-x1abc")
