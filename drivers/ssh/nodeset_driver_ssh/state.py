"""What a host answered about itself, as values. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nodeset_driver_ssh.hosts import Host, is_host_id, provider_id
from nodeset_driver_ssh.remote import Answer
from nodeset_driver_ssh.text import one_line, printable
from nodeset_provider.driverkit.contract import Address, Instance, InstanceState

_MESSAGE_LIMIT: Final = 1200

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
    """The state in an answer of the calls look, claim, resume and fence."""
    created = answer.one("created")
    return HostState(
        host=host,
        token=answer.one("token"),
        cluster=answer.one("cluster"),
        machine=answer.one("machine"),
        created_at=float(created) if created.isascii() and created.isdigit() else 0.0,
        progress=answer.one("state"),
        name=answer.one("host"),
        addresses=tuple(filter(_is_address, answer.all("address"))),
        quarantine=one_line(answer.one("quarantine"), 400),
        refused=answer.one("refused") == "yes",
        closed=answer.one("closed") == "yes",
        notes=answer.all("note"),
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
