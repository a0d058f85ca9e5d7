"""Shows the demo: a live view on a terminal, a line for each step and change elsewhere. Writes to the console only."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from nodeset_provider.api.machine import Machine
from nodeset_provider.api.meta import find_condition
from nodeset_provider.api.names import LABEL_NODESET
from testbed.demo.observer import Observer

_REFRESH_SECONDS = 0.25
_CONDITIONS = ("Launched", "Registered", "Initialized")
_MARKS = {"True": "[green]✓[/]", "False": "[red]✗[/]", "Unknown": "[yellow]?[/]"}
_MOST_MACHINES = 12


class View:
    """``with`` an observer it draws what that sees; `step` says what is happening and why."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._step = ""
        self._before = ""

    def step(self, text: str) -> None:
        """A new chapter. It stays above the live view."""
        self._step = text
        self.console.print(f"[bold cyan]{self._clock()}[/] [bold]{text}[/]")

    def note(self, text: str) -> None:
        """Something worth keeping, below the chapter."""
        self.console.print(f"[cyan]{self._clock()}[/]   {text}")

    @contextlib.asynccontextmanager
    async def showing(self, observer: Observer) -> AsyncIterator[None]:
        """Draw until the block is left."""
        drawing = asyncio.create_task(self._live(observer) if self.console.is_terminal else self._lines(observer))
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._started:5.1f}s"

    async def _live(self, observer: Observer) -> None:
        with Live(console=self.console, transient=True, auto_refresh=False) as live:
            while True:
                live.update(self._picture(observer), refresh=True)
                await asyncio.sleep(_REFRESH_SECONDS)

    async def _lines(self, observer: Observer) -> None:
        while True:
            line = summary(observer)
            if line != self._before:
                self._before = line
                self.note(line)
            await asyncio.sleep(_REFRESH_SECONDS)

    def _picture(self, observer: Observer) -> Group:
        nodesets = Table("NodeSet", "wanted", "there", "ready", "why", expand=True, box=None)
        for nodeset in sorted(observer.nodesets.items(), key=lambda item: item.metadata.name):
            ready = find_condition(nodeset.status.conditions, "Ready")
            nodesets.add_row(
                nodeset.metadata.name,
                str(nodeset.spec.replicas),
                str(nodeset.status.replicas),
                str(nodeset.status.ready_replicas),
                Text(ready.message if ready else "", overflow="ellipsis", no_wrap=True),
            )
        machines = Table("Machine", *_CONDITIONS, "provider id", "last failure", expand=True, box=None)
        shown = sorted(observer.machines.items(), key=lambda item: item.metadata.name)
        for machine in shown[:_MOST_MACHINES]:
            machines.add_row(*_machine_cells(machine))
        if len(shown) > _MOST_MACHINES:
            machines.add_row(f"… and {len(shown) - _MOST_MACHINES} more")
        nodes = Table("Node", "ready", "pods", expand=True, box=None)
        pods = Counter(pod.spec.node_name for pod in observer.pods.items())
        for node in sorted(observer.nodes.items(), key=lambda item: item.metadata.name)[:_MOST_MACHINES]:
            nodes.add_row(node.metadata.name, "[green]yes[/]" if node.ready else "no", str(pods[node.metadata.name]))
        return Group(
            Rule(f"{self._clock()}  {self._step}"),
            Text(summary(observer)),
            Panel(nodesets, title="NodeSets", title_align="left"),
            Panel(machines, title="Machines", title_align="left"),
            Panel(nodes, title="Nodes", title_align="left"),
        )


def summary(observer: Observer) -> str:
    """All of it in one line."""
    phases = Counter("Terminating" if p.metadata.deleting else p.status.phase for p in observer.pods.items())
    pods = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items())) or "none"
    nodesets = ", ".join(
        f"{item.metadata.name} {item.status.ready_replicas}/{item.spec.replicas}"
        for item in sorted(observer.nodesets.items(), key=lambda item: item.metadata.name)
    )
    nodes = sum(LABEL_NODESET in node.metadata.labels and node.ready for node in observer.nodes.items())
    return (
        f"pods: {pods} · ready/wanted: {nodesets or 'none'} · machines: {len(observer.machines)} · "
        f"nodes ready: {nodes} · cloud: {len(observer.instances)}"
    )


def _machine_cells(machine: Machine) -> list[str | Text]:
    conditions = (find_condition(machine.status.conditions, name) for name in _CONDITIONS)
    marks = [_MARKS[condition.status] if condition else "·" for condition in conditions]
    failure = machine.status.last_failure
    name = f"[dim]{machine.metadata.name} (going)[/]" if machine.metadata.deleting else machine.metadata.name
    return [
        name,
        *marks,
        Text(machine.status.provider_id, overflow="ellipsis", no_wrap=True),
        Text(f"{failure.code}: {failure.message}" if failure else "", overflow="ellipsis", no_wrap=True),
    ]
