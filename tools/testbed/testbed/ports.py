"""Ports of the loopback interface that nobody else is given between the choice and the bind.

May touch: sockets, all of them bound and none listening.
"""

from __future__ import annotations

import contextlib
import random
import socket

HOST = "127.0.0.1"
_UNCLAIMED = range(15000, 30000)
"""Below the ports that Linux gives to outgoing connections (ip_local_port_range begins at 32768)."""


class ReservedPort:
    """A port for a program that binds with SO_REUSEPORT: our own socket stays bound beside it until `close`.

    Nothing is ever delivered to a bound socket that does not listen.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((HOST, 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Let the port go."""
        self._socket.close()


class ClaimedPort:
    """A port for a program that wants it for itself, and wants the same one after a restart.

    No testbed on this machine takes a port that another one has claimed: the claim is a socket of an abstract name,
    which the kernel lets go when its owner ends. From other programs it is safe as far as they keep off our range.

    Raises:
        OSError: no port of the range is free.
    """

    def __init__(self) -> None:
        for number in random.sample(_UNCLAIMED, len(_UNCLAIMED)):
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0nodeset-testbed-port-{number}")
                with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
                    probe.bind((HOST, number))
            except OSError:
                claim.close()
                continue
            self._claim = claim
            self.number = number
            return
        raise OSError(f"no port from {_UNCLAIMED.start} to {_UNCLAIMED.stop - 1} is free")

    def close(self) -> None:
        """Give the claim up."""
        self._claim.close()
