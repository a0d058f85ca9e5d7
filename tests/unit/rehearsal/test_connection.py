"""One call over a channel: answers, statuses and deadlines come back as facts; certificates are all or none."""

# Arguments are fixtures and parameters: their names say what they are.
# ruff: noqa: ANN001, ANN201

from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc_testing
import pytest

from nodeset_provider.protocol import externalgrpc_pb2 as pb
from nodeset_provider.rehearsal.connection import ConnectionSettingsError, Provider, Target, open_channel

SERVICE = pb.DESCRIPTOR.services_by_name["CloudProvider"]


@pytest.mark.parametrize(
    ("code", "answer"),
    [(grpc.StatusCode.OK, pb.GPULabelResponse(label="x")), (grpc.StatusCode.NOT_FOUND, pb.GPULabelResponse())],
)
def test_status_and_answer_of_a_call_come_back_as_they_were_sent(code, answer):
    channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(Provider(channel).call, "GPULabel", pb.GPULabelRequest())
        _, _, rpc = channel.take_unary_unary(SERVICE.methods_by_name["GPULabel"])
        rpc.send_initial_metadata(())
        rpc.terminate(answer, (), code, "because")
        exchange = called.result(timeout=10)
    assert exchange.code is code
    assert exchange.answer == (answer if exchange.ok else None)
    assert exchange.details == ("" if exchange.ok else "because")


def test_nobody_listening_is_an_unavailable_answer_not_an_exception():
    with open_channel(Target("127.0.0.1:1")) as channel:
        assert Provider(channel, timeout=2).call("Refresh", pb.RefreshRequest()).code is grpc.StatusCode.UNAVAILABLE


def test_half_of_the_certificates_names_the_missing_half(tmp_path):
    with pytest.raises(ConnectionSettingsError, match="--key, --cacert left out"):
        open_channel(Target("127.0.0.1:1", cert=tmp_path / "c"))
    with pytest.raises(ConnectionSettingsError, match=r"--cert .*No such file"):
        open_channel(Target("127.0.0.1:1", tmp_path / "c", tmp_path / "k", tmp_path / "ca"))
