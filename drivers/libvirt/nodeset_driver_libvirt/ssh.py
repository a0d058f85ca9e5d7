"""How libvirt's qemu+ssh transport is made to use the Secret's key and host keys, and nothing of the machine's own.

libvirt runs a program in place of ``ssh`` where its URI says ``command=``; here that is a script which calls ssh with
options that come first and therefore win. May touch: a private temporary folder, removed by `close`.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import quote

from nodeset_driver_libvirt.credentials import Credentials
from nodeset_driver_libvirt.uri import Target

CONNECT_SECONDS: Final = 10

_OPTIONS: Final = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "UpdateHostKeys": "no",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "none",
    "PreferredAuthentications": "publickey",
    "ControlMaster": "no",
    "ControlPath": "none",
    "ForwardAgent": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "ConnectTimeout": str(CONNECT_SECONDS),
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "4",
    "LogLevel": "ERROR",
}


class SshFiles:
    """Key, host keys and script on disk, while a connection needs them."""

    def __init__(self, credentials: Credentials) -> None:
        credentials.require_ssh()
        self._credentials = credentials
        self._folder: Path | None = None

    def uri(self, target: Target) -> str:
        """``target`` for libvirt, with our script in it. Writes the files at the first call."""
        separator = "&" if "?" in target.uri else "?"
        return f"{target.uri}{separator}command={quote(str(self._script()), safe='/')}&no_tty=1"

    def close(self) -> None:
        """Remove the files."""
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _script(self) -> Path:
        if self._folder is None:
            folder = Path(tempfile.mkdtemp(prefix="nodeset-libvirt-"))  # readable by nobody else
            try:
                self._write(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._folder = folder
        return self._folder / "ssh"

    def _write(self, folder: Path) -> None:
        key, known_hosts, script = folder / "key", folder / "known_hosts", folder / "ssh"
        for path in (key, known_hosts):
            path.touch(mode=0o600)
        key.write_text(self._credentials.private_key)
        known_hosts.write_text(self._credentials.known_hosts)
        options = {**_OPTIONS, "IdentityFile": str(key), "UserKnownHostsFile": str(known_hosts)}
        words = ["ssh", "-F", "none", *(f"-o{name}={value}" for name, value in options.items())]
        script.touch(mode=0o700)
        script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
