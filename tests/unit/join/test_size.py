from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from random import Random

import pytest

from nodeset_provider.api.nodeclass import File, Join, KubeadmJoin, Patch, Provisioning, User
from nodeset_provider.join import BootstrapToken, Delivery, InvalidJoin, JoinRequest, render_user_data, user_data_size

MakeRequest = Callable[..., JoinRequest]

PLAIN = Delivery(formats=("CloudInit",), limit=16_384, gzip=False)
GZIP = Delivery(formats=("CloudInit",), limit=16_384, gzip=True)


def noise(size: int, seed: int = 0) -> str:
    """Text of about that many bytes that does not get smaller by compression of single files."""
    return base64.b64encode(Random(seed).randbytes(size * 3 // 4)).decode()


def words(size: int) -> str:
    return " ".join(str(n) for n in range(size // 6))[:size]


@pytest.mark.parametrize("limit", [1, 1 << 20])
def test_no_machine_of_the_class_needs_more_than_was_said(make_request: MakeRequest, limit: int) -> None:
    """Whether it is compressed (a limit of 1) or not."""
    delivery = Delivery(formats=("CloudInit",), limit=limit, gzip=True)
    said = user_data_size(
        make_request(provider_id_format="simulated://{token}").template, make_request().cluster, delivery
    )
    random = Random(1)
    for _ in range(100):
        token = BootstrapToken(id=f"{random.randrange(16**6):06x}", secret=f"{random.randrange(16**16):016x}")
        request = make_request(
            node_name=f"{random.randrange(16**63):063x}",
            token=token,
            provider_id=f"simulated://{random.randrange(16**32):036x}",
            provider_id_format="simulated://{token}",
        )
        needed = len(render_user_data(request, delivery))
        assert needed <= said.total <= needed + 200


def test_problem_says_how_many_bytes_of_what_are_too_many_and_the_remedy(make_request: MakeRequest) -> None:
    provisioning = Provisioning(
        users=[User(name="ops")],
        files=[File(path="/small"), File(path="/big", content=noise(20_000))],
        commands=["true"],
    )
    request = make_request(provisioning=provisioning)
    size = user_data_size(request.template, request.cluster, PLAIN)
    assert f"needs {size.total} bytes, the driver takes 16384: {size.total - 16384} too many" in size.problem
    assert "the biggest part is spec.provisioning.files[1] with 2" in size.problem
    assert "image" in size.problem
    roomy = Delivery(formats=("CloudInit",), limit=size.total, gzip=False)
    assert user_data_size(request.template, request.cluster, roomy).problem == ""


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"provisioning": Provisioning(commands=["true", "echo " + noise(9000)])}, "spec.provisioning.commands[1]"),
        (
            {"provisioning": Provisioning(users=[User(name="a", ssh_authorized_keys=[noise(9000)])])},
            "spec.provisioning.users[0]",
        ),
        (
            {
                "join": Join(
                    mode="Kubeadm",
                    kubeadm=KubeadmJoin(
                        discovery="File",
                        patches=[Patch(target="kubeletconfiguration", content=f"x: {noise(9000)}")],
                    ),
                )
            },
            "spec.join.kubeadm.patches[0]",
        ),
    ],
)
def test_the_biggest_part_is_found_wherever_it_is(
    make_request: MakeRequest, changes: dict[str, object], part: str
) -> None:
    request = make_request(**changes)
    tight = Delivery(formats=("CloudInit",), limit=8000, gzip=False)
    assert f"the biggest part is {part} with 9" in user_data_size(request.template, request.cluster, tight).problem


def test_without_provisioning_the_rest_is_named(make_request: MakeRequest) -> None:
    request = make_request()
    tiny = Delivery(formats=("CloudInit",), limit=100, gzip=False)
    assert "fewer labels" in user_data_size(request.template, request.cluster, tiny).problem


def test_invalid_class_is_found_before_there_is_a_machine(make_request: MakeRequest) -> None:
    request = make_request(provisioning=Provisioning(files=[File(path="x")]))
    with pytest.raises(InvalidJoin) as caught:
        user_data_size(request.template, request.cluster, PLAIN)
    assert caught.value.field == "spec.provisioning.files[0].path"


# --- what the driver's machines take ----------------------------------------------------------------------------------
def many_keys(count: int) -> Provisioning:
    """Much that is alike, in entries that are too small to be compressed by themselves."""
    return Provisioning(files=[File(path=f"/etc/part-{n}", content=words(900)) for n in range(count)])


def test_it_is_compressed_only_where_it_would_be_too_much_otherwise(make_request: MakeRequest) -> None:
    small, large = make_request(), make_request(provisioning=many_keys(40))
    assert render_user_data(small, GZIP).startswith(b"#cloud-config\n")
    packed = render_user_data(large, GZIP)
    assert len(packed) < GZIP.limit
    assert gzip.decompress(packed) == render_user_data(large, PLAIN)
    assert len(gzip.decompress(packed)) > GZIP.limit


def test_compressed_user_data_is_the_same_at_every_time(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_request(provisioning=many_keys(40))
    before = render_user_data(request, GZIP)
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert render_user_data(request, GZIP) == before


def test_a_class_fits_by_compression_and_is_told_where_even_that_is_not_enough(make_request: MakeRequest) -> None:
    fits = make_request(provisioning=many_keys(40))
    assert user_data_size(fits.template, fits.cluster, PLAIN).problem
    assert not user_data_size(fits.template, fits.cluster, GZIP).problem
    too_large = make_request(provisioning=Provisioning(files=[File(path="/f", content=noise(40_000))]))
    assert (
        "bytes even compressed, the driver takes 16384"
        in user_data_size(too_large.template, too_large.cluster, GZIP).problem
    )


def test_format_that_the_drivers_machines_do_not_read_is_refused_with_its_field(make_request: MakeRequest) -> None:
    request = make_request(join=Join(format="Ignition"))
    with pytest.raises(
        InvalidJoin, match="machines of driver simulated do not read Ignition; write CloudInit"
    ) as caught:
        render_user_data(request, PLAIN)
    assert caught.value.field == "spec.join.format"
