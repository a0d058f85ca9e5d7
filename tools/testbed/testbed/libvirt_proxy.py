"""Stands between a libvirt client and a libvirtd: reads the calls that pass, and cuts the line where a test wants it.

May touch: two UNIX sockets, threads. Knows of libvirt's protocol only how its messages begin (src/rpc/virnetprotocol.x:
length, program, version, procedure, type, serial, status).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from testbed.processes import wait_until

REMOTE_PROGRAM: Final = 0x20008086
DOMAIN_CREATE: Final = 9
VOLUME_CREATE: Final = 93
DOMAIN_UNDEFINE_FLAGS: Final = 231
DOMAIN_DEFINE: Final = 350
"""Procedures of the remote program (src/remote/remote_protocol.x)."""

_HEADER: Final = struct.Struct(">IIIiiIi")
_CALL, _REPLY = 0, 1
_CONNECT_CALLS: Final = 66, 1, 2, 60, 114
"""AUTH_LIST, OPEN, CLOSE, SUPPORTS_FEATURE, …: of a connection, not of what it is used for."""


@dataclass(frozen=True)
class Cut:
    """At the ``nth`` call of that procedure. ``before``: it is never made; ``after``: its answer is lost."""

    when: Literal["before", "after"]
    procedure: int
    nth: int = 1


class LibvirtProxy:
    """``with LibvirtProxy(libvirtd.socket) as proxy:``; clients connect to `uri`.

    Attributes:
        calls: procedures that were called since `record`, without those of opening and closing a connection.
        attempts: connections that clients opened, those included that led nowhere.
    """

    def __init__(self, upstream: Path) -> None:
        self._upstream = upstream
        self._folder = tempfile.TemporaryDirectory(prefix="nodeset-libvirt-proxy-")
        self.socket = Path(self._folder.name) / "sock"
        self.calls: list[int] = []
        self.attempts = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._lock = threading.Lock()
        self._lines: set[_Line] = set()
        self._cut: Cut | None = None
        self._seen = 0
        self._refusing = False
        self.flowing = threading.Event()
        self.flowing.set()

    @property
    def uri(self) -> str:
        """What libvirt clients connect to."""
        return f"qemu+unix:///system?socket={self.socket}"

    def __enter__(self) -> Self:
        self._listener.bind(str(self.socket))
        self._listener.listen()
        threading.Thread(target=self._accept, name="libvirt-proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        self._folder.cleanup()

    def record(self) -> None:
        """Forget the calls so far."""
        with self._lock:
            self.calls.clear()

    def wait_for(self, procedure: int) -> None:
        """Block until it was called since `record`. Raises TimeoutError after half a minute."""
        wait_until(lambda: procedure in self.calls, timeout=30, what=f"procedure {procedure} was called", interval=0.01)

    def cut(self, cut: Cut) -> None:
        """Break the connection at that call, once."""
        with self._lock:
            self._cut, self._seen = cut, 0

    def refuse(self, *, refusing: bool) -> None:
        """Close every connection, and while ``refusing`` every new one at once."""
        self._refusing = refusing
        self.drop()

    def hold(self) -> None:
        """Pass nothing on until `resume`."""
        self.flowing.clear()

    def resume(self) -> None:
        """Pass on what was held."""
        self.flowing.set()

    def drop(self) -> None:
        """Close every connection."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.close()

    def forget(self, line: _Line) -> None:
        """Called by a line that has ended."""
        with self._lock:
            self._lines.discard(line)

    def judge(self, procedure: int) -> Literal["", "before", "after"]:
        """What becomes of a call."""
        with self._lock:
            if procedure in _CONNECT_CALLS:
                return ""
            self.calls.append(procedure)
            cut = self._cut
            if cut is None or cut.procedure != procedure:
                return ""
            self._seen += 1
            if self._seen < cut.nth:
                return ""
            self._cut = None
            return cut.when

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.attempts += 1
            if self._refusing:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._upstream))
            except OSError:
                client.close()
                server.close()
                continue
            line = _Line(self, client, server)
            with self._lock:
                self._lines.add(line)
            line.start()


class _Line:
    """One client's connection: a thread for each direction."""

    def __init__(self, proxy: LibvirtProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._doomed: int | None = None

    def start(self) -> None:
        for source, target, inspect in (
            (self._client, self._server, self._call_passes),
            (self._server, self._client, self._reply_passes),
        ):
            threading.Thread(target=self._pump, args=(source, target, inspect), daemon=True).start()

    def close(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pump(self, source: socket.socket, target: socket.socket, passes: Callable[[bytes], bool]) -> None:
        with contextlib.suppress(OSError):
            while (message := _read_message(source)) is not None:
                self._proxy.flowing.wait()
                if not passes(message):
                    break
                target.sendall(message)
        self.close()
        self._proxy.forget(self)

    def _call_passes(self, message: bytes) -> bool:
        _, program, _, procedure, kind, serial, _ = _HEADER.unpack_from(message)
        if program != REMOTE_PROGRAM or kind != _CALL:
            return True
        verdict = self._proxy.judge(procedure)
        if verdict == "after":
            self._doomed = serial
        return verdict != "before"

    def _reply_passes(self, message: bytes) -> bool:
        _, program, _, _, kind, serial, _ = _HEADER.unpack_from(message)
        return not (program == REMOTE_PROGRAM and kind == _REPLY and serial == self._doomed)


def _read_message(source: socket.socket) -> bytes | None:
    head = _read(source, 4)
    if head is None:
        return None
    rest = _read(source, int.from_bytes(head) - 4)
    return None if rest is None else head + rest


def _read(source: socket.socket, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        piece = source.recv(size - len(content))
        if not piece:
            return None
        content += piece
    return bytes(content)
