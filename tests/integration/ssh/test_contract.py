"""The SSH driver keeps the driver contract over five real hosts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest
from nodeset_driver_ssh import create_driver
from ssh_hosts import STATE, Site
from testbed.cable import Plug

pytest.register_assert_rewrite("nodeset_provider.driverkit.conformance.rules")

from nodeset_provider.driverkit.conformance import ContractTests, Harness  # noqa: E402
from nodeset_provider.driverkit.contract import Driver  # noqa: E402
from nodeset_provider.driverkit.errors import DriverError, InsufficientCapacity, Transient  # noqa: E402

KUBELET = "/var/lib/kubelet/pki/kubelet.key"

LOSE = """\
    #!/bin/sh
    # The next call that changes the claim takes effect, and every connection to this host breaks before its answer.
    /usr/bin/{tool} "$@"
    code=$?
    case "$*" in *{state}/claim) if [ -e /throwaway/lose-{tool} ]; then
      /usr/bin/rm /throwaway/lose-{tool}
      for process in /proc/[0-9]*; do
        [ "$(cat $process/comm 2>/dev/null)" = sshd ] && kill -KILL "${{process#/proc/}}"
      done
    fi ;; esac
    exit $code
"""


class SshHarness(Harness):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.config: dict[str, Any] = site.config()
        self.secrets = tuple(site.secret["ssh-privatekey"].decode().splitlines()[1:-1])
        self.wrong_configs = (
            ({**self.config, "host": []}, "host"),
            ({"hosts": []}, "hosts"),
            ({"hosts": [{"address": "10.0.0.1", "port": 0}]}, "hosts[0].port"),
            ({"hosts": [{"address": "10.0.0.1", "fingerprint": "x"}]}, "hosts[0].fingerprint"),
            ({**self.config, "timeoutSeconds": {"call": 0}}, "timeoutSeconds.call"),
        )
        self._site = site

    def make_driver(self) -> Driver:
        return create_driver(self._site.secret)

    def make_driver_with_wrong_credentials(self) -> Driver:
        return create_driver({"ssh-privatekey": asyncssh.generate_private_key("ssh-ed25519").export_private_key()})

    async def machines(self, token: str) -> int:
        return sum(self._site.owner(host) == token for host in self._site.hosts)

    async def billed(self, token: str) -> int:
        """The claim, what came with it, and what a kubelet leaves."""
        left = [host.path(f"{STATE}/machines/{token}") for host in self._site.hosts]
        left += [host.path(KUBELET) for host in self._site.hosts]
        return await self.machines(token) + sum(path.exists() for path in left)

    async def lose_answer(self, operation: str) -> None:
        tool = "ln" if operation == "create" else "rm"
        for host in self._site.hosts:
            host.install(f"/usr/local/sbin/{tool}", LOSE.format(tool=tool, state=STATE))
            host.path(f"/throwaway/lose-{tool}").touch()

    async def leave_side_resource(self) -> None:
        for host in self._site.hosts:
            if self._site.owner(host):
                host.install(KUBELET, "left by a kubelet\n")

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        self._plug(Plug.PULLED)
        yield
        self._plug(Plug.IN)

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        self._plug(Plug.SILENT)
        yield
        self._plug(Plug.IN)

    async def refuse(self, error: type[DriverError]) -> None:
        if error is InsufficientCapacity:
            for host in self._site.hosts:
                host.install(f"{STATE}/claim", "token=another\ncluster=another\nmachine=another\ncreated=0\n")
        elif error is Transient:
            self._plug(Plug.PULLED)
        else:
            pytest.skip(f"a pool of hosts says {error.__name__} of nothing")

    def _plug(self, plug: Plug) -> None:
        for host in self._site.hosts:
            host.cable.plug = plug


@pytest.fixture
async def harness(large_site: Site) -> AsyncIterator[SshHarness]:
    async with SshHarness(large_site) as harness:
        yield harness


class TestContract(ContractTests):
    pass
