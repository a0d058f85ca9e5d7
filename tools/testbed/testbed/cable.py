"""A network cable to a host that serves each connection by a program: a port that can be pulled or fall silent.

May touch: sockets, and the programs that serve them, which end with their connection.
"""

from __future__ import annotations

import enum
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Final

from testbed.ports import HOST

_LOOK: Final = 0.05
_CHUNK: Final = 65536


class Plug(enum.Enum):
    """What becomes of bytes and of connections."""

    IN = "in"
    PULLED = "pulled"
    """All connections are reset, and new ones too."""
    SILENT = "silent"
    """Connections are taken and nothing gets through, either way."""


class Cable:
    """``serve()`` is the argument vector for a new connection, which is its standard input; None: nobody is there."""

    def __init__(self, serve: Callable[[], list[str] | None]) -> None:
        self.plug = Plug.IN
        self.connections = 0
        self._serve = serve
        self._closed = False
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self._listener.settimeout(_LOOK)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, name=f"cable-{self.port}", daemon=True)
        self._accepting.start()

    def jolt(self) -> None:
        """Out for a moment: all connections that there were are reset."""
        self.plug = Plug.PULLED
        for thread in tuple(self._threads):
            thread.join()
        self.plug = Plug.IN

    def close(self) -> None:
        """End all connections and give the port up."""
        self._closed = True
        self._accepting.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                outside, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._carry, args=(outside,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, outside: socket.socket) -> None:
        outside.settimeout(None)
        while self.plug is Plug.SILENT and not self._closed:
            threading.Event().wait(_LOOK)
        argv = None if self.plug is Plug.PULLED or self._closed else self._serve()
        if argv is None:
            _reset(outside)
            return
        inside, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            server = subprocess.Popen(argv, stdin=end, stdout=end, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            self._pump(outside, inside)
        finally:
            inside.close()
            server.kill()
            server.wait()

    def _pump(self, outside: socket.socket, inside: socket.socket) -> None:
        other = {outside: inside, inside: outside}
        while not self._closed and self.plug is not Plug.PULLED:
            if self.plug is Plug.SILENT:
                threading.Event().wait(_LOOK)
                continue
            ready, _, _ = select.select([outside, inside], [], [], _LOOK)
            for source in ready:
                try:
                    data = source.recv(_CHUNK)
                    if not data:
                        outside.close()
                        return
                    other[source].sendall(data)
                except OSError:
                    _reset(outside)
                    return
        _reset(outside)


def _reset(connection: socket.socket) -> None:
    """Close it so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
