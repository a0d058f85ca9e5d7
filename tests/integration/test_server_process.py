"""``nodeset-provider serve`` on a real control plane, as its ServiceAccount."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from testbed.cluster import CREDENTIALS, Cluster, install
from testbed.controlplane import ControlPlane
from testbed.ports import HOST, ClaimedPort
from testbed.processes import wait_until
from testbed.provider import NAMESPACE, Provider

from nodeset_provider.protocol import externalgrpc_pb2, externalgrpc_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane) -> ControlPlane:
    install(control_plane)
    return control_plane


def lease(control_plane: ControlPlane) -> dict[str, object]:
    text = control_plane.kubectl("get", "lease", "nodeset-provider", f"--namespace={NAMESPACE}", "--output=json")
    spec: dict[str, object] = json.loads(text)["spec"]
    return spec


def holder(control_plane: ControlPlane) -> object:
    return lease(control_plane).get("holderIdentity", "")


def eventually(condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
    wait_until(condition, timeout=timeout, what=what)


def health(channel: grpc.Channel) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True).status)


def refresh(channel: grpc.Channel) -> None:
    externalgrpc_pb2_grpc.CloudProviderStub(channel).Refresh(externalgrpc_pb2.RefreshRequest(), timeout=10)


def events(provider: Provider) -> list[str]:
    return [json.loads(line)["event"] for line in provider.log.read_text().splitlines() if line.startswith("{")]


def test_sigterm_ends_the_leader_with_0_and_gives_up_the_lease(installed: ControlPlane) -> None:
    with Provider(installed, name="ends") as provider:
        eventually(lambda: holder(installed) == "ends", "it led")
        with grpc.insecure_channel(provider.address) as channel:
            assert health(channel) == SERVING
            refresh(channel)
        assert provider.stop(30) == 0
    assert not holder(installed)
    said = events(provider)
    assert said.index("shutting down") < said.index("gave up the Lease") < said.index("stopped")
    assert "Traceback" not in provider.log.read_text()


def test_every_replica_answers_and_the_next_one_leads_as_soon_as_the_leader_has_left(installed: ControlPlane) -> None:
    with Provider(installed, name="first") as first:
        eventually(lambda: holder(installed) == "first", "the first one led")
        with Provider(installed, name="second") as second:
            for provider in (first, second):
                with grpc.insecure_channel(provider.address) as channel:
                    assert health(channel) == SERVING
                    refresh(channel)
            assert holder(installed) == "first"
            assert first.stop(30) == 0
            eventually(lambda: holder(installed) == "second", "the second one led")
            with grpc.insecure_channel(second.address) as channel:
                refresh(channel)
            assert second.stop(30) == 0


def test_front_door_asks_for_a_certificate_of_the_cluster(installed: ControlPlane) -> None:
    with Provider(installed, name="secure", tls=True) as provider:
        options = provider.client_options
        ca, certificate, key = (Path(options[name]).read_bytes() for name in ("cacert", "cert", "key"))
        with grpc.secure_channel(provider.address, grpc.ssl_channel_credentials(ca, key, certificate)) as channel:
            assert health(channel) == SERVING
            refresh(channel)
        with (
            grpc.secure_channel(provider.address, grpc.ssl_channel_credentials(ca)) as channel,
            pytest.raises(grpc.RpcError),
        ):
            refresh(channel)


@contextlib.contextmanager
def forwarded(port: int, target: int) -> Iterator[None]:
    """A door to the API server that can be opened late."""
    loop = asyncio.new_event_loop()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, target)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(connect, HOST, port), loop).result(30)

    async def close() -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


class EarlyProvider(Provider):
    """Started before there is an API server: only its port is waited for."""

    def _ready(self) -> bool:
        with grpc.insecure_channel(self.address) as channel, contextlib.suppress(grpc.RpcError):
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
            return True
        return False


def test_api_server_that_comes_late_is_found_without_a_restart(installed: ControlPlane, tmp_path: Path) -> None:
    port = ClaimedPort()
    kubeconfig = installed.kubeconfig_for_service_account(NAMESPACE, "nodeset-provider")
    content = yaml.safe_load(kubeconfig.read_text())
    server = content["clusters"][0]["cluster"]["server"]
    content["clusters"][0]["cluster"]["server"] = f"https://{HOST}:{port.number}"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
    with (
        EarlyProvider(installed, name="early", kubeconfig=tmp_path / "kubeconfig") as provider,
        grpc.insecure_channel(provider.address) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            refresh(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with forwarded(port.number, int(server.rsplit(":", 1)[1])):
            eventually(lambda: health(channel) == SERVING, "it served")
            refresh(channel)
            assert provider.stop(30) == 0
    assert "Traceback" not in provider.log.read_text()


def node_set(name: str, node_class: str, replicas: int) -> dict[str, object]:
    return {
        "apiVersion": "nodeset.dev/v1alpha1",
        "kind": "NodeSet",
        "metadata": {"name": name},
        "spec": {"nodeClassName": node_class, "replicas": replicas},
    }


def test_log_at_its_loudest_holds_no_secret(cluster: Cluster) -> None:
    node_class = {
        "apiVersion": "nodeset.dev/v1alpha1",
        "kind": "NodeClass",
        "metadata": {"name": "quiet"},
        "spec": {
            "driver": "simulated",
            "config": {"instanceType": "small-2"},
            "credentialsRef": {"name": CREDENTIALS, "namespace": NAMESPACE},
        },
    }
    control_plane = cluster.control_plane
    cluster.provider.stop()
    with Provider(control_plane, name="loud", configuration={"log": {"level": "debug"}}) as provider:
        manifest = {"apiVersion": "v1", "kind": "List", "items": [node_class, node_set("quiet", "quiet", 1)]}
        control_plane.kubectl("apply", "-f-", input=json.dumps(manifest))
        tokens: set[str] = set()

        def registered() -> bool:
            secrets = json.loads(control_plane.kubectl("get", "secrets", "--all-namespaces", "--output=json"))
            for secret in secrets["items"]:
                for key, value in secret.get("data", {}).items():
                    if key in {"token", "token-secret", "key"}:
                        tokens.add(base64.b64decode(value).decode("latin-1"))
                        tokens.add(value)
            machines = json.loads(control_plane.kubectl("get", "machines", "--output=json"))["items"]
            return bool(machines) and any(
                condition["type"] == "Registered" and condition["status"] == "True"
                for condition in machines[0].get("status", {}).get("conditions", [])
            )

        eventually(registered, "the machine registered", 120)
        control_plane.kubectl("delete", "nodeset", "quiet", "--wait=false")
        eventually(
            lambda: not json.loads(control_plane.kubectl("get", "machines", "--output=json"))["items"],
            "the machine was gone",
            120,
        )
        kubeconfig = yaml.safe_load(provider._kubeconfig.read_text())
        tokens.add(kubeconfig["users"][0]["user"]["token"])
        text = provider.log.read_text()
    assert len(tokens) > 4
    assert not [token[:3] for token in tokens if token in text]
