"""``python -m testbed.demo``: starts everything, plays the scenario, tells what it saw; exit code 1 when it failed.

``KEEP=1`` leaves all of it running until Ctrl-C. ``CLUSTER_AUTOSCALER=/path`` puts the real Cluster Autoscaler in the
stand-in's place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
import time

from rich.console import Console
from rich.markup import escape

from testbed.autoscaler import real_autoscaler
from testbed.build import BuildError, build_missing
from testbed.cluster import Cluster
from testbed.controlplane import KubectlError
from testbed.demo.observer import DemoError, Observer
from testbed.demo.scenario import Scenario, cloud_settings, timeline_table
from testbed.demo.view import View
from testbed.processes import ProcessFailedError

_WIDTH_OF_LOGS = 140


def main() -> None:
    """Entry point."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_LOGS)
    started = time.monotonic()
    try:
        build_missing(console)
        with Cluster(cloud_settings=cloud_settings()) as cluster:
            cluster.start_autoscaler()
            try:
                asyncio.run(_play(cluster, console))
            except (DemoError, KubectlError):
                cluster.control_plane.failed = True
                raise
            console.print(f"[green]✓[/] all as promised, in {time.monotonic() - started:.0f} s")
            if os.environ.get("KEEP"):
                _keep(cluster, console)
    except (BuildError, DemoError, KubectlError, ProcessFailedError, FileNotFoundError) as error:
        console.print(f"[red]✗ {escape(str(error))}[/]")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


async def _play(cluster: Cluster, console: Console) -> None:
    view = View(console)
    autoscaler = real_autoscaler()
    view.step(
        "A real control plane, a simulated cloud, the provider, and "
        + (
            f"the real Cluster Autoscaler ({autoscaler.name})"
            if autoscaler
            else "a stand-in for the Cluster Autoscaler"
        )
    )
    async with Observer.watching(cluster) as observer:
        try:
            async with view.showing(observer):
                await Scenario(cluster, observer, view).play()
        finally:
            console.print(timeline_table(observer))


def _keep(cluster: Cluster, console: Console) -> None:
    kubectl = f"{cluster.control_plane.assets['kubectl']} --kubeconfig={cluster.control_plane.kubeconfig}"
    console.print(
        "\nIt goes on running until Ctrl-C. Try:\n"
        f"  alias k={shlex.quote(kubectl)}\n"
        "  k get nodesets,nodeclasses,machines,nodes\n"
        "  k scale nodeset/small --replicas=2\n"
        "  k create deployment web --image=registry.k8s.io/pause:3.10 --replicas=3\n"
        "  k describe nodeset big\n"
        f"Kubeconfig: {cluster.control_plane.kubeconfig}\n"
        f"Logs:       {cluster.control_plane.logs}\n"
        f"gRPC:       {cluster.provider.address}   metrics: {cluster.provider.metrics_url}\n"
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
