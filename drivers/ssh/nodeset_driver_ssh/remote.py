"""One call to one host: the programs of ``host/`` are brought, run as root, and their answer is read.

May touch: the network, through ``session``. No data ever becomes part of a command line but plain words.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Final

from nodeset_driver_ssh.applier.bundle import tar_of
from nodeset_driver_ssh.hosts import Host
from nodeset_driver_ssh.session import Finished, Sessions
from nodeset_driver_ssh.text import one_line
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec, Transient, Unauthorized

_FIRST_LINE: Final = "nodeset 1"
_NOT_FOUND: Final = 127
_CALL: Final = "/bin/sh -s --"
_UPLOAD: Final = (
    "umask 077; incoming=/var/lib/nodeset-provider/incoming; "
    'mkdir -p "$incoming" && NODESET_UPLOAD=$(mktemp -d "$incoming/XXXXXX") && export NODESET_UPLOAD || exit 70; '
    'tar -xf - -C "$NODESET_UPLOAD" && exec /bin/sh "$NODESET_UPLOAD/agent.sh" "$@"; '
    'rm -rf "$NODESET_UPLOAD"; exit 70'
)
"""A program of its own and a constant: what is uploaded brings the rest."""


def host_program(name: str) -> bytes:
    """A file of ``host/``."""
    return resources.files(__package__).joinpath("host", name).read_bytes()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said of itself. ``headers`` in their order; ``text`` for people."""

    result: str
    headers: tuple[tuple[str, str], ...] = ()
    text: str = field(default="")

    def one(self, name: str) -> str:
        """The first header of that name, or empty."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> tuple[str, ...]:
        """All headers of that name."""
        return tuple(value for key, value in self.headers if key == name)


class Remote:
    """Calls of ``host/agent.sh``. All can be repeated."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._agent = host_program("agent.sh")

    async def call(self, host: Host, verb: str, *words: str) -> Answer:
        """Raises Unauthorized, InvalidSpec or Transient; each names the host."""
        command = f"{_CALL} {shlex.join((verb, *words))}"
        seconds = host.config.timeout_seconds.call
        return read_answer(
            host, await self._sessions.run(host, _as_root(host, command), stdin=self._agent, seconds=seconds)
        )

    async def upload(self, host: Host, files: Mapping[str, bytes], verb: str, *words: str) -> Answer:
        """As :meth:`call`, with files (name → content) for it."""
        command = f"/bin/sh -c {shlex.quote(_UPLOAD)} nodeset {shlex.join((verb, *words))}"
        data = tar_of({"agent.sh": self._agent, **files, "complete": b""})
        seconds = host.config.timeout_seconds.upload
        return read_answer(host, await self._sessions.run(host, _as_root(host, command), stdin=data, seconds=seconds))


def _as_root(host: Host, command: str) -> str:
    return f"sudo -n -- {command}" if host.becomes_root else command


def read_answer(host: Host, finished: Finished) -> Answer:
    """The answer in what a program left. Raises what else it may mean. Pure."""
    # A login may greet before the program speaks.
    _, found, said = f"\n{finished.output}".partition(f"\n{_FIRST_LINE}\n")
    if not found or finished.status != 0:
        raise _no_answer(host, finished)
    head, _, text = said.partition("\n\n")
    headers = tuple((name, value) for name, _, value in (line.partition("=") for line in head.splitlines()))
    answer = Answer(next((value for name, value in headers if name == "result"), ""), headers, text)
    if answer.result == "not-root":
        raise InvalidSpec(
            f"{host.id}: user {host.entry.user} is not root; set config.sudo to true, or log in as root", field="sudo"
        )
    if answer.result == "lacks":
        raise InvalidSpec(
            f"host {host.id} lacks the program {one_line(answer.one('tool'), 40)}; install it there", field=host.field
        )
    return answer


def _no_answer(host: Host, finished: Finished) -> DriverError:
    lines = [line for line in finished.errors.splitlines() if "unable to resolve host" not in line]
    who, said = f"{host.entry.user}@{host.id}", one_line("\n".join(lines), 400)
    if host.becomes_root and "sudo:" in said and finished.status == 1:
        return Unauthorized(
            f"{who} may not become root without a password ({said}); allow it in /etc/sudoers.d on the host: "
            f"`{host.entry.user} ALL=(ALL) NOPASSWD: ALL`"
        )
    if host.becomes_root and finished.status == _NOT_FOUND and "sudo" in finished.errors:
        return InvalidSpec(
            f"host {host.id} has no sudo ({said}); install it, or let the driver log in as root", field=host.field
        )
    return Transient(f"host {host.id} failed (exit code {finished.status}): {said or 'it said nothing'}")
