"""Reads a Prometheus text exposition: sums of samples by name and labels. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Metrics:
    """One scrape. An API server exposes megabytes: only the lines that are asked for are parsed."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def samples(self, name: str, **labels: str) -> Iterator[Sample]:
        """Samples called exactly ``name`` (a histogram's end in _sum, _count, _bucket) that carry all ``labels``."""
        wanted = [line for line in self._lines if line.startswith((f"{name}{{", f"{name} "))]
        for family in text_string_to_metric_families("\n".join([*wanted, ""])):
            for sample in family.samples:
                if all(sample.labels.get(key) == value for key, value in labels.items()):
                    yield sample

    def total(self, name: str, **labels: str) -> float:
        """Sum over the samples of `samples`; 0.0 when there is none (a counter appears with its first event)."""
        return sum(sample.value for sample in self.samples(name, **labels))
