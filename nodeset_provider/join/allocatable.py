"""What a machine's Node will offer: capacity and allocatable, computed as the kubelet will compute them.

Rules from kubelet's pkg/kubelet/cm/node_container_manager_linux.go (reservations), pkg/kubelet/cm/helpers.go (which
hard eviction thresholds count), pkg/kubelet/nodestatus/setters.go (the published figures) and pkg/kubelet/eviction
(thresholds and their defaults). A template that promised more than the Node then offers would make the autoscaler buy
machines on which its pods do not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final

from nodeset_provider.api.nodeclass import KubeletSettings
from nodeset_provider.api.quantity import format_binary, format_decimal, parse_quantity
from nodeset_provider.join.errors import InvalidJoin

CPU: Final = "cpu"
MEMORY: Final = "memory"
EPHEMERAL_STORAGE: Final = "ephemeral-storage"
PODS: Final = "pods"
HUGE_PAGES_PREFIX: Final = "hugepages-"

DEFAULT_EVICTION_HARD: Final[Mapping[str, str]] = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
"""kubelet's DefaultEvictionHard on Linux."""

EVICTION_SIGNALS: Final = frozenset(DEFAULT_EVICTION_HARD) | {
    "containerfs.available",
    "containerfs.inodesFree",
    "pid.available",
    "allocatableMemory.available",
}
"""Every signal that a kubelet can have a threshold for (pkg/kubelet/eviction/api)."""
_SIGNAL_OF_RESOURCE: Final = {MEMORY: "memory.available", EPHEMERAL_STORAGE: "nodefs.available"}
"""The only two thresholds that lower allocatable."""
RESERVABLE: Final = (CPU, MEMORY, EPHEMERAL_STORAGE, "pid")
"""What a kubelet can keep back."""
_FIELD: Final = "spec.join.kubelet"
_IGNORED_THRESHOLDS: Final = ("0%", "100%")


def eviction_hard(kubelet: KubeletSettings) -> dict[str, str]:
    """Every hard eviction threshold that will hold: the class's own over kubelet's defaults.

    A kubelet that is given *any* threshold drops all its defaults (it merges them only with
    mergeDefaultEvictionSettings, which older ones do not know); a class that raises the memory threshold would so turn
    off the one on disk without noticing. So the merged set is always written out. ``0%`` turns one off.
    """
    return dict(sorted({**DEFAULT_EVICTION_HARD, **kubelet.eviction_hard}.items()))


def resolve_resources(capacity: Mapping[str, str], kubelet: KubeletSettings) -> tuple[dict[str, str], dict[str, str]]:
    """``(capacity, allocatable)`` of the Node, both core/v1 ResourceLists in the kubelet's own notation.

    ``capacity`` is the machine's (``cpu`` in cores, ``memory`` and ``ephemeral-storage`` in bytes, huge pages in bytes,
    extended resources in pieces; a ``pods`` entry is overruled by ``maxPods``).

    Raises:
        InvalidJoin: a quantity or signal that the kubelet would refuse, or reservations above the capacity, with which
            it does not start (validateNodeAllocatable).
    """
    total = {name: _quantity(f"capacity[{name}]", text) for name, text in capacity.items()}
    if kubelet.max_pods < 1:
        raise InvalidJoin(f"{_FIELD}.maxPods", f"{kubelet.max_pods} leaves no room for pods; at least 1")
    total[PODS] = Decimal(kubelet.max_pods)
    system = _reservation("systemReserved", kubelet.system_reserved)
    kube = _reservation("kubeReserved", kubelet.kube_reserved)
    thresholds = _check_thresholds(eviction_hard(kubelet))
    allocatable: dict[str, Decimal] = {}
    for name, amount in total.items():
        evicted = _threshold(thresholds.get(_SIGNAL_OF_RESOURCE.get(name, ""), "0%"), amount)
        reserved = system.get(name, Decimal(0)) + kube.get(name, Decimal(0)) + evicted
        if reserved > amount:
            raise InvalidJoin(
                _FIELD,
                f"kubeReserved, systemReserved and evictionHard keep {_text(name, reserved)} of {name} back, but the "
                f"machine has only {_text(name, amount)}; lower them or choose a bigger machine",
            )
        allocatable[name] = amount - reserved
    if MEMORY in total:
        pages = sum((amount for name, amount in total.items() if name.startswith(HUGE_PAGES_PREFIX)), Decimal(0))
        allocatable[MEMORY] = max(allocatable[MEMORY] - pages, Decimal(0))
    return _texts(total), _texts(allocatable)


def _reservation(field: str, reserved: Mapping[str, str]) -> dict[str, Decimal]:
    for name in reserved:
        if name not in RESERVABLE:
            raise InvalidJoin(
                f"{_FIELD}.{field}[{name}]",
                f"a kubelet reserves only {', '.join(RESERVABLE)}; remove this entry",
            )
    return {name: _quantity(f"{_FIELD}.{field}[{name}]", text) for name, text in reserved.items()}


def _check_thresholds(thresholds: dict[str, str]) -> dict[str, str]:
    for signal, value in thresholds.items():
        field = f"{_FIELD}.evictionHard[{signal}]"
        if signal not in EVICTION_SIGNALS:
            raise InvalidJoin(field, f"no eviction signal of a kubelet; it knows {', '.join(sorted(EVICTION_SIGNALS))}")
        if value.endswith("%"):
            try:
                share = float(value.removesuffix("%"))
            except ValueError:
                raise InvalidJoin(field, f"{value!r} is no percentage; write for example 10%") from None
            if not 0 <= share <= 100:  # noqa: PLR2004
                raise InvalidJoin(field, f"{value} is not between 0% and 100%")
        elif _quantity(field, value) == 0:
            raise InvalidJoin(field, "must be positive; write 0% to turn this threshold off")
    return thresholds


def _threshold(value: str, capacity: Decimal) -> Decimal:
    if value in _IGNORED_THRESHOLDS:
        return Decimal(0)
    if not value.endswith("%"):
        return parse_quantity(value)
    # The kubelet holds the percentage as a float32 and multiplies as float64: 10% is a little more than a tenth there.
    share = _float32(_float32(float(value.removesuffix("%"))) / 100)
    return Decimal(int(float(capacity.to_integral_value(rounding=ROUND_CEILING)) * share))


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _quantity(field: str, text: str) -> Decimal:
    try:
        value = parse_quantity(text)
    except ValueError as error:
        raise InvalidJoin(field, str(error)) from None
    if value < 0:
        raise InvalidJoin(field, f"{text} is negative; a quantity here is 0 or more")
    return value


def _texts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {name: _text(name, amount) for name, amount in sorted(amounts.items())}


def _text(name: str, amount: Decimal) -> str:
    binary = name in (MEMORY, EPHEMERAL_STORAGE) or name.startswith(HUGE_PAGES_PREFIX)
    return format_binary(amount) if binary else format_decimal(amount)
