"""What the demo does, in order. Each step says what it wants to see and fails when it does not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from rich.table import Table

from testbed.cluster import Cluster
from testbed.controlplane import KubectlError
from testbed.demo.observer import DemoError, Observer
from testbed.demo.reckoning import disagreements
from testbed.demo.view import View

_MANIFESTS = Path(__file__).with_name("manifests")
_SOON, _LATER = 30.0, 60.0
"""Seconds: for what happens within a second or two on an idle machine, and for what an autoscaler's back-off delays."""


class Scenario:
    """One run on one cluster.

    Args:
        cluster: runs; the autoscaler too.
        observer: watches it.
        view: tells the person.
    """

    def __init__(self, cluster: Cluster, observer: Observer, view: View) -> None:
        self._cluster = cluster
        self._observer = observer
        self._view = view
        self.developer = cluster.control_plane.kubeconfig_for("dana", ["developers"])

    async def play(self) -> None:
        """All of it.

        Raises:
            DemoError: something was not as promised.
        """
        await self._classes()
        await self._pending_pods_become_machines()
        await self._developer_scales()
        await self._out_of_capacity_falls_over()
        await self._load_goes()

    async def _classes(self) -> None:
        self._view.step("Two NodeClasses of different shape, two NodeSets at zero")
        await self._apply("nodesets")
        await self._apply("developer")
        await self._templates()

    async def _pending_pods_become_machines(self) -> None:
        self._view.step("Two pods of 6 CPUs: pending, until big machines have been made for them")
        await self._apply("load")
        await self._observer.until(
            lambda: self._observer.running("load") == 2,  # noqa: PLR2004
            seconds=_LATER,
            what="both pods run",
        )
        await self._check()

    async def _developer_scales(self) -> None:
        self._view.step("kubectl scale nodeset/small --replicas=3, as a developer who may do nothing else")
        await self._kubectl("scale", "nodeset/small", "--replicas=3", kubeconfig=self.developer)
        for forbidden in (("delete", "nodeset/small"), ("get", "secrets", "-A")):
            try:
                await self._kubectl(*forbidden, kubeconfig=self.developer)
            except KubectlError:
                self._view.note(f"kubectl {' '.join(forbidden)}: refused, as it should be")
            else:
                raise DemoError(f"the developer could: kubectl {' '.join(forbidden)}")
        await self._observer.until(
            lambda: self._observer.most_ready["small"] >= 3,  # noqa: PLR2004
            seconds=_LATER,
            what="three small machines are ready",
        )
        await self._check()

    async def _out_of_capacity_falls_over(self) -> None:
        self._view.step("A pod whose best group is out of capacity: the cloud refuses, another group takes it")
        await self._apply("scarce")
        await self._templates()  # without one the autoscaler would not even try it
        await self._apply("overflow")
        await self._observer.until(
            lambda: self._observer.failures["scarce", "InsufficientCapacity"] > 0,
            seconds=_LATER,
            what="the cloud has no scarce machine left, and the Machine says so",
        )
        self._view.note("scarce: InsufficientCapacity, shown to the autoscaler as a create error")
        await self._observer.until(
            lambda: self._observer.running("overflow") == 1, seconds=_LATER, what="the pod runs on another group"
        )
        await self._check()

    async def _load_goes(self) -> None:
        self._view.step("The load goes, and the cluster shrinks to its minimum")
        await self._kubectl("delete", "deployment", "load", "overflow", "--wait=false")
        await self._observer.until(
            lambda: not len(self._observer.machines) and not self._observer.instances and not len(self._observer.nodes),
            seconds=_LATER,
            what="no machine is left in the cluster and in the cloud",
        )
        await self._check()

    async def _templates(self) -> None:
        """Every NodeSet that was applied knows what its machines would be."""
        applied = json.loads(await self._kubectl("get", "nodesets", "-o", "json"))["items"]
        await self._observer.until(
            lambda: sum(s.status.template is not None for s in self._observer.nodesets.items()) == len(applied),
            seconds=_SOON,
            what="every NodeSet knows what its machines would be",
        )

    async def _check(self) -> None:
        """Cloud and cluster agree, once machines on their way have arrived."""
        wrong: list[str] = []
        for _ in range(100):
            instances = await self._observer.admin.instances(self._observer.cluster_id)
            ledger = await self._observer.admin.ledger()
            machines = {machine.metadata.name: machine for machine in self._observer.machines.items()}
            wrong = disagreements(instances, ledger, machines)
            if not wrong:
                self._view.note(
                    f"[green]✓[/] the cloud holds exactly the machines that the cluster knows: {len(instances)}"
                )
                return
            await asyncio.sleep(0.2)
        raise DemoError("cloud and cluster disagree: " + "; ".join(wrong))

    async def _apply(self, name: str) -> None:
        await self._kubectl("apply", "--server-side", "-f", _MANIFESTS / f"{name}.yaml")

    async def _kubectl(self, *arguments: str | Path, kubeconfig: Path | None = None) -> str:
        return await asyncio.to_thread(self._cluster.control_plane.kubectl, *arguments, kubeconfig=kubeconfig)


def timeline_table(observer: Observer) -> Table:
    """The first pod's way, for the end of the demo."""
    table = Table(
        "step", "since the pod was created", "since the step before", title="From a pending pod to a running one"
    )
    for row in observer.timeline.rows():
        table.add_row(*row)
    return table


def cloud_settings() -> dict[str, object]:
    """A cloud that takes a moment, as clouds do; scarce-4 is a type of which there is never one."""
    return {"latency": {"create": 0.2, "boot": 2.0, "delete": 0.5, "jitter": 0.2}}
