from __future__ import annotations

from collections.abc import Callable

import pytest

from nodeset_provider.api.nodeclass import File, Provisioning, User
from nodeset_provider.join import InvalidJoin, JoinRequest, render_user_data, user_data_size

MakeRequest = Callable[..., JoinRequest]


def test_no_machine_of_the_class_needs_more_than_was_said(make_request: MakeRequest) -> None:
    request = make_request(
        node_name="n" * 56, provider_id="simulated://11111111-2222-3333-4444-555555555555", provider_id_format="x"
    )
    size = user_data_size(make_request(provider_id_format="simulated://{token}").template, request.cluster)
    assert len(render_user_data(request)) <= size.total <= len(render_user_data(request)) + 64


def test_problem_names_the_biggest_part_the_limit_and_the_remedy(make_request: MakeRequest) -> None:
    provisioning = Provisioning(
        users=[User(name="ops")],
        files=[File(path="/small"), File(path="/big", content="x" * 20_000)],
        commands=["true"],
    )
    request = make_request(provisioning=provisioning)
    size = user_data_size(request.template, request.cluster)
    assert size.biggest == "spec.provisioning.files[1]"
    assert size.biggest_bytes >= 20_000
    assert size.problem(size.total) == ""
    message = size.problem(16_384)
    assert str(size.total) in message
    assert "16384" in message
    assert "spec.provisioning.files[1]" in message
    assert "image" in message


def test_without_provisioning_the_rest_is_named(make_request: MakeRequest) -> None:
    request = make_request()
    assert "fewer labels" in user_data_size(request.template, request.cluster).problem(100)


def test_invalid_class_is_found_before_there_is_a_machine(make_request: MakeRequest) -> None:
    request = make_request(provisioning=Provisioning(files=[File(path="x")]))
    with pytest.raises(InvalidJoin) as caught:
        user_data_size(request.template, request.cluster)
    assert caught.value.field == "spec.provisioning.files[0].path"
