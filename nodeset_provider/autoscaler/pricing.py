"""What a node and a pod cost. Pure.

A node: the group's price for an hour (``spec.autoscaling.pricePerHour``, else what the driver resolved) times the hours
asked for.

A pod, "on a perfectly matching machine": its requests at the cheapest unit price among all groups that have a price. A
machine's worth in units is its cores + its GiB of memory / 8, which is about the ratio of the two in the large clouds'
price lists; a unit costs what the group with the cheapest units asks. Extended resources (GPUs) cost, apiece, what
their cheapest group asks above its cores and memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import grpc

from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.api.quantity import parse_quantity
from nodeset_provider.autoscaler.statuses import Refused, invalid
from nodeset_provider.protocol import core_pb2

GIB_OF_MEMORY_PER_UNIT: Final = 8
_GIB: Final = 2**30
_NOT_SOLD_APART: Final = frozenset({"cpu", "memory", "pods", "ephemeral-storage"})
TEMPLATE_NODE_PREFIX: Final = "template-node-for-"


class Timestamp(Protocol):
    """google.protobuf.Timestamp, and metav1.Time, which is the same on the wire."""

    seconds: int
    nanos: int


@dataclass(frozen=True, slots=True)
class UnitPrices:
    """Per hour: one unit of cores and memory, and one piece of every extended resource."""

    unit: float
    extended: Mapping[str, float]


def price_per_hour(node_set: NodeSet) -> float | None:
    """The group's price; None where neither a person nor the driver set one."""
    bounds, template = node_set.spec.autoscaling, node_set.status.template
    text = (bounds.price_per_hour if bounds else "") or (template.price_per_hour if template else "")
    try:
        price = float(text)
    except ValueError:
        return None
    return price if math.isfinite(price) and price >= 0 else None


def require_price(node_set: NodeSet) -> float:
    """The group's price for an hour; raises the refusal that names the remedy."""
    price = price_per_hour(node_set)
    if price is None:
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"NodeSet {node_set.metadata.name!r} has no price: set its spec.autoscaling.pricePerHour, or use a driver"
            " that knows prices",
        )
    return price


def require_units(prices: UnitPrices | None) -> UnitPrices:
    """The unit prices; raises the refusal that names the remedy where there are none."""
    if prices is None:
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            "no node group has a price: set spec.autoscaling.pricePerHour of at least one NodeSet, or use a driver that"
            " knows prices",
        )
    return prices


def hours(start: Timestamp, end: Timestamp) -> float:
    """How long the period is; raises Refused for one that ends before it starts."""
    seconds = (end.seconds - start.seconds) + (end.nanos - start.nanos) / 1e9
    if seconds < 0:
        raise invalid("the end of the period lies before its start")
    return seconds / 3600


def unit_prices(node_sets: Iterable[NodeSet]) -> UnitPrices | None:
    """The cheapest prices among the groups; None where no group has a price and cores or memory."""
    priced = [offer for node_set in node_sets if (offer := _offer(node_set)) is not None]
    units = [price / _units(amounts) for price, amounts in priced if _units(amounts) > 0]
    if not units:
        return None
    unit = min(units)
    extended: dict[str, float] = {}
    for price, amounts in priced:
        for resource, amount in amounts.items():
            if resource not in _NOT_SOLD_APART and amount > 0:
                rest = max(0.0, price - unit * _units(amounts)) / amount
                extended[resource] = min(rest, extended.get(resource, rest))
    return UnitPrices(unit, extended)


def pod_price_per_hour(requests: Mapping[str, float], prices: UnitPrices) -> float:
    """What those requests cost for an hour."""
    extended = sum(amount * prices.extended.get(resource, 0.0) for resource, amount in requests.items())
    return _units(requests) * prices.unit + extended


def pod_requests(pod: core_pb2.Pod) -> dict[str, float]:
    """What the scheduler reserves for it (KEP-753): all containers and sidecars, or the largest init step, + overhead.

    Raises ValueError for a quantity that Kubernetes would not have accepted.
    """
    running: dict[str, float] = {}
    peak: dict[str, float] = {}
    for container in pod.spec.initContainers:
        requests = _requests(container)
        if container.restartPolicy == "Always":
            _add(running, requests)
            step = running
        else:
            step = dict(running)
            _add(step, requests)
        _raise_to(peak, step)
    for container in pod.spec.containers:
        _add(running, _requests(container))
    _raise_to(running, peak)
    _add(running, _amounts({name: quantity.string for name, quantity in pod.spec.overhead.items()}))
    return running


def group_of_template_node(name: str) -> str:
    """The group in ``template-node-for-<group>-<random>``, which the autoscaler gives to Nodes that it made up."""
    rest = name.removeprefix(TEMPLATE_NODE_PREFIX)
    return "" if rest == name else rest.rpartition("-")[0]


def _offer(node_set: NodeSet) -> tuple[float, dict[str, float]] | None:
    """Price and capacity; None where one of them is not known or unreadable, which must not hurt the other groups."""
    price, template = price_per_hour(node_set), node_set.status.template
    if price is None or template is None:
        return None
    try:
        return price, _amounts(template.capacity)
    except ValueError:
        return None


def _requests(container: core_pb2.Container) -> dict[str, float]:
    return _amounts({name: quantity.string for name, quantity in container.resources.requests.items()})


def _amounts(resources: Mapping[str, str]) -> dict[str, float]:
    return {name: float(parse_quantity(text)) for name, text in resources.items()}


def _units(amounts: Mapping[str, float]) -> float:
    return amounts.get("cpu", 0.0) + amounts.get("memory", 0.0) / _GIB / GIB_OF_MEMORY_PER_UNIT


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0.0) + amount


def _raise_to(total: dict[str, float], floor: Mapping[str, float]) -> None:
    for name, amount in floor.items():
        total[name] = max(total.get(name, 0.0), amount)
