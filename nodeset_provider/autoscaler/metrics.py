"""Prometheus metrics of the front door, named as go-grpc-prometheus names them so that existing dashboards fit.

Labels are resolved once for each method: on the hot path an RPC costs two increments.
"""

from __future__ import annotations

import grpc
from prometheus_client import Counter, Histogram

HANDLED = Counter(
    "grpc_server_handled_total",
    "RPCs of the autoscaler that were answered, by method and status code.",
    ["grpc_service", "grpc_method", "grpc_code"],
)
SECONDS = Histogram(
    "grpc_server_handling_seconds",
    "Time from a request's arrival in our code until its answer left it.",
    ["grpc_service", "grpc_method"],
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


class MethodMetrics:
    """The metrics of one method."""

    def __init__(self, service: str, method: str) -> None:
        self._names = (service, method)
        self._ok = HANDLED.labels(*self._names, "OK")
        self._seconds = SECONDS.labels(*self._names)

    def answered(self, seconds: float) -> None:
        """Status OK."""
        self._ok.inc()
        self._seconds.observe(seconds)

    def refused(self, code: grpc.StatusCode, seconds: float) -> None:
        """Any other status. Codes are spelled as Go spells them: ``NotFound``."""
        HANDLED.labels(*self._names, code.name.replace("_", " ").title().replace(" ", "")).inc()
        self._seconds.observe(seconds)
