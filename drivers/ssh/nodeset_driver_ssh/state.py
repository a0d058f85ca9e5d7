"""What a host answered about itself, as values. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from nodeset_driver_ssh.config import MAX_HOSTS
from nodeset_driver_ssh.hosts import Host, is_host_id, is_machine_name, is_word, provider_id
from nodeset_driver_ssh.remote import Answer
from nodeset_driver_ssh.text import one_line, printable
from nodeset_provider.driverkit.contract import Address, Instance, InstanceState
from nodeset_provider.driverkit.errors import Transient

_MESSAGE_LIMIT: Final = 1200
_ADDRESSES_LIMIT: Final = 16
_NOTES_LIMIT: Final = MAX_HOSTS
"""A token may have been tried on each host of a pool."""
_TIME: Final = re.compile(r"[0-9]{1,11}")

_STATES: Final = {
    "finished": InstanceState.RUNNING,
    "failed": InstanceState.FAILED,
    "resetting": InstanceState.DELETING,
}


@dataclass(frozen=True, slots=True)
class HostState:
    """What a host is, and what it knows of the token that was asked for."""

    host: Host
    token: str = ""
    """Whose claim the host bears; empty: nobody's."""
    cluster: str = ""
    machine: str = ""
    created_at: float = 0.0
    progress: str = ""
    """applying, interrupted, finished, failed or resetting, where it is claimed."""
    addresses: tuple[str, ...] = ()
    quarantine: str = ""
    """Why nobody may claim it; empty: may be claimed."""
    name: str = ""
    """What the pool called the host when it was claimed."""
    refused: bool = False
    """The token that was asked for can never claim it."""
    closed: bool = False
    """The token that was asked for had its machine, and that is gone."""
    notes: tuple[str, ...] = ()
    """Ids of hosts that this token was to be tried on, as far as this host is its witness."""
    message: str = ""

    @property
    def is_free(self) -> bool:
        """Whether anybody may claim it."""
        return not self.token and not self.quarantine


def read_state(host: Host, answer: Answer) -> HostState:
    """The state in an answer of the calls look, shut, claim, resume and fence.

    Raises Transient for words that no claim and no note of ours holds: what becomes of them is shown to people.
    """
    created, token, notes = answer.one("created"), answer.one("token"), answer.all("note")
    claim = is_word(token) and is_word(answer.one("cluster")) and is_machine_name(answer.one("machine"))
    if (token and not claim) or len(notes) > _NOTES_LIMIT or not all(map(is_host_id, notes)):
        raise Transient(f"host {host.id} has a claim or notes in /var/lib/nodeset-provider that make no sense")
    return HostState(
        host=host,
        token=token,
        cluster=answer.one("cluster"),
        machine=answer.one("machine"),
        created_at=float(created) if _TIME.fullmatch(created) else 0.0,
        progress=answer.one("state"),
        name=answer.one("host"),
        addresses=tuple(islice(filter(_is_address, answer.all("address")), _ADDRESSES_LIMIT)),
        quarantine=one_line(answer.one("quarantine"), 400),
        refused=answer.one("refused") == "yes",
        closed=answer.one("closed") == "yes",
        notes=notes,
        message=printable(answer.text, _MESSAGE_LIMIT),
    )


def instance_of(state: HostState) -> Instance:
    """The machine that a claimed host is."""
    host = state.host
    return Instance(
        provider_id=provider_id(state.name if is_host_id(state.name) else host.id, state.token),
        token=state.token,
        cluster=state.cluster,
        machine=state.machine,
        state=_STATES.get(state.progress, InstanceState.CREATING),
        addresses=tuple(_addresses(state)),
        created_at=state.created_at,
        message=f"host {host.id}: {state.message}" if state.progress == "failed" else "",
    )


def _addresses(state: HostState) -> Iterator[Address]:
    """What kubelet finds on the host comes first; the one we use may be in front of it (a forwarded port, NAT)."""
    used = state.host.entry.address
    for address in state.addresses:
        yield Address(type="InternalIP", address=address)
    if _is_address(used) and used not in state.addresses:
        yield Address(type="ExternalIP" if state.addresses else "InternalIP", address=used)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
