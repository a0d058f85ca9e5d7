"""What the cloud is told at its start: instance types, knobs, how its machines look. Reads one YAML or JSON file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from nodeset_driver_simulated.boot.image import Image
from nodeset_driver_simulated.knobs import Knobs, Latency, Quota
from nodeset_driver_simulated.wire import MAX_VISIBILITY_DELAY, InstanceType, WireStruct

_ZONES = ["sim-1a", "sim-1b", "sim-1c"]

DEFAULT_TYPES = [
    InstanceType(
        name="small-2",
        capacity={"cpu": "2", "memory": "4Gi", "ephemeral-storage": "20Gi"},
        zones=_ZONES,
        price_per_hour="0.05",
    ),
    InstanceType(
        name="big-8",
        capacity={"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi"},
        zones=_ZONES,
        price_per_hour="0.22",
    ),
    InstanceType(
        name="gpu-1",
        capacity={"cpu": "4", "memory": "16Gi", "ephemeral-storage": "100Gi", "nvidia.com/gpu": "1"},
        zones=["sim-1a"],
        price_per_hour="0.95",
        gpu_type="nvidia-sim",
    ),
    InstanceType(
        name="arm-4",
        capacity={"cpu": "4", "memory": "8Gi", "ephemeral-storage": "40Gi"},
        zones=["sim-1b", "sim-1c"],
        architecture="arm64",
        price_per_hour="0.08",
    ),
    InstanceType(
        name="scarce-4",
        capacity={"cpu": "4", "memory": "16Gi", "ephemeral-storage": "40Gi"},
        zones=["sim-1a"],
        price_per_hour="0.06",
        limit_per_zone=0,
    ),
]


class Settings(WireStruct, frozen=True, forbid_unknown_fields=True):
    """``visibility_delay``: seconds until a new machine is seen by get, list and delete, at most what is published."""

    types: list[InstanceType] = msgspec.field(default_factory=lambda: list(DEFAULT_TYPES))
    quota: Quota = Quota()
    latency: Latency = Latency()
    visibility_delay: float = 0.0
    seed: int = 0
    image: Image = Image()

    @property
    def knobs(self) -> Knobs:
        """What the knobs stand on until an administrator turns them."""
        return Knobs(quota=self.quota, latency=self.latency)


def load_settings(path: Path | None) -> Settings:
    """The settings of that file (YAML or JSON), checked. Raises ValueError that names the key and the remedy."""
    if path is None:
        return Settings()
    try:
        return check_settings(msgspec.yaml.decode(path.read_bytes(), type=Settings))
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from None


def check_settings(settings: Settings) -> Settings:
    """The same settings. Raises ValueError for what could not work."""
    if not 0 <= settings.visibility_delay <= MAX_VISIBILITY_DELAY:
        raise ValueError(f"visibilityDelay must be between 0 and {MAX_VISIBILITY_DELAY} seconds, as drivers rely on it")
    if not 0 <= settings.latency.jitter <= 1:
        raise ValueError("latency.jitter is a share between 0 and 1")
    twice = [name for name, times in Counter(kind.name for kind in settings.types).items() if times > 1]
    if twice:
        raise ValueError(f"types: {', '.join(twice)} stands there more than once")
    for kind in settings.types:
        missing = {"cpu", "memory", "ephemeral-storage"} - set(kind.capacity)
        if missing or not kind.zones:
            raise ValueError(f"types: {kind.name} lacks {', '.join(sorted(missing)) or 'zones'}")
    return settings
