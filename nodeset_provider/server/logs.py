"""Logs: structured lines on stderr, our own and those of the libraries alike, and no secret in any of them.

Code that logs never passes secrets; :func:`redact` is the net under it, for what a library or a traceback might show.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog

Format = Literal["auto", "json", "console"]

_SECRET_KEYS: Final = re.compile(
    r"(?i)(^|(?<!client)_)token$|[_-]secret$|(^|_)(password|passwd|authorization|credentials?|private_?key|user_?data|api_?key)$"
)
"""Not ``secret`` alone, which is the name of a Secret, nor ``client_token``, which clouds show in their consoles."""
_SECRET_TEXT: Final = re.compile(
    r"(?P<bootstrap>\b[a-z0-9]{6})\.[a-z0-9]{16}\b"
    r"|(?P<bearer>(?i:\bbearer))\s+[A-Za-z0-9._~+/=-]+"
    r"|(?P<key>-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
HIDDEN: Final = "[hidden]"


def configure(*, level: str, format: Format, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Send everything that is logged from now on to ``stream`` (stderr), through one chain of processors."""
    stream = stream or sys.stderr
    console = format == "console" or (format == "auto" and stream.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Chatty at levels that are about them and not about us.
    for name, least in {
        "asyncio": logging.WARNING,
        "aiohttp.access": logging.WARNING,
        "kubernetes": logging.INFO,
    }.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide values under names that say secret, and in every text bootstrap tokens, bearer tokens and private keys."""
    for key, value in event.items():
        event[key] = HIDDEN if value and _SECRET_KEYS.search(key) else _clean(value)
    return event


def _clean(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_hide, value)
    if isinstance(value, dict):
        return {key: HIDDEN if _SECRET_KEYS.search(str(key)) else _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _clean(repr(value))


def _hide(match: re.Match[str]) -> str:
    kept = match["bootstrap"] or match["bearer"] or match["key"]
    return f"{kept}{'.' if match['bootstrap'] else ' '}{HIDDEN}"
