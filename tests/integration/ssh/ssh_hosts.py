"""A pool of throw-away hosts as one test sees it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

import asyncssh
import yaml
from nodeset_driver_ssh import SshDriver, create_driver
from testbed.cable import Plug
from testbed.throwaway_host import ADMIN, ThrowawayHost

from nodeset_provider.driverkit.contract import CreateRequest, Deletion, Instance, InstanceKey, InstanceState

STATE = "/var/lib/nodeset-provider"
_CLEAN = f"""
for pid in $(ls /proc | grep '^[0-9][0-9]*$'); do
  [ "$pid" = 1 ] || [ "$pid" = $$ ] || case $(cat /proc/$pid/comm 2>/dev/null) in nsenter|sleep) ;; *)
    [ "$(cut -d ' ' -f 4 /proc/$pid/stat 2>/dev/null)" = 0 ] || kill -KILL $pid 2>/dev/null ;; esac
done
umount -l /var/lib/kubelet 2>/dev/null
rm -rf {STATE} /var/lib/kubelet /etc/made /srv/made /usr/local/sbin/ln /usr/local/sbin/rm
echo "$1" >/etc/hostname; echo "$1" >/proc/sys/kernel/hostname
"""


async def eventually(ask: Callable[[], Awaitable[bool]], *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await ask():  # noqa: ASYNC110 - hosts are polled
            await asyncio.sleep(0.05)


def cloud_config(**keys: object) -> bytes:
    return b"#cloud-config\n" + yaml.safe_dump(keys, sort_keys=False).encode()


def commands(*texts: str) -> bytes:
    """User-data of shell commands."""
    return cloud_config(runcmd=[["sh", "-c", text] for text in texts])


class Site:
    """Hosts, the config that names them, and drivers as separate processes would have them."""

    def __init__(self, hosts: Sequence[ThrowawayHost], key: asyncssh.SSHKey) -> None:
        self.hosts = hosts
        self.host = hosts[0]
        self.cluster = str(uuid.uuid4())
        self.secret: dict[str, bytes] = {"ssh-privatekey": key.export_private_key()}
        self._drivers: list[SshDriver] = []

    async def __aenter__(self) -> Self:
        for host in self.hosts:
            host.cable.plug = Plug.IN
            host.run("sh", "-c", _CLEAN, "clean", host.name)
        self.driver = self.another()
        return self

    async def __aexit__(self, *_: object) -> None:
        for host in self.hosts:
            host.cable.plug = Plug.IN
        for driver in self._drivers:
            await driver.close()

    def another(self, secret: Mapping[str, bytes] | None = None) -> SshDriver:
        """A driver that shares no memory with those before it; ``secret`` is added to its Secret."""
        driver = create_driver({**self.secret, **(secret or {})})
        self._drivers.append(driver)
        return driver

    def config(self, *, user: str = ADMIN, fingerprint: bool = True, **more: Any) -> dict[str, Any]:
        hosts = []
        for host in self.hosts:
            entry = {"name": host.name, "address": host.address, "port": host.cable.port, "user": user}
            hosts.append({**entry, "fingerprint": host.fingerprint} if fingerprint else entry)
        return {"hosts": hosts, "timeoutSeconds": {"connect": 6, "call": 8}, **more}

    def request(self, user_data: bytes = b"#cloud-config\n{}\n", **config: Any) -> CreateRequest:
        return CreateRequest(
            cluster=self.cluster,
            machine="machine-1",
            token=str(uuid.uuid4()),
            config=self.config(**config),
            user_data=user_data,
        )

    @staticmethod
    def key(request: CreateRequest) -> InstanceKey:
        return InstanceKey(cluster=request.cluster, token=request.token, config=request.config)

    async def settled(self, request: CreateRequest, driver: SshDriver | None = None) -> Instance:
        """The machine once it runs, or has failed."""
        found: list[Instance] = []

        async def is_settled() -> bool:
            found.append(await (driver or self.driver).get(self.key(request)))
            return found[-1].state is not InstanceState.CREATING

        await eventually(is_settled)
        return found[-1]

    async def deleted(self, request: CreateRequest) -> None:
        async def is_gone() -> bool:
            return await self.driver.delete(self.key(request)) is Deletion.GONE

        await eventually(is_gone)

    def owner(self, host: ThrowawayHost | None = None) -> str:
        """The token whose claim the host bears, as it is on its disk."""
        claim = (host or self.host).path(f"{STATE}/claim")
        if not claim.exists():
            return ""
        return dict(line.split("=", 1) for line in claim.read_text().splitlines())["token"]

    def lines(self, path: str) -> int:
        """How many lines a file on the disk has; 0 where it is not there."""
        file = self.host.path(path)
        return len(file.read_text().splitlines()) if file.exists() else 0
