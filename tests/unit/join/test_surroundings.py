"""Proxy, trust, mirrors, units: what every mode's machine gets around its join configuration."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from nodeset_provider.api.nodeclass import (
    File,
    Join,
    KubeadmJoin,
    KubeletSettings,
    Provisioning,
    Proxy,
    RegistryMirror,
    Unit,
)
from nodeset_provider.join import InvalidJoin, JoinRequest
from nodeset_provider.join.document import Document
from nodeset_provider.join.mirrors import containerd_files, k3s_files
from nodeset_provider.join.modes import MODES
from nodeset_provider.join.proxy import ENVIRONMENT_FILE, environment_files, proxy_environment, with_environment
from nodeset_provider.join.trust import TRUST_FOLDER, trust_commands, trusted_files

MakeRequest = Callable[..., JoinRequest]

PEM = (Path(__file__).parent / "golden" / "ca.crt").read_text()
PROXY = Proxy(http="http://proxy:3128", https="https://proxy:3129", no_proxy=["10.0.0.0/8", ".example.com"])
STARTED_BY_US = [mode for mode in MODES if mode != "EKS"]
"""nodeadm starts what it needs itself."""


def document(make_request: MakeRequest, mode: str = "Bootstrap", **changes: Any) -> Document:
    provisioning = changes.pop("provisioning", Provisioning())
    return MODES[mode](make_request(join=Join(mode=mode, **changes), provisioning=provisioning))


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidJoin) as caught:
        call()
    return caught.value.field


# --- proxy ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", STARTED_BY_US)
def test_nothing_is_said_of_a_proxy_where_there_is_none(make_request: MakeRequest, mode: str) -> None:
    made = document(make_request, mode, proxy=Proxy(no_proxy=["a"]))
    assert ENVIRONMENT_FILE not in {file.path for file in made.files}
    assert not any(b"Environment" in content for unit in made.units for _, content in unit.drop_ins)


def test_api_server_and_cluster_are_never_asked_of_a_proxy(make_request: MakeRequest) -> None:
    environment = proxy_environment(make_request(join=Join(proxy=PROXY, endpoint="https://[2001:db8::1]:6443")))
    direct = environment["NO_PROXY"].split(",")
    assert {"localhost", "127.0.0.1", "::1", ".svc", ".cluster.local", "2001:db8::1", "10.96.0.10"} <= set(direct)
    assert direct[-2:] == ["10.0.0.0/8", ".example.com"]
    assert all(environment[name.lower()] == environment[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"))


def test_runtime_and_kubelet_read_the_proxy_and_the_runtime_restarts_first(make_request: MakeRequest) -> None:
    made = document(make_request, proxy=PROXY)
    assert [(unit.name, unit.enabled, unit.start) for unit in made.units] == [
        ("containerd.service", False, True),
        ("kubelet.service", True, True),
    ]
    for unit in made.units:
        assert f"EnvironmentFile={ENVIRONMENT_FILE}\n".encode() in unit.drop_ins[0][1]


@pytest.mark.parametrize(
    "join",
    [
        Join(proxy=PROXY, kubelet=KubeletSettings(container_runtime_endpoint="unix:///run/crio/crio.sock")),
        Join(proxy=PROXY, mode="Kubeadm", kubeadm=KubeadmJoin(cri_socket="unix:///var/run/crio/crio.sock")),
    ],
)
def test_runtime_is_known_by_its_socket(make_request: MakeRequest, join: Join) -> None:
    assert MODES[join.mode](make_request(join=join)).units[0].name == "crio.service"
    mirrored = msgspec.structs.replace(join, registry_mirrors=[RegistryMirror(registry="*", endpoints=["https://m"])])
    assert refused(lambda: MODES[join.mode](make_request(join=mirrored))) == "spec.join.registryMirrors"


def test_every_command_of_the_class_has_the_proxy(make_request: MakeRequest, tmp_path: Path) -> None:
    provisioning = Provisioning(commands=['printf %s "$http_proxy|$1" "x"'], commands_after_join=["true"])
    made = document(make_request, "Kubeadm", proxy=PROXY, provisioning=provisioning)
    commands = (*made.commands_before, *made.commands_after)
    assert len(commands) == 3
    assert all(ENVIRONMENT_FILE in command[2] for command in commands)
    file = tmp_path / "proxy.env"
    file.write_bytes(environment_files(proxy_environment(make_request(join=Join(proxy=PROXY))))[0].content)
    argv = [word.replace(ENVIRONMENT_FILE, str(file)) for word in made.commands_before[0]]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "http://proxy:3128|x"


def test_command_keeps_its_arguments_whatever_is_in_them(tmp_path: Path) -> None:
    file = tmp_path / "proxy.env"
    file.write_text("http_proxy='http://p:1'\n")
    hostile = ["$(reboot)", "a b", "'\"", "\n", ""]
    argv = with_environment({"http_proxy": "http://p:1"}, ("printf", "%s,", *hostile))
    argv = tuple(word.replace(ENVIRONMENT_FILE, str(file)) for word in argv)
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "".join(
        f"{word}," for word in hostile
    )


@pytest.mark.parametrize(
    ("proxy", "field"),
    [
        (Proxy(http="proxy:3128"), "http"),
        (Proxy(https="socks5://proxy:1080"), "https"),
        (Proxy(http="http://a'b"), "http"),
        (Proxy(http="http://a\nX=1"), "http"),
        (Proxy(http="http://a:0"), "http"),
        (Proxy(http="http://["), "http"),
        (Proxy(https="http://me:s3cret@proxy:3128"), "https"),
        (Proxy(http="http://a", no_proxy=["b", "c d"]), "noProxy[1]"),
        (Proxy(http="http://a", no_proxy=["b,c"]), "noProxy[0]"),
        (Proxy(http="http://a", no_proxy=["$(x)"]), "noProxy[0]"),
    ],
)
def test_proxy_that_is_none_is_refused_with_its_field(make_request: MakeRequest, proxy: Proxy, field: str) -> None:
    assert refused(lambda: proxy_environment(make_request(join=Join(proxy=proxy)))) == f"spec.join.proxy.{field}"


@pytest.mark.parametrize(
    "join",
    [
        Join(proxy=Proxy(http="http://me:s3cret@proxy:3128")),
        Join(endpoint="https://me:s3cret@api:6443"),
        Join(registry_mirrors=[RegistryMirror(registry="*", endpoints=["https://me:s3cret@mirror"])]),
    ],
)
def test_login_in_a_url_is_refused_and_not_repeated(make_request: MakeRequest, join: Join) -> None:
    with pytest.raises(InvalidJoin) as refusal:
        MODES["Bootstrap"](make_request(join=join))
    assert "s3cret" not in str(refusal.value)


# --- trust ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", STARTED_BY_US)
def test_certificates_are_trusted_before_anything_of_the_class_runs(make_request: MakeRequest, mode: str) -> None:
    made = document(make_request, mode, ca_certificates=[PEM], provisioning=Provisioning(commands=["curl https://x"]))
    assert made.commands_before[0] == trust_commands([PEM])[0]
    assert made.commands_before[1] == ("sh", "-c", "curl https://x")
    assert f"{TRUST_FOLDER}/nodeset-0.crt" in {file.path for file in made.files}


def test_runtime_that_runs_already_learns_of_new_certificates(make_request: MakeRequest) -> None:
    made = document(make_request, ca_certificates=[PEM])
    assert (made.units[0].name, made.units[0].start, made.units[0].drop_ins) == ("containerd.service", True, ())
    assert [unit.name for unit in document(make_request).units] == ["kubelet.service"]


def test_each_certificate_is_a_file_of_its_own_and_there_once() -> None:
    files = trusted_files([f"# a comment\n{PEM}\n{PEM}", PEM])
    assert [(file.path, file.content) for file in files] == [(f"{TRUST_FOLDER}/nodeset-0.crt", PEM.encode())]


@pytest.mark.parametrize("text", ["", "MIIB", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----", f"{PEM}é"])
def test_what_is_no_certificate_is_refused_with_its_field(text: str) -> None:
    assert refused(lambda: trusted_files([PEM, text])) == "spec.join.caCertificates[1]"


@pytest.mark.parametrize(
    ("tool", "folder", "name"),
    [
        ("update-ca-trust", "/etc/pki/ca-trust/source/anchors", "nodeset-0.crt"),
        ("update-ca-certificates", "/usr/local/share/ca-certificates", "nodeset-0.crt"),
        ("update-ca-certificates", "/etc/pki/trust/anchors", "nodeset-0.crt"),
        ("update-ca-certificates", "/etc/ssl/certs", "nodeset-0.pem"),
    ],
    ids=["fedora", "debian", "suse", "flatcar"],
)
def test_whichever_tool_the_machine_has_gets_the_certificates(
    tmp_path: Path, tool: str, folder: str, name: str
) -> None:
    def inside(path: str) -> Path:
        return tmp_path / path.lstrip("/")

    for path in (TRUST_FOLDER, folder, "/bin"):
        inside(path).mkdir(parents=True)
    inside(f"{TRUST_FOLDER}/nodeset-0.crt").write_text(PEM)
    inside(f"/bin/{tool}").write_text(f"#!/bin/sh\nls {inside(folder)} > {tmp_path}/seen\n")
    inside(f"/bin/{tool}").chmod(0o755)
    for program in ("cp", "sh", "ls"):
        inside(f"/bin/{program}").symlink_to(Path("/bin") / program)
    shell, flag, script = trust_commands([PEM])[0]
    for path in ("/etc/", "/usr/"):
        script = script.replace(f" {path}", f" {inside(path)}/").replace(f"= {path}", f"= {inside(path)}/")
    subprocess.run([f"/bin/{shell}", flag, script], env={"PATH": str(inside("/bin"))}, check=True)
    assert (tmp_path / "seen").read_text().split() == [name]
    assert (inside(folder) / name).read_text() == PEM


def test_machine_without_a_tool_says_so() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", trust_commands([PEM])[0][2]],
        env={"PATH": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "neither update-ca-trust nor update-ca-certificates is here" in done.stderr


# --- mirrors ----------------------------------------------------------------------------------------------------------
MIRRORS = [
    RegistryMirror(registry="docker.io", endpoints=["https://a.example.com", "http://10.0.0.5:5000/v2/hub"]),
    RegistryMirror(registry="reg.example.com:5000", endpoints=["https://[2001:db8::1]:443"], ca_certificate=PEM),
    RegistryMirror(registry="*", endpoints=["https://all.example.com"]),
]


def test_containerd_gets_a_file_for_each_registry() -> None:
    files = {file.path: file.content.decode() for file in containerd_files(MIRRORS)}
    hub = tomllib.loads(files["/etc/containerd/certs.d/docker.io/hosts.toml"])["host"]
    assert list(hub) == ["https://a.example.com", "http://10.0.0.5:5000/v2/hub"]
    assert hub["https://a.example.com"] == {"capabilities": ["pull", "resolve"]}
    assert hub["http://10.0.0.5:5000/v2/hub"]["override_path"] is True
    own = tomllib.loads(files["/etc/containerd/certs.d/reg.example.com:5000/hosts.toml"])["host"]
    assert files[own["https://[2001:db8::1]:443"]["ca"]] == PEM
    assert "/etc/containerd/certs.d/_default/hosts.toml" in files


def test_k3s_gets_one_file_and_the_cas_that_it_names() -> None:
    files = {file.path: file.content for file in k3s_files(MIRRORS)}
    registries = yaml.safe_load(files["/etc/rancher/k3s/registries.yaml"])
    assert registries["mirrors"] == {mirror.registry: {"endpoint": mirror.endpoints} for mirror in MIRRORS}
    path = registries["configs"]["[2001:db8::1]:443"]["tls"]["ca_file"]
    assert files[path] == PEM.encode()


def test_nothing_is_written_where_there_are_no_mirrors() -> None:
    assert containerd_files([]) == k3s_files([]) == ()


@pytest.mark.parametrize("files", [containerd_files, k3s_files])
@pytest.mark.parametrize(
    ("mirrors", "field"),
    [
        ([RegistryMirror(registry="https://docker.io", endpoints=["https://a"])], "[0].registry"),
        ([RegistryMirror(registry="../x", endpoints=["https://a"])], "[0].registry"),
        ([RegistryMirror(registry="a", endpoints=["https://a"])] * 2, "[1].registry"),
        ([RegistryMirror(registry="a", endpoints=[])], "[0].endpoints"),
        ([RegistryMirror(registry="a", endpoints=["https://a", "mirror"])], "[0].endpoints[1]"),
        ([RegistryMirror(registry="a", endpoints=['https://a"]\n[x']), *MIRRORS], "[0].endpoints[0]"),
        ([RegistryMirror(registry="a", endpoints=["https://["])], "[0].endpoints[0]"),
        ([RegistryMirror(registry="a", endpoints=["https://a"], ca_certificate="x")], "[0].caCertificate"),
    ],
)
def test_mirror_that_is_none_is_refused_with_its_field(
    files: Callable[[list[RegistryMirror]], object], mirrors: list[RegistryMirror], field: str
) -> None:
    assert refused(lambda: files(mirrors)) == f"spec.join.registryMirrors{field}"


# --- the class's own --------------------------------------------------------------------------------------------------
def test_units_of_the_class_start_before_ours(make_request: MakeRequest) -> None:
    units = [Unit(name="a.service", content="[Service]\n"), Unit(name="b.timer", enabled=False)]
    made = document(make_request, proxy=PROXY, provisioning=Provisioning(units=units))
    assert [(unit.name, unit.content, unit.start) for unit in made.units] == [
        ("a.service", b"[Service]\n", True),
        ("b.timer", None, False),
        ("containerd.service", None, True),
        ("kubelet.service", None, True),
    ]


@pytest.mark.parametrize("mode", STARTED_BY_US)
def test_unit_of_the_mode_is_not_the_classs(make_request: MakeRequest, mode: str) -> None:
    name = document(make_request, mode).units[-1].name
    provisioning = Provisioning(units=[Unit(name="a.service"), Unit(name=name)])
    assert refused(lambda: document(make_request, mode, provisioning=provisioning)) == "spec.provisioning.units[1].name"


def test_file_and_unit_of_the_class_at_one_path_are_refused(make_request: MakeRequest) -> None:
    provisioning = Provisioning(
        units=[Unit(name="a.service", content="[Service]\n")], files=[File(path="/etc/systemd/system/a.service")]
    )
    assert refused(lambda: document(make_request, provisioning=provisioning)) == "spec.provisioning.files[0].path"


def test_files_around_the_join_configuration_are_not_the_classs(make_request: MakeRequest) -> None:
    mirrors = [RegistryMirror(registry="a", endpoints=["https://a"])]
    for path in (
        ENVIRONMENT_FILE,
        f"{TRUST_FOLDER}/nodeset-0.crt",
        "/etc/containerd/certs.d/a/hosts.toml",
        "/etc/systemd/system/kubelet.service",
        "/etc/systemd/system/containerd.service.d/20-nodeset.conf",
    ):
        provisioning = Provisioning(files=[File(path=path)])
        field = refused(
            lambda given=provisioning: document(
                make_request, proxy=PROXY, ca_certificates=[PEM], registry_mirrors=mirrors, provisioning=given
            )
        )
        assert field == "spec.provisioning.files[0].path"
