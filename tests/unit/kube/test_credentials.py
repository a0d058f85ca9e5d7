"""Every way to be somebody: where it is looked for, how it is renewed, what is said when there is none."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes.aio.config import incluster_config
from testbed.manual_clock import ManualClock

from nodeset_provider.kube.client import Client
from nodeset_provider.kube.credentials import Credentials
from nodeset_provider.kube.errors import ConfigurationError, Unauthorized
from nodeset_provider.kube.resources import NODES

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
WriteKubeconfig = Callable[..., str]
EXEC_API = "client.authentication.k8s.io/v1"
SERVER = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cluster of whoever runs the tests is ever touched."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def self_signed() -> str:
    """A CA certificate, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


async def load(clock: ManualClock, kubeconfig: str | None = None, context: str | None = None) -> Credentials:
    return await Credentials.load(kubeconfig=kubeconfig, context=context, clock=clock)


async def test_a_token_is_sent_as_bearer(clock: ManualClock, write_kubeconfig: WriteKubeconfig) -> None:
    credentials = await load(clock, write_kubeconfig(SERVER + "/", {"token": "t0ken"}))
    assert await credentials.authorization() == "Bearer t0ken"
    assert credentials.server == SERVER


async def test_without_a_token_no_header_is_sent(clock: ManualClock, write_kubeconfig: WriteKubeconfig) -> None:
    assert await (await load(clock, write_kubeconfig(SERVER))).authorization() is None


async def test_the_environment_names_the_kubeconfig(
    clock: ManualClock, write_kubeconfig: WriteKubeconfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/does/not/exist:" + write_kubeconfig(SERVER, {"token": "env"}))
    assert await (await load(clock)).authorization() == "Bearer env"


async def test_a_token_file_is_read_again_every_minute(
    clock: ManualClock, write_kubeconfig: WriteKubeconfig, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    credentials = await load(clock, write_kubeconfig(SERVER, {"tokenFile": str(token)}))
    token.write_text("second\n")
    assert await credentials.authorization() == "Bearer first"
    await clock.advance(60)
    assert await credentials.authorization() == "Bearer second"


def plugin(tmp_path: Path, expires: str) -> tuple[dict[str, object], Path]:
    """An exec plug-in that hands out a new token each time and counts."""
    count = tmp_path / "count"
    script = tmp_path / "plugin"
    expiry = f',"expirationTimestamp":"{expires}"' if expires else ""
    answer = f'{{"apiVersion":"{EXEC_API}","kind":"ExecCredential","status":{{"token":"t%s"{expiry}}}}}'
    script.write_text(f"#!/bin/sh\necho x >> {count}\nprintf '{answer}' $(wc -l < {count})\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": EXEC_API, "command": str(script)}}, count


async def test_an_exec_plugin_is_not_run_while_its_token_is_good(
    clock: ManualClock, write_kubeconfig: WriteKubeconfig, tmp_path: Path
) -> None:
    user, count = plugin(tmp_path, "2099-01-01T00:00:00Z")
    credentials = await load(clock, write_kubeconfig(SERVER, user))
    for _ in range(5):
        assert await credentials.authorization() == "Bearer t1"
        await clock.advance(61)
    assert count.read_text() == "x\n"


async def test_an_exec_plugin_is_run_again_when_its_token_runs_out(
    clock: ManualClock, write_kubeconfig: WriteKubeconfig, tmp_path: Path
) -> None:
    user, _ = plugin(tmp_path, "2001-01-01T00:00:00Z")
    credentials = await load(clock, write_kubeconfig(SERVER, user))
    assert await credentials.authorization() == "Bearer t1"
    await clock.advance(61)
    assert await credentials.authorization() == "Bearer t2"


async def test_a_401_renews_the_credential_and_sends_the_request_again(
    serve: Serve, write_kubeconfig: WriteKubeconfig, tmp_path: Path
) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        if seen[-1] != "Bearer t2":
            return web.json_response({"kind": "Status", "message": "no", "reason": "Unauthorized"}, status=401)
        return web.json_response({"metadata": {"name": "n"}})

    user, _ = plugin(tmp_path, "")
    client = await Client.connect(kubeconfig=write_kubeconfig(await serve(handler), user))
    await client.get(NODES, "n")
    assert seen == ["Bearer t1", "Bearer t2"]
    await client.close()


async def test_a_credential_that_stays_wrong_does_not_become_a_storm(
    serve: Serve, write_kubeconfig: WriteKubeconfig, tmp_path: Path
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": "who?", "reason": "Unauthorized"}, status=401)

    user, count = plugin(tmp_path, "")
    client = await Client.connect(kubeconfig=write_kubeconfig(await serve(handler), user))
    for _ in range(10):
        with pytest.raises(Unauthorized, match="who"):
            await client.get(NODES, "n")
    assert count.read_text() == "x\nx\n"
    await client.close()


async def test_a_pod_is_its_service_account(
    clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, self_signed: str
) -> None:
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("pod-token\n")
    ca.write_text(self_signed)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
    credentials = await load(clock)
    assert credentials.server == "https://[fd00::1]:443"
    assert credentials.ca_bundle == self_signed.encode()
    assert await credentials.authorization() == "bearer pod-token"


async def test_the_proxy_of_the_environment_is_used_unless_the_server_is_excepted(
    clock: ManualClock, write_kubeconfig: WriteKubeconfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example.org")
    assert (await load(clock, write_kubeconfig("https://api.example.org"))).proxy == "http://proxy.example.org:3128"
    assert (await load(clock, write_kubeconfig("https://inside.example.org"))).proxy is None


async def test_the_proxy_of_the_kubeconfig_wins(clock: ManualClock, write_kubeconfig: WriteKubeconfig) -> None:
    path = write_kubeconfig("https://api.example.org", None, {"proxy-url": "http://other.example.org:1"})
    assert (await load(clock, path)).proxy == "http://other.example.org:1"


async def test_no_cluster_says_where_was_looked(clock: ManualClock) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)~/\.kube/config.*KUBECONFIG.*service account"):
        await load(clock)


async def test_a_kubeconfig_that_is_not_there_is_named(clock: ManualClock) -> None:
    with pytest.raises(ConfigurationError, match="/nowhere/config: no such file"):
        await load(clock, "/nowhere/config")


async def test_an_unknown_context_is_named(clock: ManualClock, write_kubeconfig: WriteKubeconfig) -> None:
    with pytest.raises(ConfigurationError, match="production"):
        await load(clock, write_kubeconfig(SERVER), "production")


@pytest.mark.parametrize("content", ["", "[]", "{unclosed", "users: 7", "clusters: []\ncurrent-context: x"])
async def test_a_broken_kubeconfig_is_named(clock: ManualClock, tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=str(path)):
        await load(clock, str(path))


async def test_a_ca_that_is_none_is_an_error_that_names_the_server(
    clock: ManualClock, write_kubeconfig: WriteKubeconfig, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text("no certificate")
    path = write_kubeconfig("https://api.example.org", None, {"certificate-authority": str(ca)})
    with pytest.raises(ConfigurationError, match=r"https://api\.example\.org"):
        await load(clock, path)


async def test_a_server_without_a_scheme_is_refused(clock: ManualClock, write_kubeconfig: WriteKubeconfig) -> None:
    with pytest.raises(ConfigurationError, match="https://"):
        await load(clock, write_kubeconfig("api.example.org:6443"))


async def test_an_exec_plugin_that_fails_does_not_make_us_nobody(
    clock: ManualClock, write_kubeconfig: WriteKubeconfig
) -> None:
    with pytest.raises(ConfigurationError, match="exec plug-in"):
        await load(clock, write_kubeconfig(SERVER, {"exec": {"apiVersion": EXEC_API, "command": "false"}}))


async def test_a_token_file_that_vanishes_leaves_the_token_as_it_was(
    clock: ManualClock, write_kubeconfig: WriteKubeconfig, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    credentials = await load(clock, write_kubeconfig(SERVER, {"tokenFile": str(token)}))
    token.unlink()
    await clock.advance(60)
    assert await credentials.authorization() == "Bearer first"
