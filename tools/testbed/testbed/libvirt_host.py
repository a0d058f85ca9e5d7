"""What tests of the libvirt driver need of a host, and how they look at it: never through the driver.

May touch: a libvirtd of its own and what is in it, an sshd on a loopback port.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nodeset_provider.driverkit.contract import CreateRequest, InstanceKey
from testbed.libvirtd import Libvirtd
from testbed.ports import HOST, ClaimedPort
from testbed.processes import Process

IMAGE = "base.img"
POOL_BYTES = 64 << 20
DISK_BYTES = 8 << 20
SSHD = "/usr/sbin/sshd"


@dataclass
class LibvirtHost:
    """One libvirtd, as its owner sees it: never through the driver."""

    daemon: Libvirtd

    def prepare(self) -> None:
        """Put the image into the pool."""
        self.daemon.virsh("vol-create-as", self.daemon.pool, IMAGE, "1M", "--format", "raw")

    def domains(self, token: str) -> list[str]:
        """Names of the token's domains, whatever their state."""
        return [name for name in self.daemon.virsh("list", "--all", "--name").split() if name.endswith(token)]

    def volumes(self, token: str = "") -> list[str]:
        """Names of the pool's volumes that have the token in them; of all, without one."""
        self.daemon.virsh("pool-refresh", self.daemon.pool)
        rows = self.daemon.virsh("vol-list", self.daemon.pool).splitlines()
        return sorted(name for name in (row.split()[0] for row in rows if row.strip()) if token in name)

    def sweep(self) -> None:
        """Remove all machines and their volumes, whatever they are."""
        for name in self.daemon.virsh("list", "--name").split():
            self.daemon.virsh("destroy", name)
        for name in self.daemon.virsh("list", "--all", "--name").split():
            self.daemon.virsh("undefine", name)
        for name in self.volumes("nodeset-"):
            self.daemon.virsh("vol-delete", "--pool", self.daemon.pool, name)

    def config(self, uri: str = "", **more: Any) -> dict[str, Any]:
        """Of a small machine, emulated."""
        return {
            "uri": uri or self.daemon.uri,
            "image": IMAGE,
            "memory": "32Mi",
            "vcpus": 1,
            "disk": DISK_BYTES,
            "acceleration": "tcg",
            **more,
        }


@dataclass
class Requests:
    """Requests of one cluster, which no other test has."""

    config: dict[str, Any]
    cluster: str = field(default_factory=lambda: str(uuid.uuid4()))

    def new(self, machine: str = "machine-1", **config: Any) -> CreateRequest:
        """With a token of its own; ``config``: what is different."""
        return CreateRequest(
            cluster=self.cluster,
            machine=machine,
            token=str(uuid.uuid4()),
            config={**self.config, **config},
            user_data=b"#cloud-config\n{}\n",
        )

    @staticmethod
    def key(request: CreateRequest) -> InstanceKey:
        """How its machine is named."""
        return InstanceKey(cluster=request.cluster, token=request.token, config=request.config)


class SshDoor:
    """An sshd on a loopback port, inside of the daemon's mounts, so that the daemon's socket is behind it.

    Attributes:
        key, other_key: private keys, of which it takes the first.
        known_hosts: the line of its host key.
    """

    def __init__(self, daemon: Libvirtd, folder: Path) -> None:
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)  # noqa: S603, S607
        self.key = (folder / "user").read_text()
        self.other_key = (folder / "stranger").read_text()
        self._port = ClaimedPort()
        kind, public = (folder / "host.pub").read_text().split()[:2]
        self.known_hosts = f"[{HOST}]:{self._port.number} {kind} {public}\n"
        (folder / "sshd_config").write_text(
            f"ListenAddress {HOST}\nPort {self._port.number}\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/user.pub\nPidFile none\nUsePAM no\nStrictModes no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 100\n"
        )
        start = f"mkdir -p /run/sshd && exec {SSHD} -D -e -f {folder}/sshd_config"
        self._process = Process("sshd", [*daemon.inside, "sh", "-c", start], log=folder / "sshd.log")

    @staticmethod
    def missing() -> str:
        """Why it cannot be here; empty where it can."""
        return "" if Path(SSHD).exists() and shutil.which("ssh-keygen") else f"no {SSHD}: install openssh-server"

    def __enter__(self) -> Self:
        self._process.wait_until(lambda: "Server listening" in self._process.log_tail(), timeout=20, what="it listened")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._port.close()

    def uri(self, socket: Path) -> str:
        """Of the libvirtd that listens on ``socket``."""
        return f"qemu+ssh://root@{HOST}:{self._port.number}/system?socket={socket}"

    def credentials(self) -> dict[str, bytes]:
        """The Secret of a class that may use it."""
        return {"ssh-privatekey": self.key.encode(), "known_hosts": self.known_hosts.encode()}
