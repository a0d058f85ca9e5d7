"""What RBAC cannot say about the provider's Secrets, the admission policy says."""

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from testbed.api import API

from nodeset_provider.join import bootstrap_token
from nodeset_provider.join.bootstrap_token import KEY_SECRET_NAME, BootstrapToken

TOKENS = "/api/v1/namespaces/kube-system/secrets"
OWN = "/api/v1/namespaces/nodeset-provider/secrets"
POLICY = "nodeset-provider-secrets"
EXPIRES = datetime.now(UTC) + timedelta(minutes=15)
ABOUT_GROUPS = "must have auth-extra-groups=system:bootstrappers:nodeset,system:bootstrappers:nodeset:<machine>"
_ids = (f"t{number:05}" for number in itertools.count(1))


@pytest.fixture(scope="module", autouse=True)
def policy_in_force(provider: API) -> None:
    """A policy acts some moments after it was made: wait until it refuses something, by asking and changing nothing."""
    deadline = time.monotonic() + 30
    while POLICY not in provider.create(TOKENS, secret("never-allowed", kind="Opaque"), dry_run=True).refused:
        assert time.monotonic() < deadline, "the policy does not act"
        time.sleep(0.05)


def token(machine: str = "big-x1abc", **data: str | None) -> dict[str, Any]:
    """The Secret that the provider makes, with some of its data replaced, or taken out by None."""
    manifest = bootstrap_token.secret_manifest(
        BootstrapToken(next(_ids), "0123456789abcdef"), machine=machine, expires=EXPIRES
    )
    content = {**manifest["stringData"], **{key.replace("_", "-"): value for key, value in data.items()}}
    return {**manifest, "stringData": {key: value for key, value in content.items() if value is not None}}


def secret(name: str, *, kind: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "stringData": data}


def groups(*names: str) -> str:
    return ",".join(names)


OURS = "system:bootstrappers:nodeset"
OTHER = "system:bootstrappers:kubeadm:default-node-token"


@pytest.fixture
def foreign_token(admin: API) -> Iterator[str]:
    """A bootstrap token of somebody else, as kubeadm makes them."""
    manifest = token(auth_extra_groups=OTHER)
    assert admin.create(TOKENS, manifest).status == 201
    path = f"{TOKENS}/{manifest['metadata']['name']}"
    yield path
    assert admin.delete(path).status == 200


@pytest.mark.parametrize("machine", ["a-b1c2d", "a1-b1c2d", "a12-b1c2d", "x" * 50 + "-ab1cd"])
def test_the_providers_own_tokens_are_made_renewed_and_taken_away(provider: API, machine: str) -> None:
    manifest = token(machine)
    path = f"{TOKENS}/{manifest['metadata']['name']}"
    assert not provider.create(TOKENS, manifest).refused
    assert not provider.patch(path, bootstrap_token.expiration_patch(EXPIRES + timedelta(minutes=1))).refused
    assert not provider.delete(path).refused


def test_a_token_may_sign_cluster_info(provider: API) -> None:
    """How `kubeadm join` comes to trust the cluster."""
    assert not provider.create(TOKENS, token(usage_bootstrap_signing="true"), dry_run=True).refused


def test_tokens_of_all_lengths_of_names_pass(provider: API) -> None:
    for length in range(1, 64):
        assert not provider.create(TOKENS, token("s" * length), dry_run=True).refused, length


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (secret("other", kind="Opaque", key="x"), "only write and delete Secrets bootstrap-token-<id>"),
        (secret("bootstrap-token-abcdef", kind="Opaque", key="x"), "of type bootstrap.kubernetes.io/token"),
        ({**token(), "metadata": {"name": "other"}}, "only write and delete Secrets bootstrap-token-<id>"),
        ({**token(), "metadata": {"generateName": "bootstrap-token-"}}, "only write and delete Secrets"),
        ({**token(), "metadata": {"name": "bootstrap-token-toolong"}}, "only write and delete Secrets"),
        (token(auth_extra_groups=None), ABOUT_GROUPS),
        (token(auth_extra_groups=OTHER), ABOUT_GROUPS),
        (token(auth_extra_groups=OURS), ABOUT_GROUPS),
        (token(auth_extra_groups=groups(f"{OURS}:a-1", OURS)), ABOUT_GROUPS),
        (token(auth_extra_groups=groups(OTHER, OURS, f"{OURS}:a-1")), ABOUT_GROUPS),
        (token(auth_extra_groups=groups(OURS, "system:bootstrappers:nodesetx")), ABOUT_GROUPS),
        (token(expiration=None), "must have an expiration"),
        (
            # The controller-manager would put a token of that account into it.
            {
                **secret("control", kind="kubernetes.io/service-account-token"),
                "metadata": {
                    "name": "bootstrap-token-abcdef",
                    "annotations": {"kubernetes.io/service-account.name": "clusterrole-aggregation-controller"},
                },
            },
            "of type bootstrap.kubernetes.io/token",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value["metadata"]),
)
def test_any_other_secret_in_kube_system_is_refused(provider: API, manifest: dict[str, Any], why: str) -> None:
    answer = provider.create(TOKENS, manifest, dry_run=True)
    assert answer.status == 422, answer
    assert POLICY in answer.refused
    assert why in answer.refused


@pytest.mark.parametrize("length", range(1, 13))
def test_a_third_group_is_refused_wherever_its_comma_falls_in_base64(provider: API, length: int) -> None:
    """Three bytes become four characters, so that a comma has three looks."""
    for extra in (OTHER, ""):
        answer = provider.create(
            TOKENS, token(auth_extra_groups=groups(OURS, f"{OURS}:{'m' * length}", extra)), dry_run=True
        )
        assert "must not have a third group" in answer.refused


def test_somebody_elses_token_is_neither_changed_nor_taken_over_nor_deleted(
    admin: API, provider: API, foreign_token: str
) -> None:
    before = admin.get(foreign_token).body["data"]
    ours = groups(OURS, f"{OURS}:a-1")
    for patch in (
        {"stringData": {"expiration": "2099-01-01T00:00:00Z"}},
        {"stringData": {"auth-extra-groups": ours}},
        {"metadata": {"labels": {"a": "b"}}},
    ):
        assert ABOUT_GROUPS in provider.patch(foreign_token, patch).refused
    assert ABOUT_GROUPS in provider.delete(foreign_token).refused
    assert admin.get(foreign_token).body["data"] == before


def test_its_own_token_is_not_moved_into_another_group(provider: API) -> None:
    manifest = token()
    path = f"{TOKENS}/{manifest['metadata']['name']}"
    assert not provider.create(TOKENS, manifest).refused
    assert ABOUT_GROUPS in provider.patch(path, {"stringData": {"auth-extra-groups": OTHER}}).refused
    assert "must have an expiration" in provider.patch(path, {"data": {"expiration": None}}).refused
    assert not provider.delete(path).refused


def test_in_its_own_namespace_it_makes_its_key_and_nothing_else(admin: API, provider: API) -> None:
    for manifest in (
        secret("other", kind="Opaque", key="x"),
        secret(KEY_SECRET_NAME, kind="kubernetes.io/basic-auth", username="x"),
        {**secret("", kind="Opaque"), "metadata": {"generateName": KEY_SECRET_NAME}},
        {**token(), "metadata": {"name": "bootstrap-token-abcdef"}},
    ):
        manifest["metadata"].pop("namespace", None)
        refused = provider.create(OWN, manifest, dry_run=True).refused
        assert "outside kube-system the provider may only create the Secret nodeset-provider-bootstrap-key" in refused
    path = f"{OWN}/{KEY_SECRET_NAME}"
    untyped = {"metadata": {"name": KEY_SECRET_NAME}, "data": {"key": "a2V5"}}
    there = admin.get(path).status == 200
    assert provider.create(OWN, untyped, dry_run=True).status == (409 if there else 201)


def test_nobody_else_is_bound_by_it(admin: API) -> None:
    assert not admin.create(TOKENS, secret("other", kind="Opaque", key="x"), dry_run=True).refused
    assert not admin.create(TOKENS, token(auth_extra_groups=OTHER), dry_run=True).refused
