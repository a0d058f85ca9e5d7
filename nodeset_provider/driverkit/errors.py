"""Everything that a driver may raise. The set is closed: whatever else escapes a driver is a bug in it.

The tree::

    DriverError
    ├── NotFound               the machine is not there (only from ``get``)
    ├── InsufficientCapacity   the cloud has none of this kind left at the moment
    ├── QuotaExceeded          a limit of this account or project
    ├── InvalidSpec            the config can never work as it is: names the key and the remedy
    ├── Unauthorized           the credentials are wrong, expired or lack a right
    ├── Throttled              too many calls: again after ``retry_after`` seconds
    └── Transient              unreachable, timed out, 5xx: *nobody knows whether the call took effect*

``attempt_failed`` says whether the driver vouches that **no machine was made**: only then may the controllers close the
attempt and use another token. ``Throttled`` and ``Transient`` never close one.
Messages reach people through conditions, events and the autoscaler: they never hold a secret.
"""

from __future__ import annotations

from typing import ClassVar


class DriverError(Exception):
    """Base of the closed set. ``message`` is for people."""

    attempt_failed: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def code(self) -> str:
        """The name of the error, as conditions and the autoscaler's errorInfo show it; of a subclass, its parent's."""
        return next(kind.__name__ for kind in type(self).__mro__ if kind.__module__ == __name__)


class NotFound(DriverError):
    """No such machine. Absence counts only once the driver's ``consistency_delay`` has passed since the last create."""


class InsufficientCapacity(DriverError):
    """The cloud cannot make this kind here now; another kind or zone may work."""

    attempt_failed = True


class QuotaExceeded(DriverError):
    """A quota or limit of the account; a person has to raise it or other machines have to go."""

    attempt_failed = True


class InvalidSpec(DriverError):
    """The config is wrong. ``field`` is its path below ``config`` (``instanceType``), empty where none can be named."""

    attempt_failed = True

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Unauthorized(DriverError):
    """The credentials do not open the door."""

    attempt_failed = True


class Throttled(DriverError):
    """The cloud asks us to wait ``retry_after`` seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Transient(DriverError):
    """It may work if tried again, and may have worked already: look up by token before doing anything else."""
