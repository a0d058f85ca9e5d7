"""The API server with our kinds and accounts applied."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from testbed.api import API, Object
from testbed.cluster import install
from testbed.controlplane import ControlPlane

_numbers = itertools.count(1)
_OURS = "/apis/nodeset.dev/v1alpha1"


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """Our kinds, accounts and policy. They stay: nothing else minds them."""
    install(control_plane)
    return control_plane


@pytest.fixture(scope="session")
def admin(installed: ControlPlane) -> API:
    return API(installed.kubeconfig)


@pytest.fixture(scope="session")
def provider(installed: ControlPlane) -> API:
    """The provider's ServiceAccount."""
    return API(installed.kubeconfig_for_service_account("nodeset-provider", "nodeset-provider"))


@pytest.fixture
def node_class(admin: API) -> Iterator[Object]:
    yield from _kept(admin, "nodeclasses", "NodeClass", {"driver": "nobody", "config": {"instanceType": "small-2"}})


@pytest.fixture
def node_set(admin: API) -> Iterator[Object]:
    yield from _kept(admin, "nodesets", "NodeSet", {"nodeClassName": "small"})


@pytest.fixture
def machine(admin: API) -> Iterator[Object]:
    config = {"instanceType": "small-2", "deep": {"list": [1, {"a": "b"}]}}
    template = {"driver": "nobody", "nodeClassName": "small", "config": config, "labels": {"a": "b"}}
    yield from _kept(admin, "machines", "Machine", {"nodeName": "node-1", "template": template})


def _kept(api: API, plural: str, kind: str, spec: dict[str, Any]) -> Iterator[Object]:
    name = f"rules-{next(_numbers)}"
    body = {"apiVersion": "nodeset.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    answer = api.create(f"{_OURS}/{plural}", body)
    assert answer.status == 201, answer
    path = f"{_OURS}/{plural}/{name}"
    yield Object(api, path)
    assert api.delete(path).status == 200
