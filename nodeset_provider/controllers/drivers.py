"""Gives whoever asks a driver for (driver name, credentials), and holds its calls to account.

Credentials are read by name when they are needed (no watch: RBAC then allows one Secret and not all of them), kept as
long as the Secret says the same, and read again after a refusal by the cloud or :data:`RECHECK_SECONDS`: a rotated
Secret is picked up without a restart. Values are never logged and never part of an error.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from nodeset_provider.api.meta import SecretReference
from nodeset_provider.api.names import REASON_DRIVER_NOT_SERVED
from nodeset_provider.controllers.account import Account, CallLimits
from nodeset_provider.driverkit.contract import Driver, DriverFactory
from nodeset_provider.driverkit.errors import DriverError
from nodeset_provider.kube.clock import SYSTEM_CLOCK, Clock
from nodeset_provider.kube.errors import Forbidden, NotFound
from nodeset_provider.kube.objects import Secret
from nodeset_provider.kube.resources import SECRETS, Resource

RECHECK_SECONDS = 30.0
"""How old an unchanged reading of a Secret may become."""
_REFUSED_RECHECK_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class AccountUnusable(Exception):
    """There is no driver to ask: not installed, or credentials that are missing or cannot work.

    ``code`` is a CamelCase reason for conditions; ``message`` names the field and the remedy. Nothing was asked of any
    cloud.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class SecretReader(Protocol):
    """The one thing that is needed of the API server."""

    async def get(self, resource: Resource[Secret], name: str) -> Secret:
        """As :meth:`nodeset_provider.kube.client.Client.get`."""
        ...


@dataclass(slots=True)
class _Entry:
    """One driver that was made, and who still uses it."""

    account: Account
    digest: bytes
    checked_at: float
    users: int = 0
    retired: bool = False


@dataclass(slots=True)
class _Slot:
    """One (driver, Secret): read by one at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    entry: _Entry | None = None


class Drivers:
    """All drivers that this process serves."""

    def __init__(
        self,
        client: SecretReader,
        factories: Mapping[str, DriverFactory],
        *,
        namespace: str,
        limits: CallLimits | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._factories = factories
        self._namespace = namespace
        self._limits = limits or CallLimits()
        self._clock = clock
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._gates: dict[str, asyncio.Semaphore] = {}

    @property
    def limits(self) -> CallLimits:
        """Of each driver's calls."""
        return self._limits

    @property
    def names(self) -> frozenset[str]:
        """The drivers that this process serves."""
        return frozenset(self._factories)

    def serves(self, name: str) -> bool:
        """Whether classes of that driver are ours to look after."""
        return name in self._factories

    @asynccontextmanager
    async def account(self, name: str, reference: SecretReference | None) -> AsyncIterator[Account]:
        """The driver for these credentials, which stays open until the block is left.

        Raises AccountUnusable; ApiError where the Secret cannot be read at the moment.
        """
        entry = await self._entry(name, reference)
        entry.users += 1
        try:
            yield entry.account
        finally:
            entry.users -= 1
            if entry.retired and entry.users == 0:
                await _close(entry)

    async def close(self) -> None:
        """Close every driver. The machines stay."""
        entries = [slot.entry for slot in self._slots.values() if slot.entry is not None]
        self._slots.clear()
        for entry in entries:
            entry.retired = True
            if entry.users == 0:
                await _close(entry)

    async def _entry(self, name: str, reference: SecretReference | None) -> _Entry:
        factory = self._factories.get(name)
        if factory is None:
            raise AccountUnusable(
                REASON_DRIVER_NOT_SERVED,
                f"spec.driver: {name!r} is not served here; install the package of that driver",
            )
        slot = self._slots.setdefault((name, reference.name if reference else ""), _Slot())
        if slot.entry is not None and self._is_fresh(slot.entry):
            return slot.entry
        async with slot.lock:
            if slot.entry is not None and self._is_fresh(slot.entry):
                return slot.entry
            credentials = await self._credentials(factory, reference, slot)
            digest = _digest(credentials)
            now = self._clock.monotonic()
            if slot.entry is not None and slot.entry.digest == digest:
                slot.entry.checked_at = now
                slot.entry.account.refused = False
                return slot.entry
            driver = self._make(name, factory, credentials)
            old, slot.entry = slot.entry, _Entry(Account(name, driver, self._gate(name), self._limits), digest, now)
            if old is not None:
                _log.info("credentials changed", driver=name, secret=reference.name if reference else "")
                old.retired = True
                if old.users == 0:
                    await _close(old)
            return slot.entry

    def _is_fresh(self, entry: _Entry) -> bool:
        limit = _REFUSED_RECHECK_SECONDS if entry.account.refused else RECHECK_SECONDS
        return self._clock.monotonic() - entry.checked_at < limit

    def _gate(self, name: str) -> asyncio.Semaphore:
        return self._gates.setdefault(name, asyncio.Semaphore(self._limits.concurrent))

    async def _credentials(
        self, factory: DriverFactory, reference: SecretReference | None, slot: _Slot
    ) -> Mapping[str, bytes]:
        if reference is None:
            if factory.required_credentials:
                keys = ", ".join(factory.required_credentials)
                raise AccountUnusable(
                    "CredentialsMissing", f"spec.credentialsRef is not set; name a Secret with the keys {keys}"
                )
            return {}
        if reference.namespace != self._namespace:
            raise AccountUnusable(
                "SecretInOtherNamespace",
                f"spec.credentialsRef.namespace is {reference.namespace!r}; Secrets are read only in the provider's "
                f"own namespace {self._namespace!r}, move it there",
            )
        try:
            secret = await self._client.get(SECRETS.within(self._namespace), reference.name)
        except NotFound:
            await self._forget(slot)
            raise AccountUnusable(
                "SecretNotFound",
                f"spec.credentialsRef: Secret {self._namespace}/{reference.name} does not exist; create it"
                + (f" with the keys {', '.join(factory.required_credentials)}" if factory.required_credentials else ""),
            ) from None
        except Forbidden as error:
            raise AccountUnusable(
                "SecretForbidden",
                f"spec.credentialsRef: the provider may not read Secret {self._namespace}/{reference.name}; allow "
                f"`get` on it in the provider's Role: {error.message}",
            ) from None
        missing = [key for key in factory.required_credentials if not secret.data.get(key)]
        if missing:
            await self._forget(slot)
            raise AccountUnusable(
                "SecretKeyMissing",
                f"spec.credentialsRef: Secret {self._namespace}/{reference.name} lacks the key"
                f"{'s' if len(missing) > 1 else ''} {', '.join(missing)}; add {'them' if len(missing) > 1 else 'it'}",
            )
        return secret.data

    @staticmethod
    def _make(name: str, factory: DriverFactory, credentials: Mapping[str, bytes]) -> Driver:
        try:
            return factory(credentials)
        except DriverError as error:
            raise AccountUnusable(error.code, error.message) from None
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything
            # Its message may hold what it was given.
            _log.error("driver cannot be made", driver=name, error=type(error).__name__)
            raise AccountUnusable(
                "DriverFailed", f"spec.driver: {name!r} failed with {type(error).__name__} when given its credentials"
            ) from None

    @staticmethod
    async def _forget(slot: _Slot) -> None:
        """A Secret that was taken away takes the driver made from it along: revoked means revoked."""
        entry, slot.entry = slot.entry, None
        if entry is not None:
            entry.retired = True
            if entry.users == 0:
                await _close(entry)


async def _close(entry: _Entry) -> None:
    try:
        await entry.account.driver.close()
    except Exception as error:  # noqa: BLE001 - a driver that cannot close must not fail the work that replaced it
        _log.warning("driver did not close", driver=entry.account.name, error=type(error).__name__)


def _digest(credentials: Mapping[str, bytes]) -> bytes:
    digest = hashlib.sha256()
    for key, value in sorted(credentials.items()):
        digest.update(f"{len(key)}:{key}{len(value)}:".encode() + value)
    return digest.digest()
