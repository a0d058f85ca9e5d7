"""A request is read as kube-controller-manager will sign it, or it is no kubelet's."""

import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from testbed.certificate_requests import new_key, pem_block, request_pem, two_faced_pem

from nodeset_provider.controllers.csr.request import LIMIT, NotAKubelets, Request, read, usage_problem

NODE = "system:node:web-a1b2c"


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER)


def problem(pem: bytes) -> str:
    with pytest.raises(NotAKubelets) as refused:
        read(pem)
    return str(refused.value)


def test_a_kubelets_requests_are_read() -> None:
    assert read(request_pem(NODE)) == Request(NODE)
    serving = request_pem(NODE, names=["web-a1b2c", "10.0.0.7", "fd00::7", "2001:db8:0:0::1"])
    assert read(serving) == Request(NODE, ("web-a1b2c",), ("10.0.0.7", "fd00::7", "2001:db8::1"))


def test_line_ends_and_blanks_around_the_block_do_not_matter() -> None:
    pem = request_pem(NODE)
    assert read(b"\n " + pem.replace(b"\n", b"\r\n") + b"\n\n") == Request(NODE)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        pytest.param(b"garbage", "not one PEM block", id="garbage"),
        pytest.param(b"", "not one PEM block", id="empty"),
        pytest.param(pem_block(b"garbage"), "no certificate request", id="garbage in a block"),
        pytest.param(pem_block(der(request_pem(NODE)) + b"\0"), "no certificate request", id="more after the request"),
        pytest.param(request_pem(NODE) + request_pem("system:node:other"), "not one PEM block", id="two blocks"),
        pytest.param(b"words\n" + request_pem(NODE), "not one PEM block", id="words before the block"),
        pytest.param(
            request_pem(NODE).replace(b"REQUEST-----\n", b"REQUEST-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
            "not one PEM block",
            id="PEM headers",
        ),
        pytest.param(
            pem_block(der(request_pem(NODE)), "NEW CERTIFICATE REQUEST"), "not one PEM block", id="another block type"
        ),
        pytest.param(request_pem(NODE, ["system:masters"]), "O=system:masters", id="system:masters"),
        pytest.param(request_pem(NODE, ["system:nodes", "system:masters"]), "subject", id="one more organization"),
        pytest.param(request_pem(NODE, []), "subject", id="no organization"),
        pytest.param(request_pem(NODE, unit="x"), "subject", id="a unit"),
        pytest.param(request_pem(NODE, names=["a@example.com"]), "email address 'a@example.com'", id="e-mail"),
        pytest.param(request_pem(NODE, names=["spiffe://a/b"]), "(URI) 'spiffe://a/b'", id="URI"),
        pytest.param(
            request_pem(NODE, extensions=[x509.BasicConstraints(ca=True, path_length=None)]),
            "extension 2.5.29.19",
            id="an authority's",
        ),
        pytest.param(
            two_faced_pem(NODE, shown=["web-a1b2c"], signed=["victim.example"]), "other attributes", id="two faces"
        ),
        pytest.param(
            request_pem(NODE, names=[f"n{number}.example" for number in range(2000)]), f"fewer than {LIMIT}", id="huge"
        ),
    ],
)
def test_nothing_else_is_a_kubelets(pem: bytes, why: str) -> None:
    assert why in problem(pem)


def test_a_list_of_names_that_only_we_would_see_is_really_shown_to_us() -> None:
    """Why attributes are counted: by names alone this request is harmless."""
    parsed = x509.load_pem_x509_csr(two_faced_pem(NODE, shown=["harmless"], signed=["victim.example"]))
    assert parsed.is_signature_valid
    (extension,) = parsed.extensions
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    assert extension.value.get_values_for_type(x509.DNSName) == ["harmless"]


def test_broken_signature_is_seen() -> None:
    broken = bytearray(der(request_pem(NODE)))
    broken[-1] ^= 1
    assert "signature" in problem(pem_block(bytes(broken)))


def test_foreign_text_is_cut_in_messages() -> None:
    assert len(problem(request_pem(NODE, ["o" * 60] * 60))) < 300


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(body: bytes) -> None:
    assert problem(body)
    assert problem(pem_block(body))


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=255))
def test_no_changed_byte_makes_it_fail_or_believe_another_name(place: int, value: int) -> None:
    good = bytearray(der(_ONE))
    good[place % len(good)] = value
    with contextlib.suppress(NotAKubelets):
        assert read(pem_block(bytes(good))) == Request(NODE)


_ONE = request_pem(NODE, key=new_key())


@pytest.mark.parametrize(
    ("usages", "right"),
    [
        (["digital signature", "client auth"], True),
        (["client auth", "key encipherment", "digital signature"], True),
        (["client auth"], False),
        (["digital signature", "server auth"], False),
        (["digital signature", "client auth", "server auth"], False),
        ([], False),
    ],
    ids=str,
)
def test_usages_are_exactly_a_kubelets(usages: list[str], right: bool) -> None:  # noqa: FBT001
    assert (usage_problem(usages, "client auth") == "") is right
