"""Which libvirt is meant: the URIs that are served, and why no others. Pure.

A URI comes from a NodeClass, and libvirt's own URIs can do more than name a host: ``?command=`` runs a program of the
provider's machine, ``?no_verify=1`` trusts any host key, ``?keyfile=`` reads any file. So URIs are read strictly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

from nodeset_provider.driverkit.errors import InvalidSpec

DEFAULT_URI: Final = "qemu:///system"
_FORMS: Final = "qemu:///system, qemu+unix:///system?socket=/path, or qemu+ssh://user@host[:port]/system"
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9a-fA-F:]{2,45}")
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_SOCKET: Final = re.compile(r"/[A-Za-z0-9_./+@-]{1,250}")


@dataclass(frozen=True)
class Target:
    """A libvirt that may be connected to. ``host`` is empty for one of this machine."""

    transport: Literal["local", "ssh"]
    path: str
    socket: str = ""
    user: str = ""
    host: str = ""
    port: int = 0

    @property
    def uri(self) -> str:
        """As libvirt reads it, without what the transport adds."""
        query = f"?socket={self.socket}" if self.socket else ""
        if self.transport == "local":
            return f"{'qemu+unix' if self.socket else 'qemu'}://{self.path}{query}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"qemu+ssh://{user}{host}{f':{self.port}' if self.port else ''}{self.path}{query}"


def parse_uri(text: str) -> Target:
    """Raises InvalidSpec that says which forms are served."""
    try:
        url = urlsplit(text)
        port = url.port
        query = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
    except ValueError:
        raise _refused(text, "it is no URI") from None
    if url.scheme not in {"qemu", "qemu+unix", "qemu+ssh"}:
        raise _refused(text, f"{url.scheme or 'nothing'} is not served")
    if url.path not in {"/system", "/session"} or url.fragment or url.password is not None:
        raise _refused(text, "it ends in /system or /session, and holds no password")
    if [name for name, _ in query if name != "socket"] or len(query) > 1:
        raise _refused(text, "of its parameters only socket is served; keys and host keys come from the Secret")
    socket = query[0][1] if query else ""
    if query and not _SOCKET.fullmatch(socket):
        raise _refused(text, "socket is an absolute path")
    if url.scheme != "qemu+ssh":
        if url.netloc:
            raise _refused(text, f"{url.scheme} is on this machine and takes no host; qemu+ssh does")
        return Target("local", url.path, socket)
    if not url.hostname or not _HOST.fullmatch(url.hostname):
        raise _refused(text, "it needs a host name or an address")
    if url.username is not None and not _USER.fullmatch(url.username):
        raise _refused(text, "its user is no user name")
    return Target("ssh", url.path, socket, url.username or "", url.hostname, port or 0)


def _refused(text: str, why: str) -> InvalidSpec:
    # A password that somebody wrote into it stays out of the message.
    shown = re.sub(r"//[^/@]*@", "//…@", text)[:200]
    return InvalidSpec(f"{shown!r}: {why}; write {_FORMS}", field="uri")
