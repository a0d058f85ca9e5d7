"""Capacity and allocatable of a Node as the kubelet computes them. Pure.

Rules: pkg/kubelet/nodestatus/setters.go (MachineInfo), cm/node_container_manager_linux.go (reservations) and
pkg/kubelet/eviction (thresholds, defaults). Written apart from the provider's own computation on purpose: the two are
compared in tests.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from nodeset_driver_simulated.boot.errors import BootError
from nodeset_driver_simulated.boot.quantity import bytes_text, count_text, parse_quantity

Resources = dict[str, str]

_BYTES = ("memory", "ephemeral-storage")
_SIGNALS = {"memory": "memory.available", "ephemeral-storage": "nodefs.available"}
_DEFAULT_THRESHOLDS = {"memory.available": "100Mi", "nodefs.available": "10%"}
"""Of evictionHard, as far as they lower allocatable; they hold only where evictionHard says nothing at all."""
_DEFAULT_MAX_PODS = 110


def node_resources(machine: Mapping[str, str], settings: Mapping[str, Any]) -> tuple[Resources, Resources]:
    """``(capacity, allocatable)`` for a machine of that capacity under that KubeletConfiguration.

    Raises BootError where the kubelet would not start: what it keeps for itself exceeds the machine, or is no quantity.
    """
    capacity = {name: _quantity(value, f"capacity of {name}") for name, value in machine.items()}
    capacity["pods"] = Decimal(_pods(capacity["cpu"], settings))
    allocatable = {}
    for name, total in capacity.items():
        kept = _reserved(name, settings) + _threshold(name, total, settings)
        if kept > total:
            raise BootError(f"kubelet: invalid Node Allocatable configuration: {name} has {total:f}, {kept:f} reserved")
        allocatable[name] = total - kept
    return _text(capacity), _text(allocatable)


def _pods(cpu: Decimal, settings: Mapping[str, Any]) -> int:
    per_core, most = settings.get("podsPerCore") or 0, settings.get("maxPods") or _DEFAULT_MAX_PODS
    if not isinstance(per_core, int) or not isinstance(most, int) or most < 0:
        raise BootError("kubelet: maxPods and podsPerCore are numbers")
    return min(int(cpu) * per_core, most) if per_core > 0 else most


def _reserved(name: str, settings: Mapping[str, Any]) -> Decimal:
    reservations = (_mapping(settings, key).get(name, "0") for key in ("kubeReserved", "systemReserved"))
    return sum((_quantity(value, f"reservation of {name}") for value in reservations), Decimal(0))


def _threshold(name: str, total: Decimal, settings: Mapping[str, Any]) -> Decimal:
    signal = _SIGNALS.get(name)
    if signal is None:
        return Decimal(0)
    thresholds = _mapping(settings, "evictionHard")
    if settings.get("evictionHard") is None or settings.get("mergeDefaultEvictionSettings") is True:
        thresholds = {**_DEFAULT_THRESHOLDS, **thresholds}
    value = str(thresholds.get(signal, "0"))
    if not value.endswith("%"):
        return _quantity(value, f"evictionHard of {signal}")
    try:
        share = _float32(_float32(float(value.rstrip("%"))) / 100)
    except (ValueError, OverflowError):
        raise BootError(f"kubelet: evictionHard of {signal}: {value!r} is not a percentage") from None
    # The kubelet holds a percentage as float32: 10% of 20Gi is 32 bytes more than a tenth.
    return Decimal(0) if share in (0.0, 1.0) else Decimal(int(float(total) * share))


def _mapping(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = settings.get(key) or {}
    if not isinstance(value, dict):
        raise BootError(f"kubelet: {key} is not a mapping")
    return value


def _quantity(value: object, what: str) -> Decimal:
    try:
        quantity = parse_quantity(value)
    except ValueError as error:
        raise BootError(f"kubelet: {what}: {error}") from None
    if quantity < 0:
        raise BootError(f"kubelet: {what} is negative")
    return quantity


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _text(values: Mapping[str, Decimal]) -> Resources:
    return {name: bytes_text(value) if name in _BYTES else count_text(value) for name, value in values.items()}
