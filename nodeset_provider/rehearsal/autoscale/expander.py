"""Chooses among groups that could help pending pods: the autoscaler's first, random, least-waste, price. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from nodeset_provider.rehearsal.autoscale.fit import Host
from nodeset_provider.rehearsal.autoscale.kinds import Pod

_WEIGHED: Final = ("cpu", "memory")


@dataclass(frozen=True, slots=True)
class Option:
    """Growing ``group`` by ``hosts`` (with the pods on them). ``price``: of one such node for an hour, None unknown."""

    group: str
    template: Host
    hosts: tuple[Host, ...]
    price: float | None = None

    @property
    def pods(self) -> list[Pod]:
        """The pods that would find a place."""
        return [pod for host in self.hosts for pod in host.pods]

    @property
    def waste(self) -> float:
        """Mean share of cpu and memory of the new nodes that nobody would use, 0 … 1."""
        shares: list[float] = []
        for resource in _WEIGHED:
            whole = self.template.free.get(resource, 0) * len(self.hosts)
            if whole > 0:
                shares.append(sum(host.free.get(resource, 0) for host in self.hosts) / whole)
        return sum(shares) / len(shares) if shares else 1.0


Expander = Callable[[Sequence[Option], Random], Option | None]


def _first(options: Sequence[Option], _: Random) -> Option | None:
    return options[0] if options else None


def _random(options: Sequence[Option], random: Random) -> Option | None:
    return random.choice(options) if options else None


def _least_waste(options: Sequence[Option], _: Random) -> Option | None:
    return min(options, key=lambda it: (it.waste, -len(it.pods)), default=None)


def _price(options: Sequence[Option], _: Random) -> Option | None:
    """Cheapest per pod placed; a group without a price is never chosen, as with the autoscaler."""
    costs = [(it.price * len(it.hosts) / len(it.pods), it) for it in options if it.price is not None and it.pods]
    return min(costs, key=lambda pair: pair[0], default=(0.0, None))[1]


EXPANDERS: Final[dict[str, Expander]] = {
    "least-waste": _least_waste,
    "price": _price,
    "random": _random,
    "first": _first,
}
