"""Hosts to be claimed over SSH, many on one machine: a real sshd in a throw-away copy of this machine's root.

Each is a set of namespaces (mounts, processes, network, host name) over an overlay whose upper layer is a tmpfs: what
happens in it stays in it, survives its reboots, and is gone when it stops. Its sshd serves connections one by one
(``sshd -i``), as its network reaches nothing; a `Cable` on a loopback port carries them, and can be pulled.

Needs root, sshd and overlayfs; `missing` says what is not there. May touch: processes, one folder, loopback ports; the
package cache for sudo, where the machine has none. The machine itself stays as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final, Self

from testbed.cable import Cable
from testbed.ports import HOST
from testbed.processes import Process

_TOOLS: Final = (
    "unshare",
    "nsenter",
    "chroot",
    "mount",
    "ip",
    "ssh-keygen",
    "useradd",
    "flock",
    "setsid",
    "dpkg",
    "tar",
)
_SSHD: Final = "/usr/sbin/sshd"
_DISK_MIB: Final = 64
ADMIN: Final = "admin"
"""A login that may become root without a password."""
ASKED: Final = "asked"
"""A login that sudo asks for a password."""

_HOLDER: Final = """
import os, subprocess, sys, time
base, size = sys.argv[1], sys.argv[2]
def mount(*arguments): subprocess.run(["mount", *arguments], check=True)
mount("-t", "tmpfs", "-o", f"size={size}m,mode=0755", "none", base)
for name in ("upper", "work", "root"): os.mkdir(f"{base}/{name}")
mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={base}/upper,workdir={base}/work", "none", f"{base}/root")
for name, major, minor in (("null", 1, 3), ("zero", 1, 5), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)):
    path = f"{base}/root/dev/{name}"
    if not os.path.exists(path):
        os.mknod(path, 0o020666, os.makedev(major, minor))
        os.chmod(path, 0o666)
os.makedirs(f"{base}/root/throwaway/keys")
open(f"{base}/root/throwaway/made", "w").close()
while True: time.sleep(3600)
"""
"""Holds the mounts: they end with it, whatever it ends by."""

_INIT: Final = """\
mount -t proc none /proc && mount -t sysfs none /sys && mount -t tmpfs none /run && mount -t tmpfs none /tmp || exit 1
mkdir -p /run/sshd && chmod 1777 /tmp
cat /etc/hostname >/proc/sys/kernel/hostname
ip link set lo up
: >/run/up
while :; do sleep 3600; done
"""
"""Process 1: a shell collects orphans while it waits."""

_SSHD_CONFIG: Final = """\
HostKey /throwaway/host-key
AuthorizedKeysFile /throwaway/keys/%u
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""

_SYSTEMCTL: Final = """\
#!/bin/sh
# Stands in for systemd, which is not here: writes down what was asked.
printf '%s\\n' "$*" >>/throwaway/systemctl
"""


class MissingError(RuntimeError):
    """This machine cannot make throw-away hosts; the message says why."""


def missing() -> str:
    """What is missing for throw-away hosts on this machine; empty: nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "throw-away hosts need root on Linux"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if not Path(_SSHD).exists():
        absent.append("sshd (Debian: apt-get install openssh-server)")
    if absent:
        return f"throw-away hosts need {', '.join(absent)}"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--net", "--uts", "true"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


def sudo_package(cache: Path) -> Path | None:
    """The package with sudo, fetched into ``cache`` unless it is there; None where the machine has sudo itself.

    Raises MissingError where there is none to be had.
    """
    if shutil.which("sudo"):
        return None
    cache.mkdir(parents=True, exist_ok=True)
    if not (found := sorted(cache.glob("sudo_*.deb"))):
        fetched = subprocess.run(
            ["apt-get", "download", "--quiet", "sudo"],  # noqa: S607
            cwd=cache,
            capture_output=True,
            text=True,
            check=False,
        )
        found = sorted(cache.glob("sudo_*.deb"))
        if not found:
            raise MissingError(f"neither sudo nor its package is to be had: {fetched.stderr.strip()[-300:]}")
    return found[-1]


class ThrowawayHost:
    """``with ThrowawayHost(folder, "host-1", authorized_key=…) as host:``; it is up, and its cable is plugged in.

    Attributes:
        name: its host name.
        cable: its connection; ``cable.port`` on 127.0.0.1 is where its sshd is reached.

    Args:
        folder: its own, empty.
        authorized_key: line that opens the logins root, `ADMIN` and `ASKED`.
        sudo: package of `sudo_package`, where the machine has no sudo.
        disk_mib: how much can be written on it.
    """

    def __init__(
        self, folder: Path, name: str, *, authorized_key: str, sudo: Path | None = None, disk_mib: int = _DISK_MIB
    ) -> None:
        self.name = name
        self._folder = folder
        self._base = folder / "mounts"
        self._base.mkdir(parents=True)
        holder = ["unshare", "--mount", "--propagation", "private", "--", sys.executable, "-I", "-c", _HOLDER]
        self._holder = Process(f"{name}-holder", [*holder, self._base, str(disk_mib)], log=folder / "holder.log")
        self._init: Process | None = None
        try:
            made = self.path("/throwaway/made")
            self._holder.wait_until(made.exists, timeout=30, what="mounts")
            self._furnish(authorized_key, sudo)
            self.power_on()
            self.cable = Cable(self._serve)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where its sshd is reached, on the port of the cable."""
        return HOST

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` of its host key."""
        key = self.path("/throwaway/host-key.pub")
        return subprocess.run(  # noqa: S603
            ["ssh-keygen", "-lf", key],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()[1]

    @property
    def host_key(self) -> str:
        """Its public key, as a line of known_hosts has it after the name."""
        return " ".join(self.path("/throwaway/host-key.pub").read_text().split()[:2])

    def path(self, inside: str) -> Path:
        """Where a path of its disk is seen from here, whether it is up or not."""
        return Path(f"/proc/{self._holder.pid}/root{self._base}/root{inside}")

    def run(self, *argv: str, stdin: str = "") -> str:
        """What a program says that is run on it as root, without SSH. Raises CalledProcessError."""
        enter = self._enter()
        return subprocess.run(  # noqa: S603
            [*enter, *argv], check=True, capture_output=True, text=True, input=stdin, timeout=60
        ).stdout

    def install(self, path: str, text: str) -> None:
        """Put a program or file onto its disk."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text))
        target.chmod(0o755)

    def power_on(self) -> None:
        """Boot; returns when it is up."""
        inside = f"{self._base}/root"
        argv = [
            *("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--net", "--ipc", "--"),
            *("chroot", inside, "/bin/sh", "-c", _INIT),
        ]
        self._init = Process(f"{self.name}-init", argv, log=self._folder / "init.log")
        self._init.wait_until(lambda: self._pid() > 0, timeout=30, what="boot")
        up = Path(f"/proc/{self._pid()}/root/run/up")
        self._init.wait_until(up.exists, timeout=30, what="boot")

    def power_off(self) -> None:
        """Everything that runs on it is gone at once; its disk stays."""
        if self._init is not None:
            self._init.kill()
            self._init = None

    def new_host_key(self) -> None:
        """As if it were installed anew, or somebody else stood in its place."""
        for name in ("host-key", "host-key.pub"):
            self.path(f"/throwaway/{name}").unlink(missing_ok=True)
        self._keygen()

    def stop(self) -> None:
        """End it; nothing stays."""
        cable: Cable | None = getattr(self, "cable", None)
        if cable is not None:
            cable.close()
        self.power_off()
        self._holder.kill()

    def _furnish(self, authorized_key: str, sudo: Path | None) -> None:
        if sudo is not None:
            # Unpacked, not installed: no script of it runs. Beside the root first, whose links to folders must stay.
            unpacked = self.path("/throwaway/sudo")
            subprocess.run(["dpkg", "-x", sudo, unpacked], check=True, capture_output=True)  # noqa: S603, S607
            for part in ("usr", "etc"):
                shutil.copytree(unpacked / part, self.path(f"/{part}"), symlinks=True, dirs_exist_ok=True)
            self.path("/usr/bin/sudo").chmod(0o4755)
        self._keygen()
        self.path("/throwaway/sshd_config").write_text(_SSHD_CONFIG)
        self.path("/etc/hostname").write_text(f"{self.name}\n")
        self.install("/usr/local/sbin/systemctl", _SYSTEMCTL)
        rules = self.path("/etc/sudoers.d/throwaway")
        rules.parent.mkdir(exist_ok=True)
        rules.write_text(f"{ADMIN} ALL=(ALL) NOPASSWD: ALL\n{ASKED} ALL=(ALL) ALL\n")
        rules.chmod(0o440)
        for user in (ADMIN, ASKED):
            # '*' and not '!': sshd without PAM lets nobody in whose account is locked.
            self._chroot("useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", user)
        for user in ("root", ADMIN, ASKED):
            self.path(f"/throwaway/keys/{user}").write_text(f"{authorized_key}\n")

    def _keygen(self) -> None:
        self._chroot("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/throwaway/host-key")

    def _chroot(self, *argv: str) -> None:
        enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--", "chroot", f"{self._base}/root"]
        subprocess.run([*enter, *argv], check=True, capture_output=True)  # noqa: S603

    def _pid(self) -> int:
        """Of its process 1, as we see it; 0: not yet."""
        if self._init is None:
            return 0
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        found = children.read_text().split() if children.exists() else []
        return int(found[0]) if found else 0

    def _enter(self) -> list[str]:
        flags = ("--mount", "--pid", "--uts", "--net", "--ipc", "--root", "--wd=/")
        return ["nsenter", "--target", str(self._pid()), *flags, "--"]

    def _serve(self) -> list[str] | None:
        """The program that serves one connection; None while it is off."""
        if self._pid() == 0:
            return None
        return [*self._enter(), _SSHD, "-i", "-f", "/throwaway/sshd_config", "-E", "/throwaway/sshd.log"]
