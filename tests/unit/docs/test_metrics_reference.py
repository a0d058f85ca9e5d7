"""docs/metrics.md has a row for each metric that the provider exports, as the code has it."""

from __future__ import annotations

import pytest
from documentation_pages import Pages
from prometheus_client import REGISTRY, Counter
from prometheus_client.metrics import MetricWrapperBase

import nodeset_provider.server.compose  # noqa: F401 - everything that exports a metric is below it

PAGE = "docs/metrics.md"
# What prometheus-client itself exports about the process; the page says so in one sentence.
FOREIGN = ("python_", "process_")


def exported() -> dict[str, MetricWrapperBase]:
    """By the name that Prometheus sees."""
    found = {}
    for collector in set(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            name = collector._name + ("_total" if isinstance(collector, Counter) else "")
            if not name.startswith(FOREIGN):
                found[name] = collector
    return found


def row(name: str, metric: MetricWrapperBase) -> str:
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {metric._type} | {labels} | {metric._documentation.rstrip('.')} |"


def test_every_metric_has_its_row(pages: Pages) -> None:
    lines = pages.text(PAGE).splitlines()
    missing = [row(name, metric) for name, metric in sorted(exported().items()) if row(name, metric) not in lines]
    assert not missing, f"write these rows into {PAGE}:\n" + "\n".join(missing)


def test_no_row_is_about_a_metric_that_does_not_exist(pages: Pages) -> None:
    assert {row[0].strip("`") for row in pages.rows(PAGE)} == set(exported())


@pytest.mark.parametrize("name", ["grpc_server_handled_total", "nodeset_machine_failures_total", "workqueue_depth"])
def test_metrics_of_every_part_are_looked_at(name: str) -> None:
    assert name in exported()
