"""A join request like the ones that the controllers make, to be varied by each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.meta import Taint
from nodeset_provider.join import ClusterAccess, JoinRequest
from nodeset_provider.join import bootstrap_token as tokens

CA = (Path(__file__).parent / "golden" / "ca.crt").read_bytes()
CLUSTER = ClusterAccess(endpoint="https://api.example.org:6443", ca_bundle=CA, dns=("10.96.0.10",))
TEMPLATE = MachineTemplate(
    driver="simulated",
    node_class_name="big",
    labels={
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": "c8.large",
        "topology.kubernetes.io/zone": "zone-a",
        "node-role.kubernetes.io/worker": "",
        "nodeset.dev/nodeset": "big",
        "team": "data",
    },
    taints=[Taint(key="dedicated", value="88e123", effect="NoSchedule")],
    startup_taints=[Taint(key="example.org/agent-not-ready", effect="NoExecute")],
)
TOKEN = tokens.derive(b"k" * tokens.KEY_BYTES, "11111111-2222-3333-4444-555555555555", 1)

MakeRequest = Callable[..., JoinRequest]


@pytest.fixture
def make_request() -> MakeRequest:
    """``make_request(node_name=…, provisioning=…)``: fields of the request or of its template."""

    def make(**changes: Any) -> JoinRequest:
        template_fields = {
            name: changes.pop(name) for name in list(changes) if name in MachineTemplate.__struct_fields__
        }
        template = msgspec.structs.replace(TEMPLATE, **template_fields)
        fields: dict[str, Any] = {"cluster": CLUSTER, "node_name": "big-x1abc", "token": TOKEN, **changes}
        return JoinRequest(template=template, **fields)

    return make


@pytest.fixture
def cluster_access() -> ClusterAccess:
    """The cluster of these requests, with a real CA."""
    return CLUSTER
