"""Logins, one for each host and each way of knowing it, kept and used again; programs run through them, timed.

May touch: the network. A login that broke or fell silent is dropped, and the next call makes another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import asyncssh

from nodeset_driver_ssh.credentials import Credentials
from nodeset_driver_ssh.host_keys import HostKeys
from nodeset_driver_ssh.hosts import Host
from nodeset_driver_ssh.text import one_line
from nodeset_provider.driverkit.errors import DriverError, Transient, Unauthorized

OUTPUT_LIMIT: Final = 64 * 1024
"""Bytes that are read of what a host says; more is no answer of ours."""

_KEPT: Final = 64
"""Logins that stay open while nobody uses them."""
_PROGRAMS: Final = 4
"""At one time on one host: sshd allows ten sessions in a connection unless told otherwise."""
_KEEPALIVE: Final = 15.0

# Its INFO lines are one for each channel, and name users and addresses: more than anybody wants of a driver.
logging.getLogger("asyncssh").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended by itself."""

    status: int
    output: str
    errors: str


@dataclass(slots=True)
class _Door:
    """The one login of a host. ``users`` are running programs."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PROGRAMS))
    connection: asyncssh.SSHClientConnection | None = None
    users: int = 0


class _Client(asyncssh.SSHClient):
    """Asks ``refusal`` about a host key that known_hosts do not hold, and remembers the answer."""

    def __init__(self, refusal: Callable[[asyncssh.SSHKey], Unauthorized | None]) -> None:
        self._refusal = refusal
        self.refused: Unauthorized | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.refused = self._refusal(key)
        return self.refused is None


class Sessions:
    """Runs programs on hosts, as the one who holds these credentials."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._keys = HostKeys(credentials.known_hosts)
        self._doors: dict[tuple[str, int, str, str, bool], _Door] = {}

    @property
    def host_keys(self) -> HostKeys:
        """What is known of the hosts."""
        return self._keys

    async def run(self, host: Host, command: str, *, stdin: bytes = b"", seconds: float) -> Finished:
        """Run ``command`` there, which must be repeatable: it is repeated where a kept login turns out to be dead.

        Raises Unauthorized for a host key or a login that is refused; Transient for everything else.
        """
        entry = host.entry
        # A login that one class vouches for is none for another, which knows the host by another key.
        how = (entry.fingerprint, host.config.trust_on_first_use)
        door = self._doors.setdefault((entry.address, entry.port, entry.user, *how), _Door())
        async with door.gate:
            door.users += 1
            try:
                connection, kept = await self._connected(host, door)
                try:
                    return await self._run(host, connection, command, stdin, seconds)
                except _Lost as lost:
                    self._drop(door, connection)
                    if not kept:
                        raise lost.error from None
                connection, _ = await self._connected(host, door)
                try:
                    return await self._run(host, connection, command, stdin, seconds)
                except _Lost as lost:
                    self._drop(door, connection)
                    raise lost.error from None
            finally:
                door.users -= 1

    async def close(self) -> None:
        """End all logins; the next call would make new ones."""
        doors, self._doors = list(self._doors.values()), {}
        for door in doors:
            if door.connection is not None:
                door.connection.abort()
                await door.connection.wait_closed()

    async def _connected(self, host: Host, door: _Door) -> tuple[asyncssh.SSHClientConnection, bool]:
        """The login, and whether it was there before."""
        async with door.lock:
            if door.connection is not None and not door.connection.is_closed():
                return door.connection, True
            self._make_room()
            door.connection = await self._connect(host)
            return door.connection, False

    async def _connect(self, host: Host) -> asyncssh.SSHClientConnection:
        entry, client = host.entry, _Client(lambda key: self._keys.refusal(host, key))
        who = f"{entry.user}@{host.id}"
        try:
            async with asyncio.timeout(host.config.timeout_seconds.connect):
                connection, _ = await asyncssh.create_connection(
                    lambda: client,
                    entry.address,
                    entry.port,
                    username=entry.user,
                    client_keys=[self._credentials.key],
                    known_hosts=self._keys.trusted(host),
                    # Neither files nor agents of the account that we run as.
                    config=None,
                    agent_path=None,
                    preferred_auth="publickey",
                    x509_trusted_certs=None,
                    keepalive_interval=_KEEPALIVE,
                    connect_timeout=None,
                    login_timeout=0,
                )
        except TimeoutError:
            limit = host.config.timeout_seconds.connect
            raise Transient(f"host {host.id} let nobody in within {limit:g} s") from None
        except asyncssh.PermissionDenied:
            raise Unauthorized(
                f"{who} does not take the ssh-privatekey of the credentials Secret; add its public key to "
                f"~{entry.user}/.ssh/authorized_keys on the host"
            ) from None
        except asyncssh.HostKeyNotVerifiable as error:
            if client.refused is not None:
                raise client.refused from None
            raise Unauthorized(f"host {host.id}: {one_line(str(error), 300)}") from None
        except (asyncssh.Error, OSError, ValueError) as error:
            raise Transient(f"host {host.id} cannot be reached: {one_line(_words(error), 300)}") from None
        return connection

    async def _run(
        self, host: Host, connection: asyncssh.SSHClientConnection, command: str, stdin: bytes, seconds: float
    ) -> Finished:
        try:
            async with asyncio.timeout(seconds):
                process = await connection.create_process(command, encoding=None)
                try:
                    process.stdin.write(stdin)
                    process.stdin.write_eof()
                    output, errors = await asyncio.gather(_read(process.stdout), _read(process.stderr))
                    await process.wait_closed()
                finally:
                    process.close()
        except TimeoutError:
            raise _Lost(Transient(f"host {host.id} gave no answer within {seconds:g} s after the login")) from None
        except (asyncssh.Error, OSError) as error:
            raise _Lost(
                Transient(f"host {host.id} went away in the middle of a call: {one_line(_words(error), 200)}")
            ) from None
        if process.exit_status is None or process.exit_status < 0:
            raise _Lost(Transient(f"host {host.id} went away in the middle of a call"))
        return Finished(process.exit_status, output, errors)

    def _drop(self, door: _Door, connection: asyncssh.SSHClientConnection) -> None:
        connection.abort()
        if door.connection is connection:
            door.connection = None

    def _make_room(self) -> None:
        """Those that have waited longest go first."""
        open_doors = [(key, door) for key, door in self._doors.items() if door.connection is not None]
        for _, door in open_doors[: max(0, len(open_doors) - _KEPT + 1)]:
            if door.users == 0 and door.connection is not None:
                door.connection.close()
                door.connection = None


class _Lost(Exception):
    """The login is of no use any more."""

    def __init__(self, error: DriverError) -> None:
        super().__init__()
        self.error = error


async def _read(stream: asyncssh.SSHReader[bytes]) -> str:
    """All of it, up to the limit: a host of somebody else's may say anything, without an end."""
    said = bytearray()
    while len(said) < OUTPUT_LIMIT and (more := await stream.read(OUTPUT_LIMIT - len(said))):
        said += more
    return said.decode("utf-8", "replace")


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
