"""``rehearse autoscale``: the stand-in's command line, its clockwork, and its end by SIGTERM."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from nodeset_provider.rehearsal.autoscale.cluster import Cluster, ClusterError
from nodeset_provider.rehearsal.autoscale.events import EventLog
from nodeset_provider.rehearsal.autoscale.expander import EXPANDERS
from nodeset_provider.rehearsal.autoscale.front_door import FrontDoor
from nodeset_provider.rehearsal.autoscale.loop import Autoscaler, Settings
from nodeset_provider.rehearsal.connection import Provider, Target
from nodeset_provider.rehearsal.options import channel_to, provider_options

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """``10s``, ``1m30s``, ``500ms``, as the autoscaler's flags; a bare number is seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; fails with a usage error."""
        text = str(value)
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"{text!r}: expected a duration such as 10s, 1m30s or 500ms", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _duration(flag: str, default: str, help_: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(flag, type=Duration(), default=default, show_default=True, help=help_)


@click.command()
@provider_options
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Left out: KUBECONFIG, ~/.kube/config, or the pod's own account.",
)
@click.option("--expander", type=click.Choice(list(EXPANDERS)), default="least-waste", show_default=True)
@_duration("--scan-interval", "10s", "Time between two looks.")
@_duration("--scale-down-unneeded-time", "10m", "How long a node has to be empty before it goes.")
@_duration("--scale-down-delay-after-add", "10m", "How long after a scale-up nothing goes.")
@_duration("--max-node-provision-time", "15m", "How long a machine may take to register.")
@_duration("--initial-node-group-backoff-duration", "5m", "How long a group is left alone after a failure.")
@_duration("--max-node-group-backoff-duration", "30m", "The longest that repeated failures make of it.")
@click.option("--events", type=click.Path(path_type=Path, dir_okay=False), help="Append events here, one JSON a line.")
def autoscale(
    *,
    target: Target,
    timeout: float,
    kubeconfig: Path | None,
    expander: str,
    scan_interval: float,
    scale_down_unneeded_time: float,
    scale_down_delay_after_add: float,
    max_node_provision_time: float,
    initial_node_group_backoff_duration: float,
    max_node_group_backoff_duration: float,
    events: Path | None,
) -> None:
    """Scale a cluster as a small stand-in for the Cluster Autoscaler: for demos and tests, not for production.

    It grows a group for pods that fit nowhere and takes away nodes that are empty, through the provider at --address.
    It moves no pod, and does not look at affinity between pods, topology spread, volumes or disruption budgets. The
    flags have the autoscaler's names and defaults.

    The real one takes the same provider:

    \b
      cluster-autoscaler --cloud-provider=externalgrpc --cloud-config=cloud-config.yaml

    with a cloud-config.yaml of

    \b
      address: HOST:PORT
      cert: client.crt    # these three left out: plaintext
      key: client.key
      cacert: ca.crt
    """  # noqa: D301 - click wants the backspace character itself
    settings = Settings(
        expander=expander,
        unneeded_time=scale_down_unneeded_time,
        delay_after_add=scale_down_delay_after_add,
        max_node_provision_time=max_node_provision_time,
        initial_backoff=initial_node_group_backoff_duration,
        max_backoff=max_node_group_backoff_duration,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        channel = stack.enter_context(channel_to(target))
        try:
            cluster = Cluster.connect(kubeconfig)
            file = stack.enter_context(events.open("a")) if events else None
        except ClusterError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.UsageError(f"--events {events}: {error.strerror}") from error
        log = EventLog(sys.stdout, file)
        autoscaler = Autoscaler(cluster, FrontDoor(Provider(channel, timeout=timeout)), log, settings)
        log.emit("started", provider=target.address, expander=expander, scan_interval=scan_interval)
        autoscaler.recover()
        while not stop.is_set():
            if not autoscaler.run_once():
                stop.wait(scan_interval)
        log.emit("stopped")
