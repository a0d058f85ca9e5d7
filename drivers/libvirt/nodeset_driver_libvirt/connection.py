"""One libvirt: its connection, opened when it is needed and again when it was lost, and the threads that use it.

May touch: libvirt, threads, the files of `SshFiles`. Whatever libvirt raises leaves this module as a DriverError.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import structlog

from nodeset_driver_libvirt import library
from nodeset_driver_libvirt.credentials import Credentials
from nodeset_driver_libvirt.failures import call_failure, connect_failure, shorten
from nodeset_driver_libvirt.library import Connection, Libvirt, LibvirtError
from nodeset_driver_libvirt.ssh import SshFiles
from nodeset_driver_libvirt.uri import Target
from nodeset_driver_libvirt.workers import Abandoned, Wanted, Workers
from nodeset_provider.driverkit.errors import DriverError, Transient

T = TypeVar("T")

KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 4
"""A host that answers nothing for 25 s is lost: every call that waits for it then ends."""
_CHANGING: Final = 6
_ASKING: Final = 4
"""Threads. What only asks does not wait behind creates, each of which takes a second or more."""

_log = structlog.get_logger(__name__)
_events_lock = threading.Lock()
_events_run = False


class Host:
    """See the module. Nothing is opened before the first call."""

    def __init__(self, target: Target, credentials: Credentials) -> None:
        self.libvirt = library.load()
        self.name = target.uri
        self._target = target
        self._ssh = SshFiles(credentials) if target.transport == "ssh" else None
        self._opening = threading.Lock()
        self._connection: Connection | None = None
        self._closed = False
        self._changing = Workers(_CHANGING, "libvirt-change")
        self._asking = Workers(_ASKING, "libvirt-ask")
        self._tokens_lock = threading.Lock()
        self._tokens: dict[str, tuple[threading.Lock, int]] = {}

    async def ask(self, work: Callable[[Connection], T]) -> T:
        """Run what changes nothing. Raises DriverErrors only."""
        return await self._asking.run(lambda _wanted: self._guarded(work))

    async def change(self, token: str, work: Callable[[Connection, Wanted], T]) -> T:
        """Run what makes or takes away the machine of ``token``; one at a time for each token.

        Work whose caller was cancelled is still running until its next step: a delete waits here until it has ended,
        or a machine would be made after it was taken away.
        """

        def alone(wanted: Wanted) -> T:
            with self._alone(token):
                wanted.check()
                return self._guarded(lambda connection: work(connection, wanted))

        return await self._changing.run(alone)

    def close(self) -> None:
        """Let go of the connection. May block for as long as a connection is being opened."""
        self._changing.close()
        self._asking.close()
        with self._opening:
            self._closed = True
            connection, self._connection = self._connection, None
            if self._ssh is not None:
                self._ssh.close()
        if connection is not None:
            with contextlib.suppress(self.libvirt.libvirtError):
                connection.close()

    @contextlib.contextmanager
    def _alone(self, token: str) -> Iterator[None]:
        with self._tokens_lock:
            lock, users = self._tokens.get(token, (threading.Lock(), 0))
            self._tokens[token] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._tokens_lock:
                lock, users = self._tokens.pop(token)
                if users > 1:
                    self._tokens[token] = (lock, users - 1)

    def _guarded(self, work: Callable[[Connection], T]) -> T:
        connection = self._open()
        try:
            return work(connection)
        except self.libvirt.libvirtError as error:
            message = error.get_error_message() or str(error)
            if not self._is_alive(connection):
                self._forget(connection)
                raise Transient(f"{self.name}: the connection to libvirt was lost: {shorten(message)}") from None
            raise call_failure(error.get_error_code() or 0, message, self.name) from None
        except Abandoned:
            raise Transient(f"{self.name}: given up, since nobody waits for it") from None

    def _open(self) -> Connection:
        with self._opening:
            if self._closed:
                raise Transient(f"{self.name}: the driver is closed")
            if self._connection is not None and self._is_alive(self._connection):
                return self._connection
            if self._connection is not None:
                with contextlib.suppress(self.libvirt.libvirtError):
                    self._connection.close()
                self._connection = None
                _log.info("libvirt was lost, connecting again", host=self.name)
            _run_events(self.libvirt)
            try:
                uri = self._ssh.uri(self._target) if self._ssh is not None else self._target.uri
                connection = self.libvirt.open(uri)
            except self.libvirt.libvirtError as error:
                raise self._connect_failure(error) from None
            except OSError as error:
                raise Transient(f"{self.name}: the files for ssh cannot be written: {error.strerror}") from None
            with contextlib.suppress(self.libvirt.libvirtError):  # a libvirt without keepalive is only slower to miss
                connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
            self._connection = connection
            return connection

    def _connect_failure(self, error: LibvirtError) -> DriverError:
        return connect_failure(error.get_error_code() or 0, error.get_error_message() or str(error), self.name)

    def _is_alive(self, connection: Connection) -> bool:
        try:
            return bool(connection.isAlive())
        except self.libvirt.libvirtError:
            return False

    def _forget(self, connection: Connection) -> None:
        with self._opening:
            if self._connection is connection:
                self._connection = None
        with contextlib.suppress(self.libvirt.libvirtError):
            connection.close()


def _run_events(libvirt: Libvirt) -> None:
    """Start libvirt's event loop, of which there is one in a process: keepalive needs it, and it notices lost hosts."""
    global _events_run  # noqa: PLW0603 - libvirt's is global too
    with _events_lock:
        if _events_run:
            return
        libvirt.virEventRegisterDefaultImpl()
        _events_run = True

    def run() -> None:
        while True:
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError:
                time.sleep(1)  # it may fail again at once

    threading.Thread(target=run, name="libvirt-events", daemon=True).start()
