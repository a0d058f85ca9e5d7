"""What a class says for each join mode is on a real host as it was rendered, and gone again after the reset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from ssh_hosts import Site
from testbed.pki import Authority

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.nodeclass import (
    EksJoin,
    File,
    Join,
    K3sJoin,
    Provisioning,
    Proxy,
    RegistryMirror,
    Unit,
    User,
)
from nodeset_provider.driverkit.contract import InstanceState
from nodeset_provider.driverkit.errors import InvalidSpec
from nodeset_provider.join import ClusterAccess, JoinRequest
from nodeset_provider.join import bootstrap_token as tokens
from nodeset_provider.join.document import Document, MachineFile, unit_files
from nodeset_provider.join.modes import MODES
from nodeset_provider.join.user_data import Delivery, render_user_data

Mode = Literal["Bootstrap", "Kubeadm", "K3s", "EKS"]
RAN = "/throwaway/ran"
AUTHORITY = Authority().pair.certificate.decode()
WATCHED = "/etc /home /opt /usr/local /srv /var/lib/rancher /var/lib/kubelet /var/lib/misc"
SNAPSHOT = f"""
for folder in {WATCHED}; do
  [ ! -d $folder ] || find $folder -xdev ! -type d ! -name '*-' ! -name .pwd.lock ! -name .sudo_as* \\
    -printf '%p %m %U:%G %l\\n'
done
find /etc /home /usr/local -xdev -type d -printf '%p %m %U:%G\\n'
for file in /etc/passwd /etc/group /etc/shadow /etc/hostname /etc/kept; do
  sed "s|^|$file |" $file
done
hostname
"""
DAEMON = '#!/bin/sh\necho {name} "$@" >>{ran}\n'
PROXY = "http://proxy.example.org:3128"
PROVISIONING = Provisioning(
    users=[
        User(name="ops", ssh_authorized_keys=["ssh-ed25519 AAAAC3Nza ops@example.org", "ssh-rsa A é"], sudo=True),
        # Debian has a group of that name, and no user.
        User(name="operator"),
    ],
    files=[
        File(path="/etc/kept", content="ours\n"),
        File(path="/srv/with blank/$(id)/a'b", content="x" * 5000),
        File(path="/usr/local/bin/tool", content="AP8=", encoding="Base64", permissions="4755"),
        File(path="/home/ops/.netrc", content="machine x\n", owner="ops:ops", permissions="600"),
        File(path="/srv/empty", content=""),
    ],
    units=[
        Unit(name="tuning.service", content="[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n"),
        Unit(name="image.timer"),
    ],
    commands=[f'echo "before $HTTPS_PROXY" >>{RAN}', f"umask >>{RAN}; pwd >>{RAN}; id -un >>{RAN}"],
    commands_after_join=[f"echo 'after' >>{RAN}"],
)
JOINS: dict[Mode, tuple[list[str], list[str], list[str]]] = {
    "Bootstrap": ([], ["enable tuning.service image.timer kubelet.service"], []),
    "Kubeadm": ([], ["enable tuning.service image.timer kubelet.service"], ["kubeadm join --config {kubeadm}"]),
    "K3s": (["installed v1.36.1+k3s1 agent"], ["enable tuning.service image.timer k3s-agent.service"], []),
}
"""What a mode adds: before the units are started, how they are enabled, after."""


def request_of(site: Site, mode: Mode) -> JoinRequest:
    join = Join(
        mode=mode,
        eks=EksJoin(cluster_name="c", cidr="10.100.0.0/16"),
        k3s=K3sJoin(
            version="v1.36.1+k3s1",
            install_command=f'echo "installed $INSTALL_K3S_VERSION $INSTALL_K3S_EXEC" >>{RAN}',
        ),
        proxy=Proxy(http=PROXY, https=PROXY),
        ca_certificates=[AUTHORITY],
        registry_mirrors=[RegistryMirror(registry="docker.io", endpoints=["https://mirror.example.org"])],
    )
    return JoinRequest(
        cluster=ClusterAccess(endpoint="https://10.0.0.1:6443", ca_bundle=AUTHORITY.encode(), dns=("10.96.0.10",)),
        template=MachineTemplate(driver="ssh", node_class_name="c", join=join, provisioning=PROVISIONING),
        node_name="node-1",
        token=tokens.derive(b"k" * tokens.KEY_BYTES, "11111111-2222-3333-4444-555555555555", 1),
        provider_id=f"ssh://{site.host.name}/1",
    )


def delivery(site: Site) -> Delivery:
    driver = site.driver
    return Delivery(formats=driver.user_data_formats, limit=driver.user_data_limit, gzip=driver.user_data_gzip)


@pytest.fixture
def furnished(site: Site) -> Iterator[Site]:
    """A host with what a class expects of it, which writes down what is run."""
    for name in ("systemctl", "kubeadm", "update-ca-certificates"):
        site.host.install(f"/usr/local/sbin/{name}", DAEMON.format(name=name, ran=RAN))
    site.host.path(RAN).unlink(missing_ok=True)
    site.host.path("/etc/kept").write_text("the host's own\n")
    site.host.run("chmod", "604", "/etc/kept")
    yield site
    site.host.path("/etc/kept").unlink()
    for name in ("kubeadm", "update-ca-certificates"):
        site.host.path(f"/usr/local/sbin/{name}").unlink()


def on_host(site: Site, file: MachineFile) -> MachineFile:
    """What is in the file's place."""
    mode, owner = site.host.run("stat", "-c", "%a %U:%G", file.path).split()
    return MachineFile(path=file.path, content=site.host.path(file.path).read_bytes(), mode=int(mode, 8), owner=owner)


def snapshot(site: Site) -> set[str]:
    """What is on its disk where a machine may leave traces."""
    return set(site.host.run("sh", "-c", SNAPSHOT).splitlines())


def ran(site: Site) -> list[str]:
    path = site.host.path(RAN)
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("mode", JOINS)
async def test_document_of_each_mode_is_applied_whole_and_undone(furnished: Site, mode: Mode) -> None:
    site = furnished
    join = request_of(site, mode)
    document: Document = MODES[mode](join)
    before = snapshot(site)
    request = site.request(render_user_data(join, delivery(site)))
    await site.driver.create(request)
    machine = await site.settled(request)
    assert machine.state is InstanceState.RUNNING, machine.message
    expected = [*unit_files(document.units), *document.files]
    assert [on_host(site, file) for file in expected] == expected
    early, enabled, late = JOINS[mode]
    start = next(line for line in ran(site) if line.startswith("systemctl restart --no-block tuning.service"))
    assert ran(site) == [
        "update-ca-certificates",
        f"before {PROXY}",
        *("0022", "/", "root"),
        *early,
        "systemctl daemon-reload",
        *(f"systemctl {line}" for line in enabled),
        start,
        *(line.format(kubeadm="/etc/nodeset/kubeadm-join.yaml") for line in late),
        "after",
    ]
    assert site.host.run("hostname") == "node-1\n"
    assert site.host.run("id", "-Gn", "ops") == "ops\n"
    assert site.host.run("id", "-Gn", "operator") == "operator\n"
    assert site.host.path("/home/ops/.ssh/authorized_keys").read_text().splitlines() == [
        "ssh-ed25519 AAAAC3Nza ops@example.org",
        "ssh-rsa A é",
    ]
    assert site.host.run("stat", "-c", "%a %U", "/home/ops/.ssh", "/home/ops/.ssh/authorized_keys").split() == [
        *("700", "ops"),
        *("600", "ops"),
    ]
    assert site.host.run("sudo", "-l", "-U", "ops").split("\n")[-2].strip() == "(ALL) NOPASSWD: ALL"

    await site.deleted(request)
    assert snapshot(site) == before
    assert site.host.path("/etc/kept").read_text() == "the host's own\n"


async def test_service_does_not_keep_the_settings_of_the_last_machine(furnished: Site) -> None:
    """A container runtime would go on with the proxy of a class that has gone."""
    request = furnished.request(render_user_data(request_of(furnished, "Bootstrap"), delivery(furnished)))
    await furnished.driver.create(request)
    await furnished.settled(request)
    furnished.host.path(RAN).unlink()
    await furnished.deleted(request)
    asked = ran(furnished)
    restart = "systemctl try-restart --no-block containerd.service"
    assert restart in asked
    assert "systemctl daemon-reload" in asked[: asked.index(restart)]
    assert "systemctl disable --now tuning.service" in asked[: asked.index("systemctl daemon-reload")]


async def test_kubeadm_join_that_ended_early_does_not_keep_the_next_from_its_start(furnished: Site) -> None:
    """Its preflight checks refuse a host with such a file."""
    furnished.host.install(
        "/usr/local/sbin/kubeadm", "#!/bin/sh\nmkdir -p /etc/kubernetes/pki\n: >/etc/kubernetes/pki/ca.crt\nfalse\n"
    )
    request = furnished.request(render_user_data(request_of(furnished, "Kubeadm"), delivery(furnished)))
    await furnished.driver.create(request)
    failed = await furnished.settled(request)
    assert failed.state is InstanceState.FAILED
    assert furnished.host.path("/etc/kubernetes/pki/ca.crt").exists()
    await furnished.deleted(request)
    assert not furnished.host.path("/etc/kubernetes/pki/ca.crt").exists()


async def test_join_that_needs_another_reader_is_refused_before_any_claim(site: Site) -> None:
    with pytest.raises(InvalidSpec, match="multipart archives cannot be applied over SSH"):
        await site.driver.create(site.request(render_user_data(request_of(site, "EKS"), delivery(site))))
    assert site.owner() == ""
