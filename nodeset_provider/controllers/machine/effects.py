"""The thin half of the Machine controller: does what a phase decided and keeps what came of it in memory.

May touch: Machines, Nodes, the machine's bootstrap token, its driver, events. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

import structlog

from nodeset_provider.api.machine import Machine, client_token
from nodeset_provider.api.meta import is_true
from nodeset_provider.api.names import (
    API_VERSION,
    CONDITION_LAUNCHED,
    FINALIZER_MACHINE,
    LABEL_NODESET,
)
from nodeset_provider.api.node import Node
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers import metrics
from nodeset_provider.controllers.account import Account
from nodeset_provider.controllers.api import Api
from nodeset_provider.controllers.drivers import AccountUnusable, Drivers
from nodeset_provider.controllers.leading import MayAct, NotLeading
from nodeset_provider.controllers.machine import launch, terminate, watch
from nodeset_provider.controllers.machine.actions import (
    Action,
    AddFinalizer,
    Announcement,
    CleanUp,
    DeleteNode,
    Destroy,
    DropToken,
    FindNode,
    Launch,
    LookUp,
    Release,
    SyncNode,
    WriteStatus,
)
from nodeset_provider.controllers.machine.memory import REASON_TOKEN_NOT_WRITTEN, Memory, Obstacle
from nodeset_provider.controllers.machine.observed import (
    REASON_INVALID_JOIN,
    REASON_TOKEN_TAKEN,
    Observed,
    is_unsettled,
)
from nodeset_provider.controllers.tokens import Tokens, TokenTaken
from nodeset_provider.driverkit.contract import CreateRequest, Deletion, Instance
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.request import ClusterAccess, JoinRequest
from nodeset_provider.join.user_data import render_user_data
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import ApiError, Conflict, NotFound
from nodeset_provider.kube.events import Recorder
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODES

_log = structlog.get_logger(__name__)


class Effects:
    """Applies actions. ``may_act`` says whether this process still leads, asked before a driver makes or takes."""

    def __init__(
        self,
        *,
        client: Api,
        machines: Informer[Machine],
        nodes: Informer[Node],
        nodesets: Informer[NodeSet],
        drivers: Drivers,
        tokens: Tokens,
        access: ClusterAccess,
        recorder: Recorder,
        clock: Clock,
        random: Random,
        may_act: MayAct,
    ) -> None:
        self._client = client
        self._machines = machines
        self._nodes = nodes
        self._nodesets = nodesets
        self._drivers = drivers
        self._tokens = tokens
        self._access = access
        self._recorder = recorder
        self._clock = clock
        self._random = random
        self._may_act = may_act

    async def apply(  # noqa: C901 - one line per action
        self, action: Action, o: Observed, remember: Callable[[Memory], None]
    ) -> None:
        """Do it. ``remember`` is called with what is known from then on, before anything can be interrupted.

        Raises ApiError; whatever a driver raises ends in memory.
        """
        match action:
            case AddFinalizer():
                await self._patch_machine(o, {"finalizers": [*o.machine.metadata.finalizers, FINALIZER_MACHINE]})
            case LookUp():
                await self._look_up(o, remember)
            case Launch():
                await self._launch(o, remember)
            case CleanUp() | Destroy():
                await self._delete(action, o, remember)
            case WriteStatus():
                await self._write_status(action, o, remember)
            case SyncNode(patch):
                self._nodes.observe(await self._client.patch(NODES, o.machine.spec.node_name, patch))
                remember(replace(o.memory, synced_at=self._clock.monotonic()))
            case DeleteNode(name, uid):
                await self._delete_node(name, uid)
                remember(replace(o.memory, node_deleted=uid))
            case FindNode():
                await self._find_node(o.machine.spec.node_name)
                remember(replace(o.memory, node_sought=True))
            case DropToken():
                await self._tokens.drop(o.machine)
                remember(replace(o.memory, token_dropped=True))
            case Release():
                await self._release(o)

    async def _with_account(self, o: Observed, do: Callable[[Account], Awaitable[None]]) -> None:
        template = o.machine.spec.template
        async with self._drivers.account(template.driver, template.credentials_ref) as account:
            await do(account)

    async def _look_up(self, o: Observed, remember: Callable[[Memory], None]) -> None:
        async def look(account: Account) -> None:
            try:
                outcome: Instance | DriverError = await account.get(o.key)
            except DriverError as error:
                outcome = error
            remember(after(outcome, account.consistency_delay))

        def after(outcome: Instance | DriverError | AccountUnusable, delay: float) -> Memory:
            moment = self._clock.monotonic()
            if not o.is_launched:
                return launch.after_lookup(o.memory, outcome, moment, delay, self._random)
            return watch.after_check(
                o.memory, outcome, moment=moment, launched=watch.launched_moment(o), delay=delay, random=self._random
            )

        try:
            await self._with_account(o, look)
        except AccountUnusable as error:
            remember(after(error, 0.0))

    async def _launch(self, o: Observed, remember: Callable[[Memory], None]) -> None:
        machine = o.machine

        async def create(account: Account) -> None:
            # Rendered before the token exists: what cannot be rendered must leave nothing behind.
            request = self._request(o)
            try:
                await self._tokens.ensure(machine, self._clock.now().timestamp())
            except NotLeading:
                raise
            except ApiError as error:
                why = f"the API server did not take the Secret of the bootstrap token: {error.message}"
                remember(self._not_asked(o, Obstacle(REASON_TOKEN_NOT_WRITTEN, why)))
                return
            memory = launch.before_create(o.memory, self._clock.monotonic())
            remember(memory)
            try:
                outcome: Instance | DriverError = await account.create(request, self._may_act)
            except DriverError as error:
                outcome = error
            except NotLeading:
                remember(o.memory)  # nothing was asked of the cloud
                raise
            remember(launch.after_create(memory, outcome, self._clock.monotonic(), self._random))

        try:
            await self._with_account(o, create)
        except AccountUnusable as error:
            remember(self._not_asked(o, error))
        except TokenTaken:
            remember(self._not_asked(o, _Own(REASON_TOKEN_TAKEN, "the bootstrap token's id is in use")))
        except InvalidJoin as error:
            remember(self._not_asked(o, _Own(REASON_INVALID_JOIN, f"{error.field}: {error.message}")))

    def _not_asked(self, o: Observed, error: DriverError | AccountUnusable | Obstacle) -> Memory:
        """What is known where not even the create was reached; earlier ones of the attempt may have been."""
        return launch.after_create(o.memory, error, self._clock.monotonic(), self._random)

    def _request(self, o: Observed) -> CreateRequest:
        machine = o.machine
        token = client_token(machine.metadata.uid, machine.status.attempt)
        user_data = render_user_data(
            JoinRequest(
                cluster=self._access,
                template=machine.spec.template,
                node_name=machine.spec.node_name,
                token=self._tokens.of(machine),
                provider_id=machine.spec.template.provider_id_format.replace("{token}", token),
            )
        )
        return CreateRequest(
            cluster=o.cluster,
            machine=machine.metadata.name,
            token=token,
            config=machine.spec.template.config,
            user_data=user_data,
        )

    async def _delete(self, action: CleanUp | Destroy, o: Observed, remember: Callable[[Memory], None]) -> None:
        after = terminate.after_cleanup if isinstance(action, CleanUp) else terminate.after_destroy

        async def delete(account: Account) -> None:
            try:
                outcome: Deletion | DriverError = await account.delete(o.key, self._may_act)
            except DriverError as error:
                outcome = error
            remember(after(o.memory, outcome, o, delay=account.consistency_delay, random=self._random))

        try:
            await self._with_account(o, delete)
        except AccountUnusable as error:
            remember(after(o.memory, error, o, delay=0.0, random=self._random))

    async def _write_status(self, action: WriteStatus, o: Observed, remember: Callable[[Memory], None]) -> None:
        memory = o.memory
        if action.drop_token:
            await self._tokens.drop(o.machine)
            memory = replace(memory, token_dropped=True)
            remember(memory)
        if action.ensure_token and memory.instance is not None:
            try:
                await self._tokens.ensure(o.machine, self._clock.now().timestamp())
            except TokenTaken:
                remember(launch.with_token_taken(memory, memory.instance))
                return
        body = {"metadata": {"resourceVersion": o.machine.metadata.resource_version}, "status": action.status}
        after = await self._client.patch(MACHINES, o.machine.metadata.name, body, subresource="status")
        remember(_settle(memory, after, retried=after.status.attempt > o.machine.status.attempt))
        self._machines.observe(after)
        self._report(action, o, after)

    def _report(self, action: WriteStatus, o: Observed, after: Machine) -> None:
        nodeset = after.metadata.labels.get(LABEL_NODESET, "")
        if not o.is_launched and is_true(after.status.conditions, CONDITION_LAUNCHED):
            metrics.MACHINES_LAUNCHED.labels(nodeset).inc()
            _log.info("launched", machine=after.metadata.name, provider_id=after.status.provider_id)
        if action.announcement is not None:
            self.announce(o.machine, action.announcement)

    def announce(self, machine: Machine, announcement: Announcement) -> None:
        """A Warning on the Machine and on its NodeSet."""
        name = machine.metadata.name
        nodeset = machine.metadata.labels.get(LABEL_NODESET, "")
        metrics.MACHINE_FAILURES.labels(nodeset, announcement.reason).inc()
        _log.warning("machine trouble", machine=name, reason=announcement.reason, message=announcement.message)
        self._recorder.event(
            ("Machine", API_VERSION, machine.metadata), "Warning", announcement.reason, announcement.message
        )
        owner = self._nodesets.get(nodeset)
        if owner is not None:
            self._recorder.event(
                ("NodeSet", API_VERSION, owner.metadata),
                "Warning",
                announcement.reason,
                f"{name}: {announcement.message}",
            )

    async def _patch_machine(self, o: Observed, metadata: dict[str, Any]) -> None:
        body = {"metadata": {"resourceVersion": o.machine.metadata.resource_version, **metadata}}
        self._machines.observe(await self._client.patch(MACHINES, o.machine.metadata.name, body))

    async def _delete_node(self, name: str, uid: str) -> None:
        try:
            await self._client.delete(NODES, name, uid=uid)
        except (NotFound, Conflict):
            return  # it is gone, or another Node has its name by now

    async def _find_node(self, name: str) -> None:
        try:
            self._nodes.observe(await self._client.get(NODES, name))
        except NotFound:
            return

    async def _release(self, o: Observed) -> None:
        metadata = o.machine.metadata
        left = [finalizer for finalizer in metadata.finalizers if finalizer != FINALIZER_MACHINE]
        body = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": left or None}}
        try:
            after = await self._client.patch(MACHINES, metadata.name, body)
        except NotFound:
            return
        if left:
            self._machines.observe(after)  # else it no longer exists, and must not come back into the cache
        metrics.MACHINES_TERMINATED.labels(metadata.labels.get(LABEL_NODESET, "")).inc()
        _log.info("gone", machine=metadata.name, provider_id=o.provider_id)


class _Own(InvalidSpec):
    """A failure of the attempt that no driver raised: nothing was asked of any cloud."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = code

    @property
    def code(self) -> str:
        return self._code


def _settle(memory: Memory, machine: Machine, *, retried: bool) -> Memory:
    """What is still worth knowing after a status write: what is written down need not be remembered."""
    if retried:
        return Memory(attempt=machine.status.attempt, known_since=memory.known_since)
    if machine.metadata.deleting or is_unsettled(machine):
        return memory
    return Memory(
        attempt=machine.status.attempt,
        known_since=memory.known_since,
        made_at=memory.made_at,
        checked_at=memory.checked_at,
        token_dropped=memory.token_dropped,
    )
