"""Paths and keys, exactly as the API server has them; time and back-off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.kube.backoff import Backoff
from nodeset_provider.kube.clock import rfc3339, rfc3339_micro
from nodeset_provider.kube.codec import encode
from nodeset_provider.kube.objects import Lease, LeaseSpec
from nodeset_provider.kube.resources import CERTIFICATE_SIGNING_REQUESTS, LEASES, MACHINES, NODES, SECRETS


def test_the_core_group_has_its_own_root() -> None:
    assert NODES.path() == "/api/v1/nodes"
    assert NODES.path("n", "status") == "/api/v1/nodes/n/status"
    assert NODES.api_version == "v1"


def test_other_groups_are_below_apis() -> None:
    assert MACHINES.path("m") == "/apis/nodeset.dev/v1alpha1/machines/m"
    assert MACHINES.api_version == "nodeset.dev/v1alpha1"
    path = CERTIFICATE_SIGNING_REQUESTS.path("c", "approval")
    assert path == "/apis/certificates.k8s.io/v1/certificatesigningrequests/c/approval"


def test_within_a_namespace_is_another_place_of_the_same_kind() -> None:
    leases = LEASES.within("kube-system")
    assert leases.path("l") == "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/l"
    assert LEASES.namespace == ""
    assert leases.type is LEASES.type


def test_a_key_has_its_namespace_where_several_are_looked_at() -> None:
    metadata = ObjectMeta(name="s", namespace="a")
    assert SECRETS.key(metadata) == "a/s"
    assert SECRETS.within("a").key(metadata) == "s"
    assert NODES.key(ObjectMeta(name="n")) == "n"


@pytest.mark.parametrize(
    ("body", "encoded"),
    [
        ({}, b'{"apiVersion":"coordination.k8s.io/v1","kind":"Lease"}'),
        ({"kind": "Mine", "a": 1}, b'{"apiVersion":"coordination.k8s.io/v1","kind":"Mine","a":1}'),
        (LeaseSpec(), b'{"apiVersion":"coordination.k8s.io/v1","kind":"Lease"}'),
        (
            Lease(ObjectMeta(name="l")),
            b'{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"}}',
        ),
    ],
)
def test_bodies_say_what_they_are(body: object, encoded: bytes) -> None:
    assert encode(LEASES, body) == encoded


def test_delays_double_up_to_the_cap_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(1, 10, random=lambda: 0.0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.failures == 6
    backoff.reset()
    assert backoff.next() == 1


def test_jitter_takes_at_most_half() -> None:
    assert Backoff(8, 10, random=lambda: 1.0).next() == 4
    assert Backoff(8, 10, random=lambda: 0.5).next() == 6


def test_a_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(1, 10, random=lambda: 0.0)
    assert {backoff.next() for _ in range(2000)} == {1, 2, 4, 8, 10}


def test_times_are_written_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(moment) == "2026-01-02T01:04:05Z"
    assert rfc3339_micro(moment) == "2026-01-02T01:04:05.000678Z"
    assert rfc3339_micro(moment.astimezone(UTC)) == rfc3339_micro(moment)
