"""Whether a host is the one that it should be: its key is checked at every login, before anything is said to it.

Who may vouch: ``fingerprint`` of the pool's entry (then nobody else), the Secret's known_hosts, and with
``trustOnFirstUse`` the first login of this process, which is remembered in its memory only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import asyncssh

from nodeset_driver_ssh.hosts import Host
from nodeset_provider.driverkit.errors import Unauthorized

NOBODY = asyncssh.import_known_hosts("")


@dataclass(slots=True)
class HostKeys:
    """What is known of all hosts. ``first_seen`` grows by logins under ``trustOnFirstUse``."""

    known_hosts: asyncssh.SSHKnownHosts | None
    first_seen: dict[tuple[str, int], asyncssh.SSHKey] = field(default_factory=dict)

    def trusted(self, host: Host) -> asyncssh.SSHKnownHosts:
        """What asyncssh may believe without asking us: keys, certificates and revocations."""
        return self.known_hosts if self.known_hosts is not None and not host.entry.fingerprint else NOBODY

    def vouched_for(self, host: Host) -> bool:
        """Whether there is anything that the key of the host can be compared with."""
        return bool(host.entry.fingerprint) or host.config.trust_on_first_use or self._is_listed(host)

    def refusal(self, host: Host, key: asyncssh.SSHKey) -> Unauthorized | None:
        """None for a key to believe. Asked only for keys that :meth:`trusted` does not hold."""
        shown = f"{key.get_algorithm()} {key.get_fingerprint()}"
        expected = host.entry.fingerprint
        if expected:
            if key.get_fingerprint() == expected:
                return None
            return _changed(host, shown, f"that of {host.field}.fingerprint", "correct it there")
        if self._is_listed(host):
            return _changed(host, shown, "that of key known_hosts of the credentials Secret", "correct it there")
        place = (host.entry.address, host.entry.port)
        if not host.config.trust_on_first_use:
            return Unauthorized(unknown(host, shown))
        if self.first_seen.setdefault(place, key) != key:
            return _changed(
                host, shown, "what it showed to this process before", f"write it into {host.field}.fingerprint"
            )
        return None

    def _is_listed(self, host: Host) -> bool:
        if self.known_hosts is None:
            return False
        try:
            matches = self.known_hosts.match(host.entry.address, host.entry.address, host.entry.port)
        except ValueError:  # a DNS name where asyncssh looks for an address
            matches = self.known_hosts.match(host.entry.address, "", host.entry.port)
        return any(matches[:2])


def unknown(host: Host, shown: str = "") -> str:
    """What a person is told of a host that nobody vouches for."""
    seen = f"shows the host key {shown}, for which nobody vouches" if shown else "has no host key that anybody knows"
    return (
        f"host {host.id} {seen}; compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host, then "
        f"write it into {host.field}.fingerprint, or a line of `ssh-keyscan` into key known_hosts of the "
        "credentials Secret"
    )


def _changed(host: Host, shown: str, expected: str, remedy: str) -> Unauthorized:
    return Unauthorized(
        f"host {host.id} shows the host key {shown}, which is not {expected}: somebody stands between, or the host was "
        f"installed anew; if it was, {remedy}"
    )
