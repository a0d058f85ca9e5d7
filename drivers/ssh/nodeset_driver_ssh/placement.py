"""Which host a token has: exactly one, whatever crashes, and whichever hosts are out of reach.

A host that does not answer may bear the token's claim, and must not be passed over; yet one dead host must not keep all
others from being used. So before a host is tried, that is *noted* on witnesses: the first hosts of the pool in the
token's own order. Decision record 017 tells why this is enough; in short:

1. A host is tried for a token only once more than half of its witnesses hold a note that says so. Whoever has asked
   enough witnesses therefore knows every host that may bear the claim: all others are out of the question, dead or not.
2. Having noted, one reads the notes again. Of two calls that try different hosts at one time, at least one sees the
   other's note.
3. A host is claimed only once all others that were noted have *refused* the token for good (``fence``), or bear the
   claim, in which case that is the answer.

May touch: hosts, through ``Calls``. Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from nodeset_driver_ssh.asking import ask_all, ask_until, worst
from nodeset_driver_ssh.hosts import Host, in_order_of, quorum_of
from nodeset_driver_ssh.state import HostState
from nodeset_driver_ssh.text import some
from nodeset_provider.driverkit.errors import DriverError, InsufficientCapacity, InvalidSpec, Transient

T = TypeVar("T")
_PARTING: Final = 5.0
"""Seconds for what is only tidiness."""


class Calls(Protocol):
    """What is asked of one host; each may raise a DriverError, and can be repeated."""

    async def look(self, host: Host, token: str) -> HostState:
        """What it is; changes nothing."""
        ...

    async def note(self, host: Host, token: str, target: Host) -> None:
        """Remember, durably, that ``token`` is about to be tried on ``target``."""
        ...

    async def shut(self, host: Host, token: str) -> HostState:
        """Take no more notes of the token, whose machine is to go; what it is and knows at that moment."""
        ...

    async def close(self, host: Host, token: str) -> None:
        """Forget the notes, and take no more of them: the token's machine is gone."""
        ...

    async def fence(self, host: Host, token: str) -> HostState:
        """Refuse the token for good, unless it has the host already."""
        ...

    async def claim(self, host: Host, token: str) -> HostState:
        """Claim it; where somebody else has it, or it is in quarantine, refuse the token for good."""
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """One pool."""

    hosts: Sequence[Host]
    calls: Calls

    async def find(self, token: str) -> HostState | None:
        """The host that bears the token's claim; None where certainly none does. Raises where that cannot be known."""
        survey = await self._survey(token)
        if survey.owner is None and survey.doubt is not None:
            raise survey.doubt
        return survey.owner

    async def withdraw(self, token: str) -> HostState | None:
        """As :meth:`find`; where it answers None, a call that is still on its way will not claim any host either.

        Its notes come after the witnesses were shut, and are too few; or one of the witnesses that answered here had
        such a note when it was shut, and then the host that it speaks of refuses the token.
        """
        survey = await self._survey(token, self.calls.shut)
        if survey.owner is not None:
            return survey.owner
        if survey.doubt is not None:
            raise survey.doubt
        for host in survey.open:
            state = await self.calls.fence(host, token)
            if state.token == token:
                return state
        return None

    async def close(self, token: str) -> None:
        """The machine is gone: tell the witnesses. One that does not answer keeps its notes, which harm nobody."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                await ask_all(quorum_of(token, self.hosts).witnesses, lambda host: self.calls.close(host, token))

    async def place(self, token: str) -> HostState:
        """The host of that token, claimed now unless it was before.

        Raises InsufficientCapacity where all hosts are taken; Transient or Unauthorized where too few answer.
        """
        noted: set[str] = set()
        while True:
            survey = await self._survey(token)
            if survey.owner is not None:
                return survey.owner
            if survey.doubt is not None:
                # Whatever keeps us out, the claim may be there: an error that vouches for the contrary is out of place.
                raise Transient(survey.doubt.message)
            if survey.closed:
                raise InvalidSpec("the machine of this token was deleted; it is not made again")
            target = survey.open[0] if survey.open else await self._free(token, survey)
            if target.id not in noted:
                # By ourselves, even where a note is there: who wrote it may not have reached enough witnesses.
                await self._note(token, target)
                noted.add(target.id)
                continue
            for other in survey.open[1:]:
                state = await self.calls.fence(other, token)
                if state.token == token:
                    return state
            state = await self.calls.claim(target, token)
            if state.token == token:
                return state

    async def _survey(self, token: str, ask: Callable[[Host, str], Awaitable[HostState]] | None = None) -> _Survey:
        """``ask`` is what witnesses are asked: to look, unless something else is given."""
        quorum, ask = quorum_of(token, self.hosts), ask or self.calls.look
        notes = await self._enough(
            quorum.witnesses, quorum.read, lambda host: ask(host, token), "which host has this machine is known"
        )
        noted = {target for state in notes for target in state.notes}
        noted |= {state.host.id for state in notes if state.token == token}
        known = {host.id: host for host in self.hosts}
        if strangers := sorted(noted - known.keys()):
            raise Transient(f"this machine may be on {some(strangers)}, no longer in config.hosts; put it back there")
        targets = in_order_of(token, (known[name] for name in noted))
        answers = await ask_all(targets, lambda host: self.calls.look(host, token))
        states = {name: answer for name, answer in answers.items() if isinstance(answer, HostState)}
        return _Survey(
            owner=next((state for state in states.values() if state.token == token), None),
            noted=frozenset(noted),
            open=tuple(host for host in targets if host.id in states and not states[host.id].refused),
            doubt=next((answer for answer in answers.values() if isinstance(answer, DriverError)), None),
            closed=any(state.closed for state in notes),
        )

    async def _note(self, token: str, target: Host) -> None:
        quorum = quorum_of(token, self.hosts)
        await self._enough(
            quorum.witnesses,
            quorum.write,
            lambda host: self.calls.note(host, token, target),
            f"host {target.id} is claimed",
        )

    async def _free(self, token: str, survey: _Survey) -> Host:
        """A host that this token has not been tried on: the first that says that it is free."""
        candidates = [host for host in in_order_of(token, self.hosts) if host.id not in survey.noted]
        answers: dict[str, HostState | DriverError] = {}

        def is_free(host: Host, answer: HostState | DriverError) -> bool:
            answers[host.id] = answer
            return isinstance(answer, HostState) and answer.is_free and not answer.refused

        found = await ask_until(candidates, lambda host: self.calls.look(host, token), is_free)
        if found is not None:
            return found
        raise self._none(len(survey.noted), answers)

    def _none(self, tried: int, answers: Mapping[str, HostState | DriverError]) -> DriverError:
        states = {name: answer for name, answer in answers.items() if isinstance(answer, HostState)}
        errors = {name: answer for name, answer in answers.items() if isinstance(answer, DriverError)}
        if errors and not states and not tried:
            return worst(errors.values())
        quarantined = [f"{name} ({state.quarantine})" for name, state in states.items() if state.quarantine]
        claimed = tried + len(states) - len(quarantined)
        said = [f"{claimed} claimed", f"{len(quarantined)} in quarantine", f"{len(errors)} not to be asked"]
        why = f"none of the {len(self.hosts)} hosts is free: {', '.join(said)}"
        if quarantined:
            why += (
                f"; in quarantine until its file /var/lib/nodeset-provider/quarantine is removed: {some(quarantined)}"
            )
        if not quarantined and not errors:
            why += "; add hosts to config.hosts, or delete a Machine that has one"
        if errors:
            why += f"; not to be asked: {some(error.message for error in errors.values())}"
        return InsufficientCapacity(why)

    async def _enough(
        self, hosts: Sequence[Host], needed: int, ask: Callable[[Host], Awaitable[T]], what: str
    ) -> list[T]:
        """The answers of ``needed`` hosts, as soon as they are there."""
        answers: list[T] = []
        errors: dict[str, DriverError] = {}

        def enough(host: Host, answer: T | DriverError) -> bool:
            if isinstance(answer, DriverError):
                errors[host.id] = answer
            else:
                answers.append(answer)
            return len(answers) >= needed

        if await ask_until(hosts, ask, enough) is not None:
            return answers
        if len(errors) == len(hosts):
            raise worst(errors.values())
        raise Transient(
            f"{needed} of the hosts {some(host.id for host in hosts)} must answer before {what}, or two could be "
            f"claimed for one machine; {len(answers)} did: {some(error.message for error in errors.values())}"
        )


@dataclass(frozen=True, slots=True)
class _Survey:
    """What is known of a token."""

    owner: HostState | None
    """Bears the claim."""
    noted: frozenset[str]
    """Ids of all hosts that were ever to be tried."""
    open: tuple[Host, ...]
    """Those of them that may still be claimed, in the token's order."""
    doubt: DriverError | None
    """Why one of them cannot be asked: it may bear the claim, so it must not be passed over."""
    closed: bool
    """The machine was there and is gone."""
