"""What the controllers have to be told; read from the server's configuration. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from nodeset_provider.api.names import LABEL_GPU
from nodeset_provider.join.request import ClusterAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerConfig:
    """``namespace`` is the provider's own: credentials and the bootstrap key are read there and nowhere else."""

    namespace: str
    access: ClusterAccess
    gpu_label: str = LABEL_GPU
    api_requests: int = 16
    """Of the controllers at one time: enough to keep an API server busy, few enough not to stand in its way."""
    machine_workers: int = 128
    """Machines that are worked on at one time, per driver; a driver that hangs holds up only its own."""
    nodeset_workers: int = 16
    node_class_workers: int = 4
    placeholder_workers: int = 8
    csr_workers: int = 16
