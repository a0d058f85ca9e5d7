"""A libvirtd of the test's own, with a NAT network and a storage pool, that touches nothing of the machine's.

May touch: namespaces it makes (mount, process and, unless it is given one, network), files in its folder, a socket in a
temporary folder of its own. Needs root and what ``tools/install-libvirt.sh`` installs; `Libvirtd.missing` says what is
not there.

libvirt's folders are compiled in (/etc/libvirt, /var/lib/libvirt, …), so they are mounts in a mount namespace: several
daemons run side by side, beside the machine's too. A process namespace ends everything with it, dnsmasq and guests
included, however the test ends; the daemon alone can be killed and started again, and its guests go on meanwhile.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from testbed.processes import Process, wait_until

NETWORK = "default"
POOL = "default"
GATEWAY = "192.168.122.1"
"""The host's address on the network, where guests reach what listens in the network namespace."""

_READY_SECONDS = 60
_PROGRAMS = ("libvirtd", "virsh", "qemu-system-x86_64", "qemu-img", "dnsmasq", "iptables", "ip", "nsenter", "unshare")
_MOUNTS = {"etc": "/etc/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt", "log": "/var/log/libvirt"}

_ACCOUNTS = {"passwd": "libvirt-qemu:x:64055:64055::/nonexistent:/bin/false", "group": "libvirt-qemu:x:64055:"}
"""Debian's libvirt does not start without this user, even where its guests run as another one; the package that makes
the user is the one that starts a daemon of the machine. Inside of the namespaces it is there."""

_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
remember_owner = 0
stdio_handler = "file"
"""
"""Guests run without systemd, D-Bus, cgroups or a security module: whatever the test's machine is, they start."""

_NETWORK_XML = f"""\
<network>
  <name>{NETWORK}</name>
  <bridge name='virbr0' stp='off' delay='0'/>
  <forward mode='nat'/>
  <ip address='{GATEWAY}' netmask='255.255.255.0'>
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp>
  </ip>
</network>
"""

_REAPER = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
"""Process 1 of the namespace: guests become its children when they turn into daemons, and it lets them go."""


class Libvirtd:
    """``with Libvirtd(folder) as libvirt:``; then `uri` works from anywhere on the machine, outside the namespaces too.

    Args:
        folder: state, logs and the pool live there, under the same path inside and outside.
        netns: a named network namespace (``ip netns``) in which network and guests live; one of its own otherwise.
        pool_bytes: size of the pool's file system, for a test that fills it; that of ``folder`` otherwise.
            The pool's files are then to be seen through libvirt only.
    """

    network = NETWORK
    pool = POOL

    def __init__(self, folder: Path, *, netns: str | None = None, pool_bytes: int | None = None) -> None:
        self._folder = folder.absolute()
        self._netns = netns
        self._pool_bytes = pool_bytes
        self._sockets = Path(tempfile.mkdtemp(prefix="nodeset-libvirtd-"))  # a socket's path has 107 characters
        self._namespaces: Process | None = None
        self._daemon: Process | None = None

    @staticmethod
    def missing() -> str:
        """Why it cannot work here, as the reason of a skipped test; empty where it can."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return "a libvirtd of the test's own needs root on Linux"
        absent = [program for program in _PROGRAMS if shutil.which(program) is None]
        return f"{', '.join(absent)} not in PATH: run tools/install-libvirt.sh (Debian)" if absent else ""

    @property
    def uri(self) -> str:
        """What libvirt clients connect to."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def socket(self) -> Path:
        """The daemon's UNIX socket."""
        return self._sockets / "libvirt-sock"

    @property
    def pool_folder(self) -> Path:
        """Where the pool's files are; see ``pool_bytes``."""
        return self._folder / "pool"

    @property
    def inside(self) -> tuple[str, ...]:
        """Put before a command line, it runs the command where the daemon's files are; it ends with the daemon."""
        return ("nsenter", f"--target={self._first_pid()}", "--mount", "--root", "--pid")

    @property
    def enter(self) -> tuple[str, ...]:
        """Put before a command line, it runs the command where the guests' network is."""
        return ("nsenter", f"--target={self._first_pid()}", "--net")

    def __enter__(self) -> Self:
        try:
            self._make_namespaces()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the daemon and wait until network and pool are active. After `kill` its guests are the same as before.

        Raises:
            ProcessFailedError: it ended, or was not ready within a minute.
        """
        self._daemon = Process(
            "libvirtd",
            [
                *self.inside,
                "--net",
                "libvirtd",
                "--config",
                "/etc/libvirt/libvirtd.conf",
                "--pid-file",
                "/run/libvirtd.pid",
            ],
            log=self._folder / "libvirtd.log",
        )
        self._daemon.wait_until(self._ready, timeout=_READY_SECONDS, what="network and pool were active")

    def kill(self) -> None:
        """End the daemon as a crash does; guests, dnsmasq and the network go on."""
        if self._daemon is not None and self._daemon.running:
            os.kill(only_child(self._daemon.pid), signal.SIGKILL)
            self._daemon.wait(timeout=10)

    def stop(self) -> None:
        """End everything: daemon, guests, dnsmasq, namespaces, and the socket's folder. Files in ``folder`` stay."""
        if self._netns is not None and self._daemon is not None and self._daemon.running:
            self._virsh("net-destroy", NETWORK)  # its bridge would outlive it in a namespace that is not ours
        if self._namespaces is not None and self._namespaces.running:
            os.kill(self._first_pid(), signal.SIGKILL)  # the kernel ends all others and then lets it go
            self._namespaces.wait(timeout=30)
        if self._daemon is not None:
            self._daemon.kill()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def virsh(self, *arguments: str) -> str:
        """What ``virsh`` prints for these arguments.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        done = self._virsh(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"virsh {shlex.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _virsh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - a fixed program
            ["virsh", "--quiet", "--connect", self.uri, *arguments],  # noqa: S607 - of PATH, as all of the testbed's
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _ready(self) -> bool:
        if not self.socket.exists():
            return False
        networks, pools = self._virsh("net-list", "--name"), self._virsh("pool-list", "--name")
        return NETWORK in networks.stdout.split() and POOL in pools.stdout.split()

    def _first_pid(self) -> int:
        """Process id, as seen from outside, of the namespaces' process 1."""
        if self._namespaces is None:
            raise RuntimeError("libvirtd was never started")
        return only_child(self._namespaces.pid)

    def _make_namespaces(self) -> None:
        self._write_configuration()
        ready = self._folder / "namespaces-are-ready"
        ready.unlink(missing_ok=True)
        unshare = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL"]
        network = ["ip", "netns", "exec", self._netns] if self._netns is not None else []
        self._namespaces = Process(
            "libvirtd-namespaces",
            [*network, *unshare, *([] if network else ["--net"]), "sh", "-euc", self._script(ready)],
            log=self._folder / "libvirtd-namespaces.log",
        )
        self._namespaces.wait_until(ready.exists, timeout=_READY_SECONDS, what="its namespaces were ready")

    def _script(self, ready: Path) -> str:
        """What process 1 does before it waits. Of the machine it makes at most mount points that are missing."""
        lines: list[Sequence[str | Path]] = []
        if self._netns is None:  # `ip netns exec` has done it otherwise: /sys/class/net is that of the namespace
            lines += [("mount", "-t", "sysfs", "sysfs", "/sys")]
        lines += [("ip", "link", "set", "lo", "up")]
        lines += [("mount", "--bind", self._folder / name, f"/etc/{name}") for name in _ACCOUNTS]
        for name, target in _MOUNTS.items():
            lines += [("mkdir", "-p", target), ("mount", "--bind", self._folder / name, target)]
        # Without D-Bus and systemd in sight, nothing is asked of the machine's own. Last: the folder may be in /run.
        if self._pool_bytes is not None:
            lines += [("mount", "-t", "tmpfs", "-o", f"size={self._pool_bytes}", "tmpfs", self.pool_folder)]
        lines += [("touch", ready)]
        if not self._folder.is_relative_to("/run"):
            lines += [("mount", "--bind", self._folder / "run", "/run")]
        lines += [("exec", sys.executable, "-I", "-S", "-c", _REAPER)]
        return "\n".join(shlex.join(str(word) for word in line) for line in lines)

    def _write_configuration(self) -> None:
        shutil.rmtree(self._folder / "run", ignore_errors=True)  # as after a reboot: what is marked so starts by itself
        for name in (*_MOUNTS, "run", "pool"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        for name, line in _ACCOUNTS.items():
            known = Path("/etc", name).read_text()
            more = "" if f"\n{line.partition(':')[0]}:" in known else f"{line}\n"
            (self._folder / name).write_text(known + more)
        etc = self._folder / "etc"
        (etc / "qemu.conf").write_text(_QEMU_CONF)
        (etc / "libvirtd.conf").write_text(
            f'unix_sock_dir = "{self._sockets}"\nunix_sock_rw_perms = "0700"\nauth_unix_rw = "none"\n'
            'log_outputs = "3:stderr"\n'
        )
        pool = f"<pool type='dir'><name>{POOL}</name><target><path>{self.pool_folder}</path></target></pool>"
        for kind, name, xml in (("qemu/networks", NETWORK, _NETWORK_XML), ("storage", POOL, pool)):
            (etc / kind / "autostart").mkdir(parents=True, exist_ok=True)
            (etc / kind / f"{name}.xml").write_text(xml)
            link = etc / kind / "autostart" / f"{name}.xml"
            link.unlink(missing_ok=True)
            link.symlink_to(f"/etc/libvirt/{kind}/{name}.xml")


def only_child(pid: int) -> int:
    """The child of a process that forked once: of ``unshare`` and ``nsenter``.

    Raises:
        ProcessLookupError: it has none.
    """
    found: list[int] = []

    def forked() -> bool:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        found[:] = [int(child) for child in children.read_text().split()] if children.exists() else []
        return bool(found) or not children.exists()

    wait_until(forked, timeout=5, what=f"process {pid} forked")
    if not found:
        raise ProcessLookupError(f"process {pid} has ended")
    return found[0]
