"""The calls to a host by their meaning: what :mod:`remote` carries there and back, as values.

May touch: hosts, through ``remote``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from nodeset_driver_ssh.hosts import Host
from nodeset_driver_ssh.remote import Answer, Remote, host_program
from nodeset_driver_ssh.state import HostState, read_state
from nodeset_driver_ssh.text import one_line, printable
from nodeset_provider.driverkit.errors import InvalidSpec, Transient


@dataclass(frozen=True, slots=True)
class Claim:
    """What a host is claimed with: ``files`` are all that it needs to go on by itself."""

    cluster: str
    machine: str
    files: Mapping[str, bytes] = field(repr=False)


class Reset(enum.Enum):
    """How far the end of a machine is."""

    GONE = "gone"
    RUNNING = "resetting"
    FOREIGN = "foreign"
    """It is another cluster's."""


class HostCalls:
    """See :class:`nodeset_driver_ssh.placement.Calls`. Only with a ``claim`` it can claim."""

    def __init__(self, remote: Remote, claim: Claim | None = None) -> None:
        self._remote = remote
        self._claim = claim

    async def look(self, host: Host, token: str) -> HostState:
        """What the host is; changes nothing."""
        return read_state(host, await self._remote.call(host, "look", token))

    async def note(self, host: Host, token: str, target: Host) -> None:
        """Remember that ``token`` is about to be tried on ``target``."""
        answer = await self._remote.call(host, "note", token, target.id)
        if answer.result == "closed":
            raise InvalidSpec("the machine of this token was deleted; it is not made again")

    async def shut(self, host: Host, token: str) -> HostState:
        """The token's machine is to go: note it no more. What the host knows of it."""
        return read_state(host, await self._remote.call(host, "shut", token))

    async def close(self, host: Host, token: str) -> None:
        """The token's machine is gone."""
        await self._remote.call(host, "close", token)

    async def fence(self, host: Host, token: str) -> HostState:
        """Refuse the token for good, unless it has the host already."""
        return read_state(host, await self._remote.call(host, "fence", token))

    async def claim(self, host: Host, token: str) -> HostState:
        """Claim the host and start applying; where that cannot be, refuse the token for good."""
        if self._claim is None:
            raise AssertionError("these calls are for looking only")
        claim = self._claim
        words = (token, claim.cluster, claim.machine, host.id)
        return read_state(host, await self._remote.upload(host, claim.files, "claim", *words))

    async def resume(self, host: Host, token: str) -> HostState:
        """Go on with what a reboot broke off."""
        return read_state(host, await self._remote.call(host, "resume", token))

    async def reset(self, host: Host, token: str, cluster: str) -> Reset:
        """Start the reset, or hear how far it is. Raises Transient where it failed, as often as it is asked for."""
        seconds = f"{host.config.timeout_seconds.step:g}".encode()
        files = {"reset.sh": host_program("reset.sh"), "commands/seconds": seconds}
        for index, command in enumerate(host.config.reset_commands):
            files[f"commands/{index:04d}"] = command.encode()
        answer = await self._remote.upload(host, files, "reset", token, cluster)
        said = one_line(answer.text, 700)
        if answer.result == "stuck":
            raise Transient(f"host {host.id}: the machine cannot be stopped: {said}")
        if answer.result == "quarantined":
            raise Transient(
                f"host {host.id} is in quarantine: the machine is stopped, but its reset failed: {said}; put it right "
                "there and remove /var/lib/nodeset-provider/quarantine, until then nobody claims the host"
            )
        try:
            return Reset(answer.result)
        except ValueError:
            raise Transient(f"host {host.id} gave an answer without sense to the reset") from None

    async def diagnose(self, host: Host, token: str, limit: int) -> str:
        """The ends of the logs of what was run there."""
        return printable((await self._remote.call(host, "diagnose", token)).text, limit)

    async def facts(self, host: Host) -> Answer:
        """Cores, memory, disk, architecture."""
        return await self._remote.call(host, "facts")
