"""The steady loop of a Cluster Autoscaler against our front door, and against the smallest Go server of the same proto.

One Go client (``tools/frontdoor/steady-loop``) plays the loop against both servers by turns, so that whatever else the
machine does hits both. Ours runs as in the provider (the same gRPC server, the same informers, uvloop) in a process of
its own, over caches filled with made-up objects; for ``loop_ratio_busy`` the same process also decodes and stores watch
events. No API server takes part. May touch: ``build/``, processes that it starts.

    python tests/bench/front_door.py --groups 1000 --nodes 5000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from nodeset_provider.api.names import LABEL_NODE_CLASS, LABEL_NODESET
from nodeset_provider.autoscaler import SERVER_OPTIONS, FrontDoor
from nodeset_provider.config.address import Address
from nodeset_provider.kube.client import Client, Page, WatchEvent
from nodeset_provider.kube.codec import codec_for
from nodeset_provider.kube.indexes import MACHINE_INDEXERS
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import MACHINES, NODE_SETS, Resource, T
from nodeset_provider.server.door import Door

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "build" / "frontdoor"
EVENTS_PER_SECOND = 500
RESOURCES = {"cpu": "4", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"}


# --- the process that is measured ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fleet:
    """The names of tools/frontdoor/fleet: node n is in group n % groups."""

    groups: int
    nodes: int

    def group(self, number: int) -> str:
        """Id of a group."""
        return f"group-{number:04d}"

    def node_set(self, number: int) -> dict[str, Any]:
        """A NodeSet with as many replicas as it has nodes."""
        size = self.nodes // self.groups + (number < self.nodes % self.groups)
        name = self.group(number)
        labels = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", LABEL_NODESET: name}
        return {
            "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1},
            "spec": {"nodeClassName": "general", "replicas": size, "autoscaling": {"maxReplicas": 1000}},
            "status": {"template": {"capacity": RESOURCES, "allocatable": RESOURCES, "labels": labels}},
        }

    def machine(self, number: int) -> dict[str, Any]:
        """A Machine that has registered, with the fields and the size that a real one has."""
        group = self.group(number % self.groups)
        name = f"{group}-{number:05d}"
        conditions = [
            {"type": kind, "status": "True", "reason": kind, "lastTransitionTime": "2026-01-01T00:00:00Z"}
            for kind in ("Launched", "Registered", "Initialized")
        ]
        managed = {
            "apiVersion": "nodeset.dev/v1alpha1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {f"f:field-{field}": {".": {}, "f:value": {}} for field in range(30)},
            "manager": "nodeset-provider",
            "operation": "Update",
            "time": "2026-01-01T00:00:00Z",
        }
        return {
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "generation": 1,
                "labels": {LABEL_NODESET: group, LABEL_NODE_CLASS: "general"},
                "managedFields": [managed, managed],
            },
            "spec": {
                "nodeName": name,
                "template": {"driver": "synthetic", "nodeClassName": "general", "capacity": RESOURCES},
            },
            "status": {
                "providerID": f"synthetic://{name}",
                "nodeRef": {"name": name, "uid": f"node-{name}"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "conditions": conditions,
            },
        }


class MadeUpServer(Client):
    """An API server that lists the fleet and then tells of a change of one object after the other, forever."""

    def __init__(self, fleet: Fleet, events_per_second: int) -> None:
        self._objects: dict[str, list[_Versioned]] = {
            NODE_SETS.plural: [_Versioned(fleet.node_set(number)) for number in range(fleet.groups)],
            MACHINES.plural: [_Versioned(fleet.machine(number)) for number in range(fleet.nodes)],
        }
        # Machines change more often than sets: nine to one.
        self._rate = {NODE_SETS.plural: events_per_second / 10, MACHINES.plural: events_per_second * 9 / 10}
        self._version = 0

    def _next(self, item: _Versioned) -> bytes:
        self._version += 1
        return item.at(self._version)

    async def pages(self, resource: Resource[T], **_: object) -> AsyncGenerator[Page[T], None]:
        """Everything in one page."""
        items = [codec_for(resource).object(self._next(item)) for item in self._objects[resource.plural]]
        yield Page(items, str(self._version))

    async def watch(
        self, resource: Resource[T], *, opened: Callable[[], None] = lambda: None, **_: object
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Events as bytes, decoded in this loop as the real client decodes them."""
        opened()
        rate, codec, objects = self._rate[resource.plural], codec_for(resource), self._objects[resource.plural]
        if not rate:
            await asyncio.Event().wait()
        started, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - started) * rate)
            for number in range(sent, due):
                line = b'{"type":"MODIFIED","object":' + self._next(objects[number % len(objects)]) + b"}"
                _, raw = codec.event(line)
                item = codec.object(bytes(raw))
                yield WatchEvent("MODIFIED", item, item.metadata.resource_version)
            sent = due
            await asyncio.sleep(1 / rate)


class _Versioned:
    """An object's JSON in which only the version changes: making an event must cost the measured process nothing."""

    def __init__(self, body: dict[str, Any]) -> None:
        marked = {**body, "metadata": {**body["metadata"], "resourceVersion": "@version@"}}
        self._head, self._tail = msgspec.json.encode(marked).split(b"@version@")

    def at(self, version: int) -> bytes:
        return b"%s%d%s" % (self._head, version, self._tail)


async def serve(fleet: Fleet, events_per_second: int) -> None:
    """Serve until stdin is closed; the address is printed as JSON."""
    client = MadeUpServer(fleet, events_per_second)
    node_sets, machines = Informer(client, NODE_SETS), Informer(client, MACHINES, indexers=MACHINE_INDEXERS)
    tasks = [asyncio.create_task(informer.run()) for informer in (node_sets, machines)]
    await asyncio.gather(node_sets.wait_synced(), machines.wait_synced())
    front_door = FrontDoor(client, node_sets, machines)
    door = Door(
        Address(host="127.0.0.1", port=0),
        credentials=None,
        add_servicer=front_door.add_to_server,
        options=SERVER_OPTIONS,
    )
    address = await door.start()
    await door.set_serving(serving=True)
    print(json.dumps({"address": str(address)}), flush=True)  # noqa: T201 - read by the parent
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    await door.stop(0)


# --- the measurement -------------------------------------------------------------------------------------------------


def build() -> None:
    """Both Go programs; a second once the modules are there."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["go", "build", "-o", f"{PROGRAMS}/", "./server", "./steady-loop"],
        cwd=ROOT / "tools" / "frontdoor",
        check=True,
    )


@contextlib.contextmanager
def running(*command: str) -> Iterator[str]:
    """The address that the process prints; it is ended by closing its stdin."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the server has no pipes")
    try:
        yield json.loads(process.stdout.readline())["address"]
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def play(address: str, fleet: Fleet) -> dict[str, Any]:
    """One loop that warms up and one that is measured."""
    command = [f"{PROGRAMS}/steady-loop", "-address", address, f"-groups={fleet.groups}", f"-nodes={fleet.nodes}"]
    done = subprocess.run(command, check=True, capture_output=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def measure(*, groups: int = 1000, nodes: int = 5000, rounds: int = 3) -> dict[str, Any]:
    """``loop_seconds``, ``loop_ratio`` and ``loop_ratio_busy`` (ours / Go's), p50 and p99 of each RPC; medians."""
    build()
    fleet = Fleet(groups, nodes)
    size = (f"-groups={groups}", f"-nodes={nodes}")
    ours = (sys.executable, __file__, "--serve", f"--groups={groups}", f"--nodes={nodes}")
    reports: dict[str, list[dict[str, Any]]] = {"go": [], "ours": [], "busy": []}
    with (
        running(f"{PROGRAMS}/server", *size) as go,
        running(*ours, "--events=0") as quiet,
    ):
        for _ in range(rounds):
            reports["go"].append(play(go, fleet))
            reports["ours"].append(play(quiet, fleet))
            # Started for its turn only: it would take time from the others while it waits.
            with running(*ours, f"--events={EVENTS_PER_SECOND}") as busy:
                reports["busy"].append(play(busy, fleet))
    seconds = {name: statistics.median(report["loop_seconds"] for report in found) for name, found in reports.items()}
    calls = sum(rpc["count"] for rpc in reports["go"][0]["rpcs"].values())
    return {
        "groups": groups,
        "nodes": nodes,
        "calls": calls,
        "loop_seconds": round(seconds["ours"], 3),
        "loop_seconds_go": round(seconds["go"], 3),
        "loop_seconds_busy": round(seconds["busy"], 3),
        "loop_ratio": round(seconds["ours"] / seconds["go"], 2),
        "loop_ratio_busy": round(seconds["busy"] / seconds["go"], 2),
        "busy_over_quiet": round(seconds["busy"] / seconds["ours"], 2),
        "rpcs": {name: _percentiles(found) for name, found in reports.items()},
    }


def _percentiles(reports: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Median of the rounds, milliseconds."""
    return {
        rpc: {
            figure: round(statistics.median(report["rpcs"][rpc][figure] for report in reports), 3)
            for figure in ("p50_ms", "p99_ms")
        }
        for rpc in sorted(reports[0]["rpcs"])
    }


def main() -> None:
    """Entry point of both processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help="be the process that is measured")
    parser.add_argument("--events", type=int, default=0, help="watch events a second that the served process takes in")
    arguments = parser.parse_args()
    if arguments.serve:
        fleet = Fleet(arguments.groups, arguments.nodes)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(fleet, arguments.events))
    else:
        result = measure(groups=arguments.groups, nodes=arguments.nodes, rounds=arguments.rounds)
        print(json.dumps(result, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
