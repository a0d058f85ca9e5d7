"""What hosts say is read without trust: shapes, lengths, characters, and what looks like a secret."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodeset_driver_ssh.config import parse_config
from nodeset_driver_ssh.hosts import Host, hosts_of
from nodeset_driver_ssh.probe import common, read_facts
from nodeset_driver_ssh.quantity import amount, smaller
from nodeset_driver_ssh.remote import Answer, read_answer
from nodeset_driver_ssh.session import Finished
from nodeset_driver_ssh.state import instance_of, read_state
from nodeset_driver_ssh.text import one_line, printable

from nodeset_provider.driverkit.contract import InstanceState, Offering
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec, Transient, Unauthorized


def host(**entry: Any) -> Host:
    (found,) = hosts_of(parse_config({"hosts": [{"address": "10.0.0.1", "user": "admin", **entry}]}))
    return found


def test_answer_is_found_below_a_greeting() -> None:
    said = "Welcome!\nnodeset 1\nresult=ok\nnote=a\nnote=b=c\n\ntext\n\nmore"
    answer = read_answer(host(), Finished(0, said, ""))
    assert (answer.result, answer.all("note"), answer.text) == ("ok", ("a", "b=c"), "text\n\nmore")


@pytest.mark.parametrize(
    ("finished", "error", "said"),
    [
        (Finished(1, "", "sudo: a password is required"), Unauthorized, "NOPASSWD"),
        (Finished(127, "", "sh: sudo: not found"), InvalidSpec, "has no sudo"),
        (Finished(0, "nodeset 1\nresult=not-root\n", ""), InvalidSpec, "not root"),
        (Finished(0, "nodeset 1\nresult=lacks\ntool=flock\n", ""), InvalidSpec, "lacks the program flock"),
        (Finished(2, "", "No space left on device"), Transient, "No space left"),
        (Finished(0, "", ""), Transient, "said nothing"),
        (Finished(1, "nodeset 1\nresult=ok\n", "died"), Transient, "died"),
    ],
)
def test_what_is_no_answer_says_why_and_names_the_host(finished: Finished, error: type[DriverError], said: str) -> None:
    with pytest.raises(error, match=said) as wrong:
        read_answer(host(), finished)
    assert "10.0.0.1" in wrong.value.message


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_answer_is_a_state_or_an_error(said: str) -> None:
    known = "nodeset 1\nresult=ok\ntoken=t\ncluster=c\nmachine=m\n"
    try:
        message = instance_of(read_state(host(), read_answer(host(), Finished(0, f"{known}{said}", "")))).message
    except Transient as error:
        message = error.message
    assert message.replace("\n", "").isprintable()
    assert len(message) < 1500


@pytest.mark.parametrize(
    "headers",
    [
        (("token", "t\x1b[2J"), ("cluster", "c"), ("machine", "m")),
        (("token", "t" * 9999), ("cluster", "c"), ("machine", "m")),
        (("token", "t"), ("cluster", "c c"), ("machine", "m")),
        (("token", "t"), ("cluster", "c"), ("machine", "../m")),
        (("note", "$(id)"),),
        (("note", "n" * 9999),),
        (("note", "a"),) * 9999,
    ],
    ids=lambda headers: repr(headers)[:40],
)
def test_claim_and_notes_of_a_host_that_no_driver_wrote_are_not_shown(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Transient, match=r"host 10\.0\.0\.1 has a claim or notes .* make no sense$") as wrong:
        read_state(host(), Answer("ok", headers))
    assert wrong.value.message.isprintable()


def test_host_cannot_fill_a_status_with_addresses_or_times() -> None:
    words = (("token", "t"), ("cluster", "c"), ("machine", "m"), ("created", "9" * 400))
    state = read_state(host(), Answer("ok", words + tuple(("address", f"10.1.0.{n}") for n in range(200))))
    assert (state.created_at, len(state.addresses)) == (0.0, 16)


def test_failed_step_is_told_with_what_it_said() -> None:
    headers = (("token", "t"), ("cluster", "c"), ("machine", "m"), ("state", "failed"), ("created", "12"))
    answer = Answer("ok", headers, "step 2 of 3, command kubeadm, failed with exit code 1\nno route to host\n")
    instance = instance_of(read_state(host(), answer))
    assert instance.state is InstanceState.FAILED
    assert instance.message.startswith("host 10.0.0.1: step 2 of 3, command kubeadm, failed with exit code 1\nno route")
    assert instance.created_at == 12


def test_secrets_are_struck_out() -> None:
    k3s = f"K10{'0' * 64}::abcdef.0123456789abcdef"
    said = f"token abcdef.0123456789abcdef and {k3s}\n-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n"
    assert printable(said, 500) == "token (secret) and (secret)\n(secret)"


@settings(deadline=None)
@given(st.text(max_size=100), st.integers(1, 50))
def test_text_is_short_and_printable(said: str, limit: int) -> None:
    assert len(printable(said, limit)) <= limit
    assert one_line(said, limit).isprintable()


def test_offering_is_the_least_that_all_have() -> None:
    offerings = [
        Offering(capacity={"cpu": "4", "memory": "8Gi", "example.com/gpu": "1"}, labels={"a": "1", "b": "2"}),
        Offering(capacity={"cpu": "3500m", "memory": "16777216Ki"}, labels={"a": "1", "b": "3"}),
    ]
    assert common(offerings) == Offering(
        capacity={"cpu": "3500m", "memory": "8Gi"}, labels={"kubernetes.io/os": "linux", "a": "1"}
    )


def test_declared_capacity_is_above_what_the_host_says() -> None:
    facts = Answer("ok", (("cores", "8"), ("memory", "100"), ("disk", "200"), ("architecture", "aarch64")))
    offering = read_facts(host(capacity={"cpu": "6"}), facts)
    assert offering.capacity == {"cpu": "6", "memory": "100Ki", "ephemeral-storage": "200Ki"}
    assert offering.labels == {"kubernetes.io/arch": "arm64"}


def test_senseless_facts_are_no_capacity() -> None:
    with pytest.raises(Transient, match=r"declare it in hosts\[0\]\.capacity"):
        read_facts(host(), Answer("ok", (("cores", "many"),)))


@pytest.mark.parametrize(("one", "other"), [("1", "1001m"), ("1Gi", "2G"), ("1023Mi", "1Gi"), ("1.5", "2")])
def test_smaller_quantity_is_found_across_units(one: str, other: str) -> None:
    assert smaller(one, other) == smaller(other, one) == one
    assert amount(one) < amount(other)
