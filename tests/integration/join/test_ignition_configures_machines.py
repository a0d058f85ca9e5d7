"""Ignition itself, all of its stages, on a throw-away machine: what a document holds is there afterwards, and was done.

The machine is a copy of this one's root, mounted where the initramfs has it. Programs that would need more than that
(systemd, kubeadm, a reboot) are stand-ins that write down how they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import pytest
from testbed import throwaway_host
from testbed.binaries import IGNITION, cache_root
from testbed.hostile import HOSTILE
from testbed.throwaway_host import ThrowawayHost

from nodeset_provider.api.nodeclass import Unit
from nodeset_provider.join import JoinRequest
from nodeset_provider.join.document import Document, MachineFile, MachineUnit, MachineUser, start_commands, unit_files
from nodeset_provider.join.first_boot import SCRIPT, SPECIAL_BITS, STATE, UNIT
from nodeset_provider.join.ignition import HOSTNAME, render
from nodeset_provider.join.modes import MODES

MakeRequest = Callable[..., JoinRequest]

STAGES: Final = ("fetch-offline", "fetch", "kargs", "disks", "mount", "files", "umount")
"""In the order of Ignition's units in the initramfs."""
CALLS: Final = "/throwaway/calls"
STAND_INS: Final = ("systemctl", "kubeadm", "reboot", "update-ca-certificates", "record")
# NUL ends a word, the separator of records a call.
_STAND_IN: Final = f"""\
#!/bin/sh
{{ printf '%s\\0' "${{0##*/}}" "$@"; printf '\\036\\0'; }} >>{CALLS}
"""
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Of a unit, as systemd sets it."""
LOOPED: Final = "loop-1"


class Machine:
    """A machine at its first boot.

    Args:
        host: whose root it is.
        program: ``ignition``.
    """

    def __init__(self, host: ThrowawayHost, program: Path) -> None:
        self._host = host
        shutil.copy(program, host.path("/throwaway/ignition"))
        for name in STAND_INS:
            host.install(f"/usr/local/sbin/{name}", _STAND_IN)
        host.run("sh", "-c", "mkdir -p /run/sysroot && mount --bind / /run/sysroot")

    def ignite(self, config: bytes) -> None:
        """Run Ignition. Raises AssertionError with what it says where it fails, or wants a network."""
        self.path("/throwaway/config.ign").write_bytes(config)
        for stage in STAGES:
            flags = f"--platform=file --stage={stage} --root=/run/sysroot --log-to-stdout"
            command = f"cd /throwaway && ./ignition {flags} 2>&1 && ! test -e /run/ignition/neednet"
            try:
                self._host.run("env", "-i", f"PATH={_PATH}", "sh", "-c", command)
            except subprocess.CalledProcessError as error:
                said = [line for line in error.stdout.splitlines() if "[debug]" not in line]
                raise AssertionError(f"stage {stage}: " + "\n".join(said)[:3000]) from None

    def boot(self) -> str:
        """Run what the unit of the first boot runs, as it does; what it says."""
        command = f"cd / && exec sh {SCRIPT} 2>&1"
        return self._host.run("env", "-i", f"PATH={_PATH}", "sh", "-c", command)

    def run(self, *words: str) -> str:
        """What a program says that is run on it."""
        return self._host.run(*words)

    def path(self, path: str) -> Path:
        """Where that path of its disk is seen from here."""
        return self._host.path(path)

    def calls(self, *names: str) -> list[tuple[str, ...]]:
        """How the stand-ins of these names were called, in order."""
        file = self.path(CALLS)
        text = file.read_bytes().decode() if file.exists() else ""
        called = [tuple(call.split("\0")[:-1]) for call in text.split("\036\0")[:-1]]
        return [call for call in called if call[0] in names]

    def file(self, path: str) -> tuple[bytes, int, str]:
        """Content, mode and owner by name; of files beyond links to absolute paths too, as the machine sees them."""
        mode, owner = self.run("stat", "-L", "-c", "%a %U:%G", path).split()
        real = self.run("readlink", "-f", path).removesuffix("\n")
        return self.path(real).read_bytes(), int(mode, 8), owner


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Where one cannot be had, its test is skipped; with CI=true in the environment that is a failure."""
    program, sudo = IGNITION.located(), None
    reason = throwaway_host.missing() if program else "ignition is not built; make ignition builds it"
    try:
        sudo = None if reason else throwaway_host.sudo_package(cache_root() / "packages")
    except throwaway_host.MissingError as error:
        reason = str(error)
    if reason and os.environ.get("CI"):
        pytest.fail(f"nothing may be skipped in CI, and {reason}", pytrace=False)
    if reason or program is None:
        pytest.skip(reason)
    with ThrowawayHost(tmp_path / "host", "image", authorized_key="none", sudo=sudo, disk_mib=128) as host:
        yield Machine(host, program)


def expect(file: MachineFile, mode: int) -> tuple[bytes, int, str]:
    user, _, group = file.owner.partition(":")
    return file.content, mode, f"{user}:{group or 'root'}"


def assert_files(machine: Machine, document: Document, *, bits: int = 0o7777) -> None:
    """Each file that the document holds is there with its bytes, owner, and those bits of its mode."""
    for file in (*document.files, *unit_files(document.units)):
        assert machine.file(file.path) == expect(file, file.mode & bits), file.path
    assert machine.file(HOSTNAME) == (f"{document.hostname}\n".encode(), 0o644, "root:root")


def assert_users(machine: Machine, users: tuple[MachineUser, ...]) -> None:
    for user in users:
        _, _, _, _, _, home, shell = machine.run("getent", "passwd", user.name).strip().split(":")
        assert (home, shell) == (f"/home/{user.name}", "/bin/bash")
        assert machine.run("getent", "shadow", user.name).split(":")[1] == "*", "no password, and not locked"
        assert machine.run("id", "-nG", user.name).split() == [user.name]
        owner = f"{user.name}:{user.name}"
        assert machine.run("stat", "-c", "%U:%G", home).strip() == owner
        if user.ssh_authorized_keys:
            keys = "".join(f"{key}\n" for key in dict.fromkeys(user.ssh_authorized_keys))
            # what sshd reads on Flatcar and Fedora CoreOS
            assert machine.file(f"{home}/.ssh/authorized_keys.d/ignition") == (keys.encode(), 0o600, owner)
            assert machine.run("stat", "-c", "%a %U:%G", f"{home}/.ssh").strip() == f"700 {owner}"
        become = "sudo -n id -un || echo refused"
        user_s = ("setpriv", "--reuid", user.name, "--regid", user.name, "--init-groups")
        assert machine.run(*user_s, "sh", "-c", become) == ("root\n" if user.sudo else "refused\n")


def assert_only_ours_is_enabled(machine: Machine) -> None:
    presets = machine.run("sh", "-c", "cat /etc/systemd/system-preset/*ignition*").splitlines()
    assert presets == [f"enable {UNIT}"]


@pytest.mark.parametrize("mode", ["Bootstrap", "Kubeadm", "K3s"])
def test_machine_of_every_mode_is_what_its_document_says(
    machine: Machine, make_request: MakeRequest, mode: str
) -> None:
    request = make_request(mode, "Ignition")
    provisioning = msgspec.structs.replace(
        request.template.provisioning,
        units=[*request.template.provisioning.units, Unit(name=f"echo@{LOOPED}.service")],
        commands=[*HOSTILE, "record before", "record proxy $HTTPS_PROXY"],
        commands_after_join=["record after"],
    )
    template = msgspec.structs.replace(request.template, provisioning=provisioning)
    document = MODES[mode](replace(request, template=template))
    machine.ignite(render(document))
    assert_files(machine, document, bits=0o777)
    assert_users(machine, document.users)
    assert_only_ours_is_enabled(machine)
    assert machine.file(SCRIPT)[1:] == (0o700, "root:root")
    assert machine.calls(*STAND_INS) == [], "nothing runs before the machine's own first boot"
    machine.boot()
    assert_files(machine, document)
    joined = [command[-4:] for command in document.commands_after if "join" in command]
    assert machine.calls("record", "systemctl", "kubeadm") == [
        ("record", "before"),
        ("record", "proxy", "http://proxy:3128"),
        *start_commands(document.units),
        *joined,
        ("record", "after"),
    ]
    assert bool(joined) == (mode == "Kubeadm")
    assert machine.calls("update-ca-certificates") == [("update-ca-certificates",)]
    assert machine.path("/usr/local/share/ca-certificates/nodeset-0.crt").exists()
    done = machine.calls(*STAND_INS)
    machine.boot()
    assert machine.calls(*STAND_INS)[len(done) :] == [], "once in its life"


def test_every_kind_of_file_user_unit_and_command_comes_through(machine: Machine) -> None:
    contents = (b"", b"\0" * 100_000, bytes(range(256)) * 4096, *(text.encode() for text in HOSTILE))
    modes = (0o644, 0o400, 0o000, 0o4755, 0o2755, 0o1777, 0o7777)
    owners = ("root:root", "ops:ops", "daemon:root", "ro:adm", "bin")
    document = Document(
        hostname="h",
        files=(
            MachineFile(path="/etc/motd", content=b"there already\n", mode=0o600),
            MachineFile(path="/home/ops/deep/er/file", content=b"x", mode=0o600, owner="ops:ops"),
            MachineFile(path="/srv/link/beyond", content=b"x", mode=0o600),
            *(
                MachineFile(
                    path=f"/opt/ü {number}%20'\"\\$(reboot)",
                    content=content,
                    mode=modes[number % len(modes)],
                    owner=owners[number % len(owners)],
                )
                for number, content in enumerate(contents)
            ),
        ),
        users=(
            MachineUser(name="ops", ssh_authorized_keys=("same é", "same é", "other"), sudo=True),
            MachineUser(name="_a-b_1", ssh_authorized_keys=("k",), sudo=True),
            MachineUser(name="ro"),
        ),
        units=(
            MachineUnit(name="a.service", content=b"[Service]\nExecStart=true " + b"x" * 5000 + b"\n", start=True),
            MachineUnit(name=f"echo@{LOOPED}.service", drop_ins=(("9.conf", b"[Service]\n"),)),
            MachineUnit(name="still.timer", content=b"[Timer]\n", enabled=False),
        ),
        commands_before=tuple(("record", text, "", "-n") for text in HOSTILE),
        commands_after=(("sh", "-c", "exit 3"), ("record", "end")),
    )
    machine.run("ln", "-s", "/var/lib", "/srv/link")
    machine.ignite(render(document))
    assert_files(machine, document, bits=~SPECIAL_BITS & 0o7777)
    assert_users(machine, document.users)
    assert_only_ours_is_enabled(machine)
    assert "first boot: after-1 failed with 3\n" in machine.boot()
    assert_files(machine, document)
    assert machine.calls(*STAND_INS) == [
        *document.commands_before,
        *start_commands(document.units),
        ("record", "end"),
    ]
    assert machine.path(f"{STATE}/done").exists()


def test_its_unit_comes_up_with_an_image_whose_presets_enable_nothing(machine: Machine) -> None:
    """As on Flatcar and Fedora CoreOS, where systemd applies the presets at the first boot."""
    systemctl = "/usr/bin/systemctl"
    if not os.access(systemctl, os.X_OK):
        pytest.skip("systemctl is not installed (it comes with systemd)")
    units = (MachineUnit(name="early.service", content=b"[Install]\nWantedBy=multi-user.target\n", start=True),)
    machine.path("/etc/systemd/system-preset").mkdir(parents=True, exist_ok=True)
    machine.path("/etc/systemd/system-preset/99-image.preset").write_text("disable *\n")
    machine.ignite(render(Document(hostname="h", units=units)))
    machine.run(systemctl, "--root=/run/sysroot", "preset", "early.service", UNIT)
    wanted = machine.run("ls", "/etc/systemd/system/multi-user.target.wants").split()
    assert UNIT in wanted
    assert "early.service" not in wanted, "before the class's commands have run"


def test_it_would_say_what_is_wrong(machine: Machine) -> None:
    files = (MachineFile(path="/opt/file", content=b"", mode=0o644, owner="nobody-of-this-name"),)
    with pytest.raises(AssertionError, match=r"stage files: (?s:.)*nobody-of-this-name"):
        machine.ignite(render(Document(hostname="h", files=files)))
