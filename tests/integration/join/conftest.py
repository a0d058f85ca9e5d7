"""A request for each join mode that uses what a class can say, to be given to the programs that read user-data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from testbed.hostile import HOSTILE
from testbed.pki import Authority

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.meta import Taint
from nodeset_provider.api.nodeclass import (
    EksJoin,
    File,
    Join,
    KubeletSettings,
    Provisioning,
    Proxy,
    RegistryMirror,
    Unit,
    User,
)
from nodeset_provider.join import ClusterAccess, JoinRequest
from nodeset_provider.join import bootstrap_token as tokens

MakeRequest = Callable[..., JoinRequest]

FULL = Provisioning(
    users=[
        User(name="ops", ssh_authorized_keys=["ssh-ed25519 AAAAC3Nza ops@example.org"], sudo=True),
        User(name="ro", ssh_authorized_keys=["ssh-rsa A é"]),
    ],
    files=[
        *(File(path=f"/var/hostile/{number}", content=text) for number, text in enumerate(HOSTILE)),
        File(path="/usr/local/bin/su", content="AAAA", encoding="Base64", permissions="4755"),
        File(path="/home/ops/.netrc", content="machine x\n", owner="ops:ops", permissions="600"),
    ],
    units=[
        Unit(name="tuning.service", content="[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n"),
        Unit(name="image.timer"),
    ],
    commands=list(HOSTILE),
    commands_after_join=["touch /run/joined"],
)


@pytest.fixture(scope="session")
def authority() -> str:
    """A CA as PEM."""
    return Authority().pair.certificate.decode()


@pytest.fixture
def make_request(authority: str) -> MakeRequest:
    """``make_request(mode, format, provisioning=…)``: a machine of a class with everything."""

    def make(mode: str, format_: str, **changes: Any) -> JoinRequest:
        join = Join(
            kubelet=KubeletSettings(kube_reserved={"memory": "1Gi"}, feature_gates={"GracefulNodeShutdown": True}),
            eks=EksJoin(cluster_name="c", cidr="10.100.0.0/16"),
            proxy=Proxy(http="http://proxy:3128", https="http://proxy:3128", no_proxy=["10.0.0.0/8"]),
            ca_certificates=[authority],
            registry_mirrors=[RegistryMirror(registry="docker.io", endpoints=["https://mirror.example.org"])],
        )
        template = MachineTemplate(
            driver="any",
            node_class_name="big",
            # so many that the kubelet's line is longer than Ignition takes in a unit
            labels={"topology.kubernetes.io/zone": "a"} | {f"example.org/{n:040}": f"{n:060}" for n in range(40)},
            taints=[Taint(key="dedicated", value="88e123", effect="NoSchedule")],
            join=msgspec.structs.replace(join, mode=mode, format=format_),
            provisioning=FULL,
        )
        return JoinRequest(
            cluster=ClusterAccess(endpoint="https://10.0.0.1:6443", ca_bundle=authority.encode(), dns=("10.96.0.10",)),
            template=msgspec.structs.replace(template, **changes),
            node_name="big-x1abc",
            token=tokens.derive(b"k" * tokens.KEY_BYTES, "11111111-2222-3333-4444-555555555555", 1),
            provider_id="any://1",
        )

    return make
