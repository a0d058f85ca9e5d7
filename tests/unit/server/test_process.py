"""The real process where there is no cluster: what it says, and how it ends."""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from testbed.pki import Authority
from testbed.ports import ClaimedPort
from testbed.processes import Process

from nodeset_provider.protocol import externalgrpc_pb2, externalgrpc_pb2_grpc


class Provider:
    """``nodeset-provider serve`` on ports of its choice, which its log tells."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "provider.log"
        command = Path(sys.executable).with_name("nodeset-provider")
        fixed = ["--grpc-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--log-format=json", "--log-level=debug"]
        environment = {"KUBECONFIG": str(folder / "none"), "HOME": str(folder)}
        self.process = Process("provider", [command, "serve", *fixed, *arguments], log=self.log, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def lines(self) -> list[dict[str, Any]]:
        text = self.log.read_text()
        complete = text[: text.rfind("\n") + 1]
        # gRPC's C++ core writes lines of its own about failed binds and handshakes.
        return [json.loads(line) for line in complete.splitlines() if line.startswith("{")]

    def said(self, event: str) -> dict[str, Any] | None:
        return next((line for line in self.lines() if line["event"] == event), None)

    def wait_for(self, event: str) -> dict[str, Any]:
        self.process.wait_until(lambda: self.said(event) is not None, timeout=120, what=f"it said {event!r}")
        found = self.said(event)
        assert found is not None
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process._popen.send_signal(number)

    def http(self, path: str) -> tuple[int, str]:
        url = f"http://{self.wait_for('serving HTTP')['address']}{path}"
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """Of an API server that nobody runs."""
    port = ClaimedPort()
    path = tmp_path / "kubeconfig"
    authority = tmp_path / "ca.crt"
    authority.write_bytes(Authority().pair.certificate)
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [
                    {
                        "name": "c",
                        "cluster": {
                            "server": f"https://127.0.0.1:{port.number}",
                            "certificate-authority": str(authority),
                        },
                    }
                ],
                "users": [{"name": "u", "user": {"token": "hush"}}],
            }
        )
    )
    return str(path)


def health(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True).status)


def ended(provider: Provider, *, within: float = 30) -> int:
    return provider.process.wait(within)


def run_to_end(folder: Path, arguments: Sequence[str]) -> tuple[int, Provider]:
    with Provider(folder, *arguments) as provider:
        return ended(provider, within=120), provider


def test_without_an_api_server_it_serves_says_so_and_waits(tmp_path: Path, kubeconfig: str) -> None:
    with Provider(tmp_path, f"--kubeconfig={kubeconfig}") as provider:
        address = provider.wait_for("serving gRPC")["address"]
        assert health(address) == health_pb2.HealthCheckResponse.NOT_SERVING
        with grpc.insecure_channel(address) as channel:
            stub = externalgrpc_pb2_grpc.CloudProviderStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Refresh(externalgrpc_pb2.RefreshRequest(), timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert provider.http("/readyz") == (503, "not ready: cache of nodesets, cache of machines\n")
        assert provider.http("/healthz") == (200, "ok\n")
        assert "rest_client_requests_total" in provider.http("/metrics")[1]
        interrupted = provider.wait_for("watching is interrupted")
        assert interrupted["again_in_seconds"] > 0
        provider.signal(signal.SIGTERM)
        assert ended(provider) == 0
        text = provider.log.read_text()
        assert "Traceback" not in text
        assert "hush" not in text
        events = [line["event"] for line in provider.lines()]
        assert "shutting down" in events
        assert events[-1] == "stopped"


def test_second_signal_ends_it_at_once(tmp_path: Path, kubeconfig: str) -> None:
    arguments = [f"--kubeconfig={kubeconfig}", "--shutdown-grace-seconds=300"]
    with (
        Provider(tmp_path, *arguments) as provider,
        grpc.insecure_channel(provider.wait_for("serving gRPC")["address"]) as channel,
    ):
        # An RPC that does not end keeps the first signal waiting.
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        provider.signal(signal.SIGTERM)
        provider.wait_for("shutting down")
        assert provider.process.running
        provider.signal(signal.SIGTERM)
        assert ended(provider) == 128 + signal.SIGTERM
        watch.cancel()


def test_interrupt_from_the_keyboard_is_a_clean_end_too(tmp_path: Path, kubeconfig: str) -> None:
    with Provider(tmp_path, f"--kubeconfig={kubeconfig}") as provider:
        provider.wait_for("serving gRPC")
        provider.signal(signal.SIGINT)
        assert ended(provider) == 0


def test_without_a_way_to_a_cluster_it_ends_with_2_and_says_what_to_do(tmp_path: Path) -> None:
    code, provider = run_to_end(tmp_path, [])
    assert code == 2
    last = provider.lines()[-1]
    assert last["event"] == "cannot start"
    assert "--kubeconfig" in last["reason"]
    assert "Traceback" not in provider.log.read_text()


def test_port_in_use_ends_it_with_1_and_names_the_address(tmp_path: Path, kubeconfig: str) -> None:
    with Provider(tmp_path, f"--kubeconfig={kubeconfig}") as first:
        taken = {name: first.wait_for(f"serving {name}")["address"] for name in ("gRPC", "HTTP")}
        for name, flag in (("gRPC", "--grpc-listen"), ("HTTP", "--http-listen")):
            folder = tmp_path / name
            folder.mkdir()
            code, second = run_to_end(folder, [f"--kubeconfig={kubeconfig}", f"{flag}={taken[name]}"])
            assert code == 1
            assert second.lines()[-1]["event"] == "cannot start"
            assert taken[name] in second.lines()[-1]["reason"]
            assert "Traceback" not in second.log.read_text()


def test_unusable_certificates_end_it_with_2_and_name_the_file(tmp_path: Path, kubeconfig: str) -> None:
    pair = Authority().issue("server", hosts=["127.0.0.1"])
    certificate, _ = pair.write(tmp_path, "tls")
    _, key = Authority().issue("another").write(tmp_path, "another")
    flags = [f"--grpc-cert-file={certificate}", f"--grpc-key-file={key}", f"--grpc-client-ca-file={certificate}"]
    code, provider = run_to_end(tmp_path, [f"--kubeconfig={kubeconfig}", *flags])
    assert code == 2
    assert str(key) in provider.lines()[-1]["reason"]
