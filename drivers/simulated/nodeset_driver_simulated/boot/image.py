"""What the cloud's machines are installed with."""

from __future__ import annotations

import msgspec

from nodeset_driver_simulated.wire import WireStruct


class Image(WireStruct, frozen=True, forbid_unknown_fields=True):
    """What stands on every machine's disk."""

    kubelet_version: str = "v1.36.1"
    os_image: str = "Simulated Linux 1"
    kernel_version: str = "6.1.0-sim"
    container_runtime_version: str = "containerd://2.1.0"
    kubelet_port: int = 10250
    node_annotations: dict[str, str] = msgspec.field(default_factory=lambda: {"kwok.x-k8s.io/node": "fake"})
    """Put on the Node, so that kwok plays the kubelet once it is Ready."""
