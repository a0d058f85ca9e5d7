"""The driver: the contract's methods over the claims of hosts.

Keeps nothing but logins, and the entries of hosts that it has seen: what is to be remembered is on the hosts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from nodeset_driver_ssh.applier.bundle import bundle_of
from nodeset_driver_ssh.applier.cloud_config import read_steps
from nodeset_driver_ssh.asking import ask_all, worst
from nodeset_driver_ssh.calls import Claim, HostCalls, Reset
from nodeset_driver_ssh.config import parse_config
from nodeset_driver_ssh.credentials import REQUIRED_CREDENTIALS, Credentials, parse_credentials
from nodeset_driver_ssh.host_keys import unknown
from nodeset_driver_ssh.hosts import Host, check_words, hosts_of, parse_provider_id
from nodeset_driver_ssh.placement import Placement
from nodeset_driver_ssh.probe import common, declared, is_declared, read_facts
from nodeset_driver_ssh.remote import Remote, host_program
from nodeset_driver_ssh.session import Sessions
from nodeset_driver_ssh.state import HostState, instance_of
from nodeset_driver_ssh.text import some
from nodeset_provider.driverkit.contract import (
    DIAGNOSIS_LIMIT,
    CreateRequest,
    Deletion,
    Instance,
    InstanceKey,
    Offering,
    UserDataFormat,
)
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec, NotFound, Transient, Unauthorized

USER_DATA_LIMIT: Final = 8 << 20


class SshDriver:
    """Pools of hosts that one key opens. See the rules of :mod:`nodeset_provider.driverkit.contract`."""

    consistency_delay: float = 0.0
    """A host knows of its claim from the moment it is made."""
    user_data_limit: int = USER_DATA_LIMIT
    user_data_formats: tuple[UserDataFormat, ...] = ("CloudInit",)
    user_data_gzip: bool = False

    def __init__(self, credentials: Credentials) -> None:
        self._sessions = Sessions(credentials)
        self._remote = Remote(self._sessions)
        self._seen: dict[str, Host] = {}

    async def resolve(self, config: Mapping[str, Any]) -> Offering:
        """The least that any host of the pool has; what is not declared is looked up, on the hosts that answer."""
        hosts = self._hosts(config)
        await self._check_host_keys(hosts)
        calls = HostCalls(self._remote)
        offerings = [declared(host) for host in hosts if is_declared(host)]
        probed = [host for host in hosts if not is_declared(host)]
        answers = await ask_all(probed, calls.facts)
        errors = [answer for answer in answers.values() if isinstance(answer, DriverError)]
        offerings += [
            read_facts(host, answer) for host in probed if not isinstance(answer := answers[host.id], DriverError)
        ]
        if not offerings:
            raise worst(errors)
        return common(offerings)

    async def create(self, request: CreateRequest) -> Instance:
        """Claim a host for the token, or answer the one that it has; the host then goes on by itself."""
        check_words(token=request.token, cluster=request.cluster, machine=request.machine)
        hosts = self._hosts(request.config)
        steps = read_steps(request.user_data)
        seconds = hosts[0].config.timeout_seconds.step
        files = bundle_of(steps, run=host_program("run.sh"), step_seconds=seconds)
        calls = HostCalls(self._remote, Claim(cluster=request.cluster, machine=request.machine, files=files))
        state = await Placement(hosts, calls).place(request.token)
        return instance_of(await self._resumed(state))

    async def get(self, key: InstanceKey) -> Instance:
        """The machine; what a reboot of the host broke off goes on, as no other call would see to it."""
        state = await self._find(key)
        return instance_of(await self._resumed(state))

    async def delete(self, key: InstanceKey) -> Deletion:
        """Reset the host, and give up the claim when that is done."""
        calls = HostCalls(self._remote)
        if key.provider_id:
            host, token = self._named(key)
        else:
            check_words(token=key.token, cluster=key.cluster)
            state = await Placement(self._hosts(key.config), calls).withdraw(key.token)
            if state is None:
                await self._close(key, key.token)
                return Deletion.GONE
            host, token = state.host, state.token
        match await calls.reset(host, token, key.cluster):
            case Reset.RUNNING:
                return Deletion.IN_PROGRESS
            case Reset.GONE:
                await self._close(key, token)
        return Deletion.GONE

    async def list(self, cluster: str, configs: Sequence[Mapping[str, Any]] = ()) -> AsyncIterator[Instance]:
        """Every machine of that cluster on the hosts of these configs.

        Raises at the end, when what is known has been yielded, where hosts could not be asked.
        """
        hosts: dict[tuple[str, int], Host] = {}
        for config in configs:
            try:
                found = self._hosts(config)
            except InvalidSpec:
                continue  # no machine was ever made with it
            hosts.update({(host.entry.address, host.entry.port): host for host in found})
        calls = HostCalls(self._remote)
        answers = await ask_all(list(hosts.values()), lambda host: calls.look(host, ""))
        told: set[str] = set()
        for state in answers.values():
            # One host may be in two pools, under two addresses.
            if isinstance(state, HostState) and state.token and state.cluster == cluster and state.token not in told:
                told.add(state.token)
                yield instance_of(state)
        errors = [answer for answer in answers.values() if isinstance(answer, DriverError)]
        if errors and len(errors) == len(answers):
            raise worst(errors)
        if errors:
            raise Transient(f"not all hosts could be asked: {some(error.message for error in errors)}")

    async def diagnose(self, key: InstanceKey) -> str:
        """The end of what the steps and the kubelet said on the host."""
        state = await self._find(key)
        return await HostCalls(self._remote).diagnose(state.host, state.token, DIAGNOSIS_LIMIT)

    async def close(self) -> None:
        """Let go of logins. The machines stay."""
        await self._sessions.close()

    def _hosts(self, config: Mapping[str, Any]) -> tuple[Host, ...]:
        hosts = hosts_of(parse_config(config))
        self._seen.update({host.id: host for host in hosts})
        return hosts

    def _named(self, key: InstanceKey) -> tuple[Host, str]:
        """The host of a provider id; raises Transient where no config says how to reach it."""
        name, token = parse_provider_id(key.provider_id)
        check_words(token=token, cluster=key.cluster)
        known = {host.id: host for host in self._hosts(key.config)} if key.config else {}
        host = known.get(name) or self._seen.get(name)
        if host is None:
            raise Transient(f"host {name} is no longer in config.hosts, and nothing else says how to reach it")
        return host, token

    async def _find(self, key: InstanceKey) -> HostState:
        calls = HostCalls(self._remote)
        if key.provider_id:
            host, token = self._named(key)
            state: HostState | None = await calls.look(host, token)
        else:
            token = key.token
            check_words(token=token, cluster=key.cluster)
            state = await Placement(self._hosts(key.config), calls).find(token)
        if state is None or state.token != token or state.cluster != key.cluster:
            raise NotFound(f"no host has the machine of token {token}")
        return state

    async def _resumed(self, state: HostState) -> HostState:
        if state.progress != "interrupted":
            return state
        return await HostCalls(self._remote).resume(state.host, state.token)

    async def _close(self, key: InstanceKey, token: str) -> None:
        if key.config:
            await Placement(self._hosts(key.config), HostCalls(self._remote)).close(token)

    async def _check_host_keys(self, hosts: Sequence[Host]) -> None:
        """Raises Unauthorized for a host that nobody vouches for, with the key that it shows where it can be seen."""
        strangers = [host for host in hosts if not self._sessions.host_keys.vouched_for(host)]
        if not strangers:
            return
        calls = HostCalls(self._remote)
        answers = await ask_all(strangers, lambda host: calls.look(host, ""))
        told = [answer.message for answer in answers.values() if isinstance(answer, Unauthorized)]
        raise Unauthorized(some(told) if told else unknown(strangers[0]))


class SshDriverFactory:
    """What the entry point ``ssh`` names."""

    required_credentials: tuple[str, ...] = REQUIRED_CREDENTIALS

    def __call__(self, credentials: Mapping[str, bytes]) -> SshDriver:
        """A driver for the key in the Secret (``ssh-privatekey``, optional passphrase, known_hosts). Does no I/O."""
        return SshDriver(parse_credentials(credentials))


create_driver = SshDriverFactory()
