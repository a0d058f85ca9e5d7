"""The bill: what was ever made and what is alive. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from nodeset_driver_simulated.cloud.records import Record
from nodeset_driver_simulated.wire import Ledger, MachineEntry, TokenEntry


def make_ledger(records: Iterable[Record], now: float) -> Ledger:
    """The ledger of all machines ever made."""
    everything = list(records)
    by_machine: dict[str, list[Record]] = {}
    by_token: dict[str, list[Record]] = {}
    for record in everything:
        by_machine.setdefault(f"{record.cluster}/{record.machine}", []).append(record)
        by_token.setdefault(record.token, []).append(record)
    return Ledger(
        made=len(everything),
        alive=_alive(everything, now),
        disks=_disks(everything, now),
        tokens={
            token: TokenEntry(
                machine=made[0].machine,
                cluster=made[0].cluster,
                made=len(made),
                alive=_alive(made, now),
                disks=_disks(made, now),
            )
            for token, made in by_token.items()
        },
        machines={
            name: MachineEntry(made=len(made), alive=_alive(made, now), most_alive=_most_alive(made, now))
            for name, made in by_machine.items()
        },
    )


def _alive(records: Iterable[Record], now: float) -> int:
    return sum(record.alive(now) for record in records)


def _disks(records: Iterable[Record], now: float) -> int:
    return sum(record.disk_exists(now) for record in records)


def _most_alive(records: Iterable[Record], now: float) -> int:
    """The highest number that existed at one moment. At the same instant, going comes before coming."""
    steps = [(record.created_at, 1) for record in records]
    steps += [(record.gone_at, -1) for record in records if record.gone_at is not None and record.gone_at <= now]
    return max(accumulate(step for _, step in sorted(steps)), default=0)
