"""Prometheus metrics of the controllers: what the drivers were asked, and what became of the machines."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

DRIVER_SECONDS = Histogram(
    "nodeset_driver_request_duration_seconds",
    "Time of one driver call by outcome (ok, or the error's name).",
    ["driver", "call", "outcome"],
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
MACHINES_CREATED = Counter("nodeset_machines_created_total", "Machine objects made.", ["nodeset"])
MACHINES_LAUNCHED = Counter("nodeset_machines_launched_total", "Machines that a driver made.", ["nodeset"])
MACHINES_TERMINATED = Counter("nodeset_machines_terminated_total", "Machines that are gone for good.", ["nodeset"])
MACHINE_FAILURES = Counter("nodeset_machine_failures_total", "Failures shown on Machines.", ["nodeset", "code"])
CERTIFICATES = Counter(
    "nodeset_certificate_requests_total",
    "Certificate requests of kubelets that were decided (Approved, Denied).",
    ["signer", "verdict"],
)


def forget(nodeset: str) -> None:
    """Drop what was counted for a NodeSet that is gone with all its Machines: names come and go, a process stays."""
    for counter in (MACHINES_CREATED, MACHINES_LAUNCHED, MACHINES_TERMINATED, MACHINE_FAILURES):
        counter.remove_by_labels({"nodeset": nodeset})
