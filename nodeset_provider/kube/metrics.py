"""Prometheus metrics of the cluster access: requests, caches, queues, leadership, events.

Names follow client-go's where it has one (``rest_client_*``, ``workqueue_*``), so that existing dashboards fit.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "rest_client_requests_total",
    "Requests to the API server, by verb, resource and HTTP status (0: no answer).",
    ["verb", "resource", "code"],
)
REQUEST_SECONDS = Histogram(
    "rest_client_request_duration_seconds",
    "Time from sending a request until its answer was read and decoded; watches until their first byte.",
    ["verb", "resource"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)

INFORMER_OBJECTS = Gauge("informer_objects", "Objects in the cache.", ["resource"])
INFORMER_EVENTS = Counter("informer_watch_events_total", "Watch events received.", ["resource", "type"])
INFORMER_LISTS = Counter("informer_lists_total", "Full lists, the first one included.", ["resource"])
INFORMER_FAILURES = Counter(
    "informer_failures_total",
    "Lists and watches that failed or ended at once, by the error's name.",
    ["resource", "reason"],
)
INFORMER_INTERRUPTED = Gauge(
    "informer_interrupted_seconds",
    "For how long no watch has been open, so that the cache may be this old; 0 while one is.",
    ["resource"],
)
UNREADABLE_OBJECTS = Counter(
    "unreadable_objects_total",
    "Objects that do not fit their kind's schema and are therefore not seen.",
    ["resource"],
)

QUEUE_DEPTH = Gauge("workqueue_depth", "Keys that wait for a worker.", ["name"])
QUEUE_ADDS = Counter("workqueue_adds_total", "Keys that were queued.", ["name"])
QUEUE_RETRIES = Counter("workqueue_retries_total", "Keys that were queued again after a failure.", ["name"])
QUEUE_SECONDS = Histogram(
    "workqueue_queue_duration_seconds",
    "How long a key waited for a worker.",
    ["name"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)
RECONCILE_SECONDS = Histogram(
    "controller_reconcile_duration_seconds",
    "Time that one reconcile took.",
    ["controller"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)
RECONCILES = Counter(
    "controller_reconcile_total",
    "Reconciles by result: success, requeue_after, conflict, error.",
    ["controller", "result"],
)

LEADER = Gauge("leader_election_master_status", "1 while this process holds the Lease.", ["name"])

EVENTS_SENT = Counter("events_sent_total", "Event writes that the API server accepted.")
EVENTS_DROPPED = Counter("events_dropped_total", "Events that were not written, by reason.", ["reason"])
