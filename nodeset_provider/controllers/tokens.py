"""Bootstrap tokens in the cluster: made before a machine, taken away once it has joined or will not.

May touch: Secrets ``bootstrap-token-*`` in kube-system, by name, never reading one it did not just write.
"""

from __future__ import annotations

from datetime import UTC, datetime

from nodeset_provider.api.machine import Machine
from nodeset_provider.controllers.api import Api
from nodeset_provider.join.bootstrap_token import (
    TOKEN_NAMESPACE,
    BootstrapToken,
    belongs_to,
    derive,
    expiration_patch,
    secret_manifest,
)
from nodeset_provider.join.token_use import TokenUse, token_use
from nodeset_provider.kube.errors import AlreadyExists, NotFound
from nodeset_provider.kube.resources import SECRETS

_SECRETS = SECRETS.within(TOKEN_NAMESPACE)


MARGIN_SECONDS = 180.0
"""For what lies between the Secret and the launch besides the driver's create: the wait for a free slot, the write that
the launch timeout counts from, and clocks that differ."""


class TokenTaken(Exception):
    """The id of this attempt's token is in use by another machine; another attempt has another id."""


class Tokens:
    """``key`` is the cluster's bootstrap key, ``create_seconds`` what a driver's create may last."""

    def __init__(self, client: Api, key: bytes, *, create_seconds: float) -> None:
        self._client = client
        self._key = key
        self._before_launch = create_seconds + MARGIN_SECONDS

    def of(self, machine: Machine) -> BootstrapToken:
        """The token of the Machine's current attempt. Pure."""
        return derive(self._key, machine.metadata.uid, machine.status.attempt)

    async def ensure(self, machine: Machine, now: float) -> None:
        """Make the token valid for the Machine's whole launch time, which begins when its create has ended.

        The next time it is renewed, and made anew where it had expired and was taken away. Machines that join by
        another identity get none. Raises TokenTaken, ApiError.
        """
        use = token_use(machine.spec.template.join)
        if use is TokenUse.NONE:
            return
        token = self.of(machine)
        name = machine.metadata.name
        expires = datetime.fromtimestamp(now + self._before_launch + machine.spec.template.launch_timeout_seconds, UTC)
        signs = use is TokenUse.AUTHENTICATION_AND_SIGNING
        try:
            await self._client.create(
                _SECRETS, secret_manifest(token, machine=name, expires=expires, signs_cluster_info=signs)
            )
        except AlreadyExists:
            secret = await self._client.patch(_SECRETS, token.secret_name, expiration_patch(expires))
            if not belongs_to(secret.data, name):
                raise TokenTaken(token.id) from None

    async def drop(self, machine: Machine) -> None:
        """Take the token away; nothing happens where it is gone already (it may have expired), or never was."""
        if token_use(machine.spec.template.join) is TokenUse.NONE:
            return
        try:
            await self._client.delete(_SECRETS, self.of(machine).secret_name)
        except NotFound:
            return
