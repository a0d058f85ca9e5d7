"""What the Machine controller asks of drivers: look up, make, take away. What came of it is remembered.

May touch: the machine's driver, and the Secret of its bootstrap token, which has to be there before the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import msgspec

from nodeset_provider.api.machine import client_token
from nodeset_provider.controllers.account import Account
from nodeset_provider.controllers.drivers import AccountUnusable, Drivers
from nodeset_provider.controllers.leading import MayAct, NotLeading
from nodeset_provider.controllers.machine import addresses, launch, terminate, watch
from nodeset_provider.controllers.machine.actions import CleanUp, Destroy
from nodeset_provider.controllers.machine.last_words import last_words, masked
from nodeset_provider.controllers.machine.memory import REASON_TOKEN_NOT_WRITTEN, Memory, Obstacle
from nodeset_provider.controllers.machine.observed import REASON_INVALID_JOIN, REASON_TOKEN_TAKEN, Observed
from nodeset_provider.controllers.tokens import Tokens, TokenTaken
from nodeset_provider.driverkit.contract import CreateRequest, Deletion, Instance
from nodeset_provider.driverkit.errors import DriverError, InvalidSpec
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.request import ClusterAccess, JoinRequest
from nodeset_provider.join.user_data import Delivery, render_user_data
from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import ApiError

DIAGNOSE_SECONDS = 10.0
"""How long a condition waits for the machine's last words at most."""

Remember = Callable[[Memory], None]
"""Called with what is known from then on, before anything can be interrupted."""


class DriverCalls:
    """Whatever a driver raises ends in memory; ApiError is raised where its credentials cannot be read at the moment.

    ``may_act`` says whether this process still leads, asked right before a driver makes or takes.
    """

    def __init__(
        self,
        *,
        drivers: Drivers,
        tokens: Tokens,
        access: ClusterAccess,
        clock: Clock,
        random: Random,
        may_act: MayAct,
    ) -> None:
        self._drivers = drivers
        self._tokens = tokens
        self._access = access
        self._clock = clock
        self._random = random
        self._may_act = may_act

    async def _with_account(self, o: Observed, do: Callable[[Account], Awaitable[None]]) -> None:
        template = o.machine.spec.template
        async with self._drivers.account(template.driver, template.credentials_ref) as account:
            await do(account)

    async def look_up(self, o: Observed, remember: Remember) -> None:
        """Ask for the machine of this attempt."""

        async def look(account: Account) -> None:
            try:
                outcome: Instance | DriverError = self._heard(o, await account.get(o.key))
            except DriverError as error:
                outcome = error
            remember(after(outcome, account.consistency_delay))

        def after(outcome: Instance | DriverError | AccountUnusable, delay: float) -> Memory:
            moment, random = self._clock.monotonic(), self._random
            if not o.is_launched:
                return launch.after_lookup(o.memory, outcome, moment, delay, random)
            if o.is_registered:
                known = addresses.after_joined_look(o.memory, outcome, moment, random)
            else:
                launched = watch.launched_moment(o)
                known = watch.after_check(
                    o.memory, outcome, moment=moment, launched=launched, delay=delay, random=random
                )
            return addresses.after_look(known, o, moment)

        try:
            await self._with_account(o, look)
        except AccountUnusable as error:
            remember(after(error, 0.0))

    async def diagnose(self, o: Observed, remember: Remember) -> None:
        """Ask what the machine last said. It takes a moment at most, and where nobody can tell, that is known too."""
        said = unheard = ""

        async def ask(account: Account) -> None:
            nonlocal said
            said = await account.diagnose(o.key)

        try:
            async with asyncio.timeout(DIAGNOSE_SECONDS):
                await self._with_account(o, ask)
        except (DriverError, AccountUnusable, ApiError) as error:
            unheard = last_words(error.message, self._secrets(o))
        except TimeoutError:
            unheard = f"the driver gave no answer within {DIAGNOSE_SECONDS:g} s"
        remember(replace(o.memory, diagnosis=last_words(said, self._secrets(o)), unheard=unheard))

    def _heard(self, o: Observed, instance: Instance) -> Instance:
        """What the cloud says of a machine may hold what the machine said, as a console's last lines do."""
        if not instance.message:
            return instance
        return msgspec.structs.replace(instance, message=masked(instance.message, self._secrets(o)))

    def _secrets(self, o: Observed) -> tuple[str, ...]:
        token = self._tokens.of(o.machine)
        return token.id, token.secret

    async def launch(self, o: Observed, remember: Remember) -> None:
        """Make the token's Secret, then the machine. Raises NotLeading."""
        machine = o.machine

        async def create(account: Account) -> None:
            # Rendered before the token exists: what cannot be rendered must leave nothing behind.
            request = self._request(o, account.delivery)
            try:
                await self._tokens.ensure(machine, self._clock.now().timestamp())
            except NotLeading:
                raise
            except ApiError as error:
                why = f"the API server did not take the Secret of the bootstrap token: {error.message}"
                remember(self._not_asked(o, Obstacle(REASON_TOKEN_NOT_WRITTEN, why)))
                return
            memory = launch.before_create(replace(o.memory, token_ensured=True), self._clock.monotonic())
            remember(memory)
            try:
                outcome: Instance | DriverError = self._heard(o, await account.create(request, self._may_act))
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

    def _request(self, o: Observed, delivery: Delivery) -> CreateRequest:
        machine = o.machine
        token = client_token(machine.metadata.uid, machine.status.attempt)
        user_data = render_user_data(
            JoinRequest(
                cluster=self._access,
                template=machine.spec.template,
                node_name=machine.spec.node_name,
                token=self._tokens.of(machine),
                provider_id=machine.spec.template.provider_id_of(token),
            ),
            delivery,
        )
        return CreateRequest(
            cluster=o.cluster,
            machine=machine.metadata.name,
            token=token,
            config=machine.spec.template.config,
            user_data=user_data,
            user_data_format=machine.spec.template.join.format,
        )

    async def delete(self, action: CleanUp | Destroy, o: Observed, remember: Remember) -> None:
        """Ask for the end of the machine. Raises NotLeading."""
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


class _Own(InvalidSpec):
    """A failure of the attempt that no driver raised: nothing was asked of any cloud."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = code

    @property
    def code(self) -> str:
        return self._code
