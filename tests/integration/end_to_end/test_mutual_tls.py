"""The front door with mutual TLS: who has no certificate of the cluster's CA gets no answer."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from testbed import pki
from testbed.cluster import install
from testbed.controlplane import ControlPlane
from testbed.provider import Provider

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.protocol.externalgrpc_pb2_grpc import CloudProviderStub


@pytest.fixture(scope="module")
def secure(control_plane: ControlPlane) -> Iterator[Provider]:
    install(control_plane)
    with Provider(control_plane, name="mutual", tls=True) as provider:
        yield provider


def asked(provider: Provider, ca: bytes, pair: pki.KeyPair | None) -> grpc.StatusCode:
    """What a client gets that trusts this CA and shows this certificate."""
    certificate, key = (pair.certificate, pair.key) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    with grpc.secure_channel(provider.address, credentials) as channel:
        try:
            CloudProviderStub(channel).NodeGroups(pb.NodeGroupsRequest(), timeout=10)
        except grpc.RpcError as error:
            return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    return grpc.StatusCode.OK


def test_only_a_certificate_of_the_clusters_ca_opens_the_door(secure: Provider, control_plane: ControlPlane) -> None:
    ca = control_plane.ca
    known = control_plane.issue("cluster-autoscaler")
    stranger = pki.Authority()
    assert asked(secure, ca, known) is grpc.StatusCode.OK
    assert asked(secure, ca, None) is grpc.StatusCode.UNAVAILABLE, "no certificate"
    assert asked(secure, ca, stranger.issue("cluster-autoscaler")) is grpc.StatusCode.UNAVAILABLE, "of another CA"
    assert asked(secure, stranger.pair.certificate, known) is grpc.StatusCode.UNAVAILABLE, "a door of another CA"
    with grpc.insecure_channel(secure.address) as channel, pytest.raises(grpc.RpcError) as refused:
        CloudProviderStub(channel).NodeGroups(pb.NodeGroupsRequest(), timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, "in plaintext"
    assert asked(secure, ca, known) is grpc.StatusCode.OK, "those who were refused did no harm"
