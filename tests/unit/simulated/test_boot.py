"""A boot goes on through everything that can happen between power-on and the first status, and gives up what it must.

Against the few calls of an API server that a booting kubelet makes, over real TLS, with faults on cue.
"""

import asyncio
import base64
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from nodeset_driver_simulated import create_driver
from nodeset_driver_simulated.admin import CloudAdmin
from nodeset_driver_simulated.boot.pace import CertificatePace, retry_after
from nodeset_driver_simulated.cloud.process import running_cloud
from nodeset_driver_simulated.cloud.settings import Settings
from testbed.pki import Authority

from nodeset_provider.driverkit.contract import CreateRequest, InstanceKey

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


@dataclass
class FakeApiServer:
    authority: Authority
    url: str = ""
    token: str = "abcdef.0123456789abcdef"
    approve: bool = True
    failures: list[tuple[str, int]] = field(default_factory=list)
    """``(method and path suffix, status)``: answered once each, in this order."""
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    on_node: Callable[[], Awaitable[None]] | None = None

    async def handle(self, request: web.Request) -> web.Response:
        call = f"{request.method} {request.path}"
        self.calls.append(call)
        for number, (what, status) in enumerate(self.failures):
            if call.endswith(what):
                del self.failures[number]
                return web.json_response({"message": "as the test wants"}, status=status)
        if request.path.startswith(CSRS):
            return await self._csr(request)
        return await self._node(request)

    async def _csr(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"message": "Unauthorized"}, status=401)
        if request.method == "POST":
            body = await request.json()
            known = body["metadata"]["name"] in self.requests
            self.requests.setdefault(body["metadata"]["name"], body)
            return web.json_response(body, status=409 if known else 201)
        found = self.requests.get(request.path.rpartition("/")[2])
        if found is None:
            return web.json_response({"message": "not found"}, status=404)
        if self.approve:
            found["status"] = {"certificate": self._sign(found["spec"]["request"])}
        return web.json_response(found)

    async def _node(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert")
        names = {key: value for ((key, value),) in (peer or {}).get("subject", ())}
        body = await request.json()
        name = names.get("commonName", "").removeprefix("system:node:")
        if not name or names.get("organizationName") != "system:nodes":
            return web.json_response({"message": "Forbidden"}, status=403)
        if request.method == "POST":
            known = name in self.nodes
            self.nodes.setdefault(name, body)
            if self.on_node is not None:
                await self.on_node()
            return web.json_response(body, status=409 if known else 201)
        metadata = self.nodes[name]["metadata"]
        for kind, values in body.get("metadata", {}).items():
            metadata[kind] = metadata.get(kind, {}) | values
        self.nodes[name]["status"] = body.get("status", self.nodes[name].get("status", {}))
        return web.json_response(self.nodes[name])

    def _sign(self, request: str) -> str:
        csr = x509.load_pem_x509_csr(base64.b64decode(request))
        key = serialization.load_pem_private_key(self.authority.pair.key, None)
        issuer = x509.load_pem_x509_certificate(self.authority.pair.certificate)
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(csr.subject)
            .issuer_name(issuer.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(hours=1))
            .sign(key, hashes.SHA256())  # type: ignore[arg-type]
        )
        return base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode()


@asynccontextmanager
async def fake_api_server(folder: Path) -> AsyncIterator[FakeApiServer]:
    authority = Authority()
    certificate, key = authority.issue("api", hosts=["127.0.0.1"]).write(folder, "api")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=authority.pair.certificate.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    server = FakeApiServer(authority)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def api_server(tmp_path: Path) -> AsyncIterator[FakeApiServer]:
    async with fake_api_server(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubelets are started again at once: the growth of the pauses has a test of its own."""
    monkeypatch.setattr("nodeset_driver_simulated.cloud.boots.retry_after", lambda *_: 0.01)


@asynccontextmanager
async def cloud(folder: Path) -> AsyncIterator[tuple[Any, CloudAdmin]]:
    async with (
        running_cloud(Settings(), state=folder / "state", host="127.0.0.1", port=0, api_token="t") as url,
        CloudAdmin(url, "t") as admin,
    ):
        driver = create_driver({"endpoint": url.encode(), "token": b"t"})
        yield driver, admin
        await driver.close()


def machine(server: FakeApiServer, name: str = "node-1", flags: str = "") -> CreateRequest:
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": {"server": server.url, "certificate-authority": "/ca"}}],
        "users": [{"name": "u", "user": {"token": server.token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    start = (
        "[Service]\nExecStart=\nExecStart=kubelet --bootstrap-kubeconfig=/b --kubeconfig=/k "
        f"--hostname-override={name} {flags}"
    )
    files = {
        "/ca": server.authority.pair.certificate.decode(),
        "/b": yaml.safe_dump(kubeconfig),
        "/etc/systemd/system/kubelet.service.d/20-nodeset.conf": start,
    }
    config = {
        "write_files": [{"path": path, "content": content} for path, content in files.items()],
        "runcmd": ["systemctl restart kubelet"],
    }
    return CreateRequest(
        cluster="c",
        machine=name,
        token=f"token-{name}",
        config={"instanceType": "gpu-1"},
        user_data=b"#cloud-config\n" + yaml.safe_dump(config).encode(),
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def console_says(admin: CloudAdmin, wanted: CreateRequest, text: str) -> str:
    async with asyncio.timeout(30):
        while text not in (said := await admin.console(f"i-{wanted.token}")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return said


def is_ready(server: FakeApiServer, name: str = "node-1") -> bool:
    conditions = server.nodes.get(name, {}).get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


async def test_node_is_registered_not_ready_and_then_ready(api_server: FakeApiServer, tmp_path: Path) -> None:
    seen: list[bool] = []

    async def look() -> None:
        seen.append(is_ready(api_server))

    api_server.on_node = look
    async with cloud(tmp_path) as (driver, admin):
        wanted = machine(api_server)
        await driver.create(wanted)
        await console_says(admin, wanted, "is registered and Ready")
    assert seen == [False]
    assert is_ready(api_server)
    assert len(api_server.requests) == 1


async def test_of_a_node_that_exists_only_what_a_kubelet_changes_is_changed(
    api_server: FakeApiServer, tmp_path: Path
) -> None:
    taint = {"key": "mine", "effect": "NoSchedule"}
    metadata = {"name": "node-1", "labels": {"kubernetes.io/arch": "wrong", "mine": "yes"}}
    api_server.nodes["node-1"] = {"metadata": metadata, "spec": {"taints": [taint]}}
    async with cloud(tmp_path) as (driver, _):
        told = "--node-labels=team=blue,topology.kubernetes.io/zone=z --provider-id=sim://1"
        await driver.create(machine(api_server, flags=told))
        await until(lambda: is_ready(api_server))
    node = api_server.nodes["node-1"]
    assert node["spec"] == {"taints": [taint]}, "no provider id, none of the taints that it registers with"
    assert node["metadata"]["labels"]["mine"] == "yes"
    assert node["metadata"]["labels"]["kubernetes.io/arch"] != "wrong"
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "z", "one of its default labels"
    assert "team" not in node["metadata"]["labels"], "none of those"
    assert node["status"]["nodeInfo"]["kubeletVersion"]


async def test_device_plugins_resources_come_with_the_first_status(api_server: FakeApiServer, tmp_path: Path) -> None:
    registered: list[dict[str, str]] = []

    async def look() -> None:
        registered.append(api_server.nodes["node-1"]["status"]["capacity"])

    api_server.on_node = look
    async with cloud(tmp_path) as (driver, _):
        await driver.create(machine(api_server))
        await until(lambda: is_ready(api_server))
    assert "nvidia.com/gpu" not in registered[0]
    assert api_server.nodes["node-1"]["status"]["allocatable"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("call", [f"POST {CSRS}", "certificatesigningrequests", "POST /api/v1/nodes", "/status"])
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_boot_goes_on_after_any_refusal(
    api_server: FakeApiServer, tmp_path: Path, call: str, status: int
) -> None:
    api_server.failures = [(call, status)] * 2
    async with cloud(tmp_path) as (driver, _):
        await driver.create(machine(api_server))
        await until(lambda: is_ready(api_server))
    assert api_server.failures == []
    assert len(api_server.requests) == 1
    assert len(api_server.nodes) == 1


async def test_request_that_vanishes_is_made_again(api_server: FakeApiServer, tmp_path: Path) -> None:
    api_server.approve = False
    async with cloud(tmp_path) as (driver, _):
        await driver.create(machine(api_server))
        await until(lambda: len(api_server.requests) == 1)
        (before,) = api_server.requests
        api_server.requests.clear()
        await until(lambda: len(api_server.requests) == 1)
        api_server.approve = True
        await until(lambda: is_ready(api_server))
    assert list(api_server.requests) == [before]


@pytest.mark.parametrize("condition", ["Denied", "Failed"])
async def test_denied_request_ends_the_boot(api_server: FakeApiServer, tmp_path: Path, condition: str) -> None:
    api_server.approve = False
    async with cloud(tmp_path) as (driver, admin):
        wanted = machine(api_server)
        await driver.create(wanted)
        await until(lambda: len(api_server.requests) == 1)
        (request,) = api_server.requests.values()
        request["status"] = {"conditions": [{"type": condition, "reason": "NotOurs", "message": "no such machine"}]}
        await console_says(admin, wanted, f"is {condition}: NotOurs no such machine")
        calls = len(api_server.calls)
    async with cloud(tmp_path) as (_, admin):
        assert "NotOurs" in await admin.console(f"i-{wanted.token}")
    assert len(api_server.calls) == calls
    assert api_server.nodes == {}


async def test_token_may_go_once_the_node_is_there(api_server: FakeApiServer, tmp_path: Path) -> None:
    registered = asyncio.Event()

    async def take_the_token_away_and_hang() -> None:
        api_server.token = "gone"
        registered.set()
        await asyncio.sleep(60)

    api_server.on_node = take_the_token_away_and_hang
    async with cloud(tmp_path) as (driver, _):
        await driver.create(machine(api_server))
        await registered.wait()
    api_server.on_node = None
    async with cloud(tmp_path):
        await until(lambda: is_ready(api_server))
    assert len(api_server.requests) == 1


async def test_no_secret_is_on_the_console(api_server: FakeApiServer, tmp_path: Path) -> None:
    api_server.failures = [("certificatesigningrequests", 401), ("/nodes", 500)]
    secret = api_server.token
    async with cloud(tmp_path) as (driver, admin):
        wanted = machine(api_server)
        await driver.create(wanted)
        said = await console_says(admin, wanted, "is registered and Ready")
    assert "answers 401: as the test wants" in said
    assert secret not in said
    assert "PRIVATE KEY" not in said


async def test_other_servers_with_the_same_certificate_are_not_trusted(
    api_server: FakeApiServer, tmp_path: Path
) -> None:
    api_server.url = api_server.url.replace("127.0.0.1", "localhost")
    async with cloud(tmp_path) as (driver, admin):
        wanted = machine(api_server)
        await driver.create(wanted)
        await console_says(admin, wanted, "cannot be reached")
    assert api_server.calls == []


async def test_many_machines_boot_with_few_calls(api_server: FakeApiServer, tmp_path: Path) -> None:
    names = [f"node-{number}" for number in range(60)]
    async with cloud(tmp_path) as (driver, _):
        await asyncio.gather(*(driver.create(machine(api_server, name)) for name in names))
        await until(lambda: all(is_ready(api_server, name) for name in names))
    # request, one look at it, registration, status: nothing is asked twice when the answer is there
    assert len(api_server.calls) == 4 * len(names)


async def test_machine_that_is_taken_away_asks_nobody_any_more(api_server: FakeApiServer, tmp_path: Path) -> None:
    api_server.approve = False
    async with cloud(tmp_path) as (driver, admin):
        gone, other = machine(api_server, "gone"), machine(api_server, "other")
        await driver.create(gone)
        await until(lambda: len(api_server.requests) == 1)
        await driver.delete(InstanceKey(cluster="c", token=gone.token))
        api_server.approve = True
        await driver.create(other)
        await console_says(admin, other, "is registered and Ready")
        await until(lambda: is_ready(api_server, "other"))
    assert "gone" not in api_server.nodes


def test_polls_of_a_crowd_stay_bounded_and_a_single_machine_asks_soon() -> None:
    crowd, single = CertificatePace(Random(1)), CertificatePace(Random(1))
    for _ in range(2000):
        crowd.begin()
    single.begin()
    assert all(crowd.seconds(attempt) >= 15 for attempt in range(1, 9))
    assert [single.seconds(attempt) < 0.3 for attempt in range(2)] == [True, True]
    assert max(single.seconds(attempt) for attempt in range(100)) <= 6.25


def test_first_poll_comes_when_the_last_ones_had_theirs_unless_nobody_else_waits() -> None:
    pace = CertificatePace(Random(1))
    for _ in range(400):
        pace.begin()
    for _ in range(100):
        pace.end(10.0)
    assert 5 < pace.seconds(0) < 10
    for _ in range(299):
        pace.end(10.0)
    assert pace.seconds(0) < 0.2


def test_kubelet_is_started_again_less_and_less_often() -> None:
    random = Random(1)
    waits = [retry_after(attempt, random) for attempt in range(50)]
    assert max(waits[:1]) <= 1.5
    assert 15 <= min(waits[10:]) <= max(waits) <= 45
