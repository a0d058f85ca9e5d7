"""What tests of the libvirt driver need of a host, and how they look at it: never through the driver.

May touch: a libvirtd of its own and what is in it, an sshd on a loopback port.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nodeset_provider.driverkit.contract import CreateRequest, InstanceKey
from testbed.libvirtd import Libvirtd, only_child
from testbed.ports import HOST, ClaimedPort
from testbed.processes import Process

IMAGE = "base.img"
POOL_BYTES = 64 << 20
DISK_BYTES = 8 << 20
SSHD = "/usr/sbin/sshd"
SPEAKING_FIRMWARE = "<qemu:commandline><qemu:arg value='-machine'/><qemu:arg value='graphics=off'/></qemu:commandline>"
"""For ``extraXML.domain``: the firmware speaks on the serial line, as an operating system would."""
LAST_OF_FIRMWARE = "No bootable device."
"""What it says last of an empty disk."""


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
    """

    def __init__(self, daemon: Libvirtd, folder: Path) -> None:
        self._daemon, self._folder = daemon, folder
        for name in ("host", "user", "stranger"):
            _make_key(folder / name)
        self.key = (folder / "user").read_text()
        self.other_key = (folder / "stranger").read_text()
        self._port = ClaimedPort()
        (folder / "sshd_config").write_text(
            f"ListenAddress {HOST}\nPort {self._port.number}\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/user.pub\nPidFile none\nUsePAM no\nStrictModes no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 100\n"
        )
        self._process = self._start()

    @staticmethod
    def missing() -> str:
        """Why it cannot be here; empty where it can."""
        return "" if Path(SSHD).exists() and shutil.which("ssh-keygen") else f"no {SSHD}: install openssh-server"

    @property
    def known_hosts(self) -> str:
        """The line of its host key."""
        kind, public = (self._folder / "host.pub").read_text().split()[:2]
        return f"[{HOST}]:{self._port.number} {kind} {public}\n"

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._port.close()

    def install_anew(self) -> None:
        """From now on the host has another key. Sessions go on."""
        os.kill(only_child(self._process.pid), signal.SIGTERM)
        self._process.wait(timeout=10)
        for name in ("host", "host.pub", "sshd.log"):
            (self._folder / name).unlink()
        _make_key(self._folder / "host")
        self._process = self._start()
        self._wait()

    def _start(self) -> Process:
        start = f"mkdir -p /run/sshd && exec {SSHD} -D -e -f {self._folder}/sshd_config"
        return Process("sshd", [*self._daemon.inside, "sh", "-c", start], log=self._folder / "sshd.log")

    def _wait(self) -> None:
        self._process.wait_until(lambda: "Server listening" in self._process.log_tail(), timeout=20, what="it listened")

    def uri(self, socket: Path) -> str:
        """Of the libvirtd that listens on ``socket``."""
        return f"qemu+ssh://root@{HOST}:{self._port.number}/system?socket={socket}"

    def credentials(self) -> dict[str, bytes]:
        """The Secret of a class that may use it."""
        return {"ssh-privatekey": self.key.encode(), "known_hosts": self.known_hosts.encode()}


def _make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)  # noqa: S603, S607
