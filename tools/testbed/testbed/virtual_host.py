"""A virtual machine that belongs to nobody's NodeSet: bare metal, as the ssh driver finds it.

It boots the node image with a login and a host key that its maker knows beforehand, and then waits. May touch: one
domain and two files of a `testbed.libvirtd`.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nodeset_driver_libvirt.seed import seed_image

from testbed.libvirtd import Libvirtd
from testbed.node_image import NodeImage
from testbed.processes import wait_until

USER = "keeper"


class VirtualHost:
    """``with VirtualHost(libvirt, image, "metal-1") as host:`` returns once its sshd lets `USER` in.

    Attributes:
        address: IPv4 address.
        private_key: of `USER`, who may use sudo without a password; OpenSSH's PEM form.
        known_hosts: line with the host key.
        console: file of its serial console.

    Args:
        libvirt: where it runs.
        image: what it boots.
        name: of the domain, and the host's own name.
        mac: its network card's, different for each: ``address`` is found by it.
    """

    def __init__(self, libvirt: Libvirtd, image: NodeImage, name: str, *, mac: str = "52:54:00:00:00:01") -> None:
        self._libvirt = libvirt
        self._image = image
        self._name = name
        self._mac = mac
        self._disk = libvirt.pool_folder.parent / f"{name}.qcow2"
        self._seed = libvirt.pool_folder.parent / f"{name}-seed.iso"
        self.console = libvirt.pool_folder.parent / f"{name}-console.log"
        self.private_key, self._public_key = _key_pair()
        self._host_key, self._host_public = _key_pair()
        self.address = ""
        self._refusal = ""

    @property
    def known_hosts(self) -> str:  # noqa: D102 -- of the class
        return f"{self.address} {self._host_public}\n"

    def __enter__(self) -> Self:
        self._seed.write_bytes(
            seed_image(instance_id=self._name, hostname=self._name, user_data=self._user_data().encode())
        )
        backing = ("-b", self._image.disk, "-F", "qcow2")
        subprocess.run(  # noqa: S603
            ["qemu-img", "create", "-q", "-f", "qcow2", *backing, self._disk, "6G"],  # noqa: S607
            check=True,
            timeout=60,
        )
        description = self._disk.with_suffix(".xml")
        description.write_text(self._xml())
        self._libvirt.virsh("create", str(description))
        try:
            wait_until(self._found, timeout=600, what=f"{self._name} lets {USER} in", interval=1)
        except BaseException as error:
            self._libvirt.virsh("destroy", self._name)
            error.add_note(f"{self._refusal or 'it has no address'}; its console is {self.console}")
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._libvirt.virsh("destroy", self._name)

    def shell(self, command: str, *, timeout: float = 60) -> str:
        """What a shell command prints there, run by root.

        Raises:
            subprocess.CalledProcessError: it failed, or nobody could log in.
        """
        folder = self._disk.parent
        key, known = folder / f"{self._name}.key", folder / f"{self._name}.known"
        key.touch(mode=0o600)
        key.write_text(self.private_key)
        known.write_text(self.known_hosts)
        options = [f"-oUserKnownHostsFile={known}", "-oBatchMode=yes", "-oConnectTimeout=5", "-oLogLevel=ERROR"]
        login = ["ssh", "-F/dev/null", f"-i{key}", *options, f"{USER}@{self.address}"]
        done = subprocess.run(  # noqa: S603
            [*login, "sudo", "-n", "sh"], input=command, capture_output=True, text=True, check=True, timeout=timeout
        )
        return done.stdout

    def _found(self) -> bool:
        """Whether it has an address, and `USER` may log in."""
        leases = [line.split() for line in self._libvirt.virsh("net-dhcp-leases", self._libvirt.network).splitlines()]
        addresses = [
            str(ipaddress.ip_interface(word).ip)
            for line in leases
            if self._mac in line
            for word in line
            if word.count(".") == 3 and "/" in word  # noqa: PLR2004
        ]
        if not addresses:
            return False
        self.address = addresses[0]
        try:
            return self.shell("cloud-init status --wait >&2; echo up").endswith("up\n")
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            self._refusal = f"{error}: {error.stderr!r}"
            return False

    def _user_data(self) -> str:
        content = {
            "users": [
                {
                    "name": USER,
                    "shell": "/bin/bash",
                    "lock_passwd": True,
                    "sudo": "ALL=(ALL) NOPASSWD:ALL",
                    "ssh_authorized_keys": [self._public_key],
                }
            ],
            "ssh_keys": {"ed25519_private": self._host_key, "ed25519_public": self._host_public},
        }
        return f"#cloud-config\n{json.dumps(content)}\n"

    def _xml(self) -> str:
        def disk(file: Path, kind: str, target: str) -> str:
            return (
                f"<disk type='file' device='disk'><driver name='qemu' type='{kind}' cache='unsafe'/>"
                f"<source file='{file}'/><target dev='{target}' bus='virtio'/></disk>"
            )

        boot = (
            f"<kernel>{self._image.kernel}</kernel><initrd>{self._image.initrd}</initrd>"
            f"<cmdline>{escape(self._image.command_line)}</cmdline>"
        )
        return (
            f"<domain type='qemu'><name>{self._name}</name><memory unit='MiB'>1200</memory><vcpu>2</vcpu>"
            f"<os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os><features><acpi/></features>"
            f"<cpu mode='maximum'/><devices>{disk(self._disk, 'qcow2', 'vda')}{disk(self._seed, 'raw', 'vdb')}"
            f"<interface type='network'><mac address='{self._mac}'/><source network='{self._libvirt.network}'/>"
            f"<model type='virtio'/></interface><serial type='file'><source path='{self.console}'/></serial>"
            "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>"
        )


def _key_pair() -> tuple[str, str]:
    """An ed25519 key: (OpenSSH PEM, public line)."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode()
