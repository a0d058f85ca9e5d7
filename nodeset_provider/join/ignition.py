"""Renderer Ignition: the document as an Ignition config of specification 3.4 (Flatcar, Fedora CoreOS).

Ignition runs in the initramfs of the first boot, writes users and files (in this order), says which units come up, and
runs nothing. All that has to be run is run by one unit of ours (:mod:`nodeset_provider.join.first_boot`).

Specification: https://coreos.github.io/ignition/configuration-v3_4/
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any, Final

from nodeset_provider.join.compression import gzipped_if_worth
from nodeset_provider.join.document import Document, MachineFile, MachineUser, unit_files
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.first_boot import UNIT, with_first_boot

VERSION: Final = "3.4.0"
HOSTNAME: Final = "/etc/hostname"
SUDOERS: Final = "/etc/sudoers.d/90-nodeset"

_GROUPS_OF_IMAGES: Final = frozenset(
    {"audio", "cdrom", "dialout", "disk", "docker", "floppy", "input", "kmem", "kvm", "lock", "mem", "render", "rkt"}
    | {"sgx", "sudo", "sys", "systemd-journal", "tape", "tty", "users", "utmp", "video", "wheel"}
)
"""Groups without a user of their name on Flatcar and Fedora CoreOS. useradd refuses such a user, and a machine whose
Ignition fails does not boot."""

_IN_MEMORY: Final = ("/dev/", "/proc/", "/run/", "/sys/", "/tmp/", "/var/lock/", "/var/run/")  # noqa: S108 names only
"""Empty at each boot on Flatcar and Fedora CoreOS, or none of a disk: what Ignition writes there before it is gone."""


def render(document: Document) -> bytes:
    """The config as JSON in ASCII. Deterministic.

    Raises:
        InvalidJoin: the mode needs a reader that machines with Ignition do not have, or the class writes a file that
            this renderer has to write.
    """
    if document.parts:
        raise InvalidJoin(
            "spec.join.format",
            "this join mode needs CloudInit: its user-data has parts for programs that do not read Ignition",
        )
    document = with_first_boot(document)
    # Unit files are files here too: as contents of units Ignition parses them, refuses lines of 2048 bytes and more (a
    # kubelet with many labels has one), and a machine whose config is refused never boots.
    files = [*_own_files(document), *unit_files(document.units), *document.files]
    _check_paths(files)
    config: dict[str, Any] = {
        "ignition": {"version": VERSION},
        "passwd": {"users": [_user(index, user) for index, user in enumerate(document.users)]},
        "storage": {"files": [_file(file) for file in files]},
        # the others are enabled by ours
        "systemd": {"units": [{"name": unit.name, "enabled": True} for unit in document.units if unit.name == UNIT]},
    }
    return json.dumps(config, separators=(",", ":")).encode("ascii") + b"\n"


def _own_files(document: Document) -> Iterable[MachineFile]:
    if document.hostname:
        yield MachineFile(path=HOSTNAME, content=f"{document.hostname}\n".encode(), mode=0o644)
    sudo = [f"{user.name} ALL=(ALL) NOPASSWD:ALL\n" for user in document.users if user.sudo]
    if sudo:
        yield MachineFile(path=SUDOERS, content="".join(sudo).encode(), mode=0o440)


def _check_paths(files: Iterable[MachineFile]) -> None:
    """What Ignition cannot do with a path: write it twice, or before what it lies in is mounted.

    The rest of what is here has been checked by the mode.
    """
    seen: set[str] = set()
    for file in files:
        if file.path.startswith(_IN_MEMORY):
            raise InvalidJoin(
                "spec.provisioning.files",
                f"{file.path} is gone when the machine has booted: Ignition writes files before that; "
                "choose a path on the disk, or write it by a command",
            )
        if file.path in seen:
            raise InvalidJoin(
                "spec.provisioning", f"{file.path} is written by the join configuration; choose another path"
            )
        seen.add(file.path)


def _file(file: MachineFile) -> dict[str, Any]:
    user, _, group = file.owner.partition(":")
    packed = gzipped_if_worth(file.content, plain=len(file.content) * 4 // 3)
    contents = {"source": _data_url(file.content if packed is None else packed)}
    if packed is not None:
        contents["compression"] = "gzip"
    entry: dict[str, Any] = {"path": file.path, "mode": file.mode, "overwrite": True, "contents": contents}
    # root is what they are without a word
    if user != "root":
        entry["user"] = {"name": user}
    if group not in ("", "root"):
        entry["group"] = {"name": group}
    return entry


def _data_url(content: bytes) -> str:
    return f"data:;base64,{base64.b64encode(content).decode('ascii')}"


def _user(index: int, user: MachineUser) -> dict[str, Any]:
    if user.name in _GROUPS_OF_IMAGES:
        raise InvalidJoin(
            f"spec.provisioning.users[{index}].name",
            f"{user.name} is a group on images with Ignition, which makes no user of that name; choose another",
        )
    entry: dict[str, Any] = {"name": user.name, "shell": "/bin/bash"}
    if user.ssh_authorized_keys:
        # a key that is there twice makes the config invalid
        entry["sshAuthorizedKeys"] = list(dict.fromkeys(user.ssh_authorized_keys))
    return entry
