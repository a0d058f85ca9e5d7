"""``make bench``: every measurement in one run; a table for people and ``build/bench.json``.

Figures are for comparison within the run: machines are noisy, so what counts are ratios (ours to Go's, 1,000 machines
to 100, ours to Karpenter's). Nothing is asserted here. May touch: ``build/``, processes that it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import front_door
import karpenter
from create_latency import create_latency
from ramp import ramp
from rich.console import Console
from rich.table import Table

OUTPUT = Path(__file__).resolve().parents[2] / "build" / "bench.json"
_RAMPS = (100, 1000, 5000)
_RAMP_SECONDS_PER_MACHINE = 1.0
_PEER_MACHINES = 900
"""As in the figures that Karpenter is quoted with."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ramps", type=int, nargs="*", default=list(_RAMPS), help="machines of each ramp")
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=100, help="of create latency")
    parser.add_argument("--only", choices=["front_door", "create", "ramp", "peers"], nargs="*")
    arguments = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    wanted = arguments.only or ["front_door", "create", "ramp", *(["peers"] if os.environ.get("PEERS") else [])]
    result: dict[str, Any] = json.loads(OUTPUT.read_text()) if arguments.only and OUTPUT.exists() else {}

    def step(name: str, measure: Callable[[], Any]) -> Any:  # noqa: ANN401
        _save(result)  # what is measured already is not lost to what fails later
        console.print(f"{name} …")
        return measure()

    if "front_door" in wanted:
        result["front_door"] = step(
            f"front door: {arguments.groups} groups, {arguments.nodes} nodes",
            lambda: front_door.measure(groups=arguments.groups, nodes=arguments.nodes),
        )
    if "create" in wanted:
        result["create"] = step("IncreaseSize to driver.create", lambda: create_latency(arguments.samples))
        result["create_p99_ms"] = result["create"]["p99_ms"]
    if "ramp" in wanted:
        result["ramp"] = {
            str(count): step(
                f"ramp: 0 to {count} machines",
                lambda count=count: ramp(count, timeout=120 + count * _RAMP_SECONDS_PER_MACHINE),
            )
            for count in arguments.ramps
        }
    if "peers" in wanted:
        result["karpenter"] = {
            str(_PEER_MACHINES): step(
                f"Karpenter's ramp: 0 to {_PEER_MACHINES} machines",
                lambda: karpenter.ramp(_PEER_MACHINES, timeout=900),
            )
        }
    _save(result)
    _show(Console(highlight=False), result)
    sys.stderr.write(f"{OUTPUT.relative_to(Path.cwd()) if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT}\n")


def _save(result: dict[str, Any]) -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=2) + "\n")


def _show(console: Console, result: dict[str, Any]) -> None:
    if door := result.get("front_door"):
        table = Table("front door", "ours", "Go", "ratio", title=f"{door['calls']} calls, one steady loop")
        table.add_row("loop, s", f"{door['loop_seconds']}", f"{door['loop_seconds_go']}", f"{door['loop_ratio']}")
        table.add_row("busy loop, s", f"{door['loop_seconds_busy']}", "", f"{door['loop_ratio_busy']}")
        for rpc, ours in door["rpcs"]["ours"].items():
            go = door["rpcs"]["go"][rpc]
            table.add_row(
                f"{rpc} p50 / p99, ms",
                f"{ours['p50_ms']} / {ours['p99_ms']}",
                f"{go['p50_ms']} / {go['p99_ms']}",
                f"{ours['p50_ms'] / go['p50_ms']:.1f}" if go["p50_ms"] else "",
            )
        console.print(table)
    if create := result.get("create"):
        console.print(
            f"IncreaseSize to driver.create: p50 {create['p50_ms']} ms, p99 {create['p99_ms']} ms "
            f"({create['samples']} samples)\n"
        )
    ramps = {
        **{f"{count} machines": figures for count, figures in result.get("ramp", {}).items()},
        **{f"Karpenter, {count} machines": figures for count, figures in result.get("karpenter", {}).items()},
    }
    if ramps:
        table = Table("ramp", "seconds", "machines/s", "our writes/machine", "CPU s", "CPU ms/machine", "peak MiB")
        for name, figures in ramps.items():
            count = int(name.split()[-2])
            table.add_row(
                name,
                f"{figures['seconds']:.1f}",
                f"{count / figures['seconds']:.1f}",
                f"{figures['writes_per_machine']:.2f}",
                f"{figures['cpu_seconds']:.1f}",
                f"{1000 * figures['cpu_seconds'] / count:.0f}",
                f"{figures['peak_mib']:.0f}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
