"""The one error that the cloud answers with."""

from __future__ import annotations

from collections.abc import Iterable

from nodeset_driver_simulated.wire import STATUS_BY_CODE, ErrorAnswer, ErrorBody


class CloudError(Exception):
    """An answer that is not 2xx. ``code`` is a key of ``wire.STATUS_BY_CODE``."""

    def __init__(
        self, code: str, message: str, *, field: str = "", known: Iterable[str] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = STATUS_BY_CODE[code]
        self.retry_after = retry_after
        self.answer = ErrorAnswer(error=ErrorBody(code=code, message=message, field=field, known=list(known)))
