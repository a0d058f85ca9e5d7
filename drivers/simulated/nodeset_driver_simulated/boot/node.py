"""The Node that a kubelet registers, and the first status that it posts. Pure.

Rules: pkg/kubelet/kubelet_node_status.go (initialNode, tryRegisterWithAPIServer) and pkg/kubelet/nodestatus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from nodeset_driver_simulated.boot.allocatable import node_resources
from nodeset_driver_simulated.boot.image import Image
from nodeset_driver_simulated.boot.join import Join
from nodeset_driver_simulated.wire import InstanceType

_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)
_ATTACH_DETACH = "volumes.kubernetes.io/controller-managed-attach-detach"
_TOLD_DEFAULT_LABELS = frozenset(
    {
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
    }
)
_UUIDS = UUID("5f7e0f5c-6a3e-4b0e-9d2a-3f1d9a3a7c11")


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine under the kubelet."""

    instance_id: str
    address: str
    kind: InstanceType
    image: Image


def default_labels(join: Join, hardware: Hardware) -> dict[str, str]:
    """What the kubelet knows by itself. Instance type and zone it is told by others, or not at all."""
    kind = hardware.kind
    return {
        "kubernetes.io/hostname": join.node_name,
        "kubernetes.io/os": kind.operating_system,
        "kubernetes.io/arch": kind.architecture,
        "beta.kubernetes.io/os": kind.operating_system,
        "beta.kubernetes.io/arch": kind.architecture,
    }


def new_node(join: Join, hardware: Hardware, *, now: str) -> dict[str, Any]:
    """The body of the registration: not Ready yet, as a kubelet is whose runtime it has not asked yet."""
    spec: dict[str, Any] = {}
    if join.taints:
        spec["taints"] = [dict(taint) for taint in join.taints]
    if join.provider_id:
        spec["providerID"] = join.provider_id
    machine = {name: amount for name, amount in hardware.kind.capacity.items() if "/" not in name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": join.node_name,
            "labels": {**default_labels(join, hardware), **join.labels},
            # kwok takes up a Node by the annotations that it is born with: it does not look at those of a change.
            "annotations": {
                _ATTACH_DETACH: "true",
                **hardware.image.node_annotations,
            },
        },
        "spec": spec,
        "status": _status(join, hardware, machine, now=now, ready=False),
    }


def existing_node_patch(join: Join, hardware: Hardware) -> dict[str, Any]:
    """What a kubelet changes of a Node that is there already, as a strategic merge patch of ``status``.

    Labels that it knows by itself or was told under their well-known names, and the attach-detach annotation
    (tryRegisterWithAPIServer, updateDefaultLabels). Nothing else that it was told: no taint, no other label, no
    provider id. The image's annotations come along, for whoever plays the kubelet from here on.
    """
    told = {key: value for key, value in join.labels.items() if key in _TOLD_DEFAULT_LABELS}
    return {
        "metadata": {
            "labels": {**default_labels(join, hardware), **told},
            "annotations": {_ATTACH_DETACH: "true", **hardware.image.node_annotations},
        },
    }


def ready_patch(join: Join, hardware: Hardware, *, now: str) -> dict[str, Any]:
    """The first status with Ready=True as a strategic merge patch of ``status``.

    It carries the extended resources: their device plug-ins come up after the kubelet.
    """
    return {
        # The phase is for whoever plays the kubelet from here on: kwok renews only nodes in phase Running.
        "status": {"phase": "Running", **_status(join, hardware, hardware.kind.capacity, now=now, ready=True)},
    }


def _status(join: Join, hardware: Hardware, machine: dict[str, str], *, now: str, ready: bool) -> dict[str, Any]:
    capacity, allocatable = node_resources(machine, join.settings)
    image, kind = hardware.image, hardware.kind
    state = ("True", "KubeletReady", "kubelet is posting ready status")
    if not ready:
        state = ("False", "KubeletNotReady", "container runtime status check may not have completed yet")
    conditions = [(name, "False", reason, message) for name, reason, message in _PRESSURES]
    return {
        "addresses": [
            {"type": "InternalIP", "address": hardware.address},
            {"type": "Hostname", "address": join.node_name},
        ],
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": [
            {
                "type": name,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for name, status, reason, message in [*conditions, ("Ready", *state)]
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": image.kubelet_port}},
        "nodeInfo": {
            "architecture": kind.architecture,
            "bootID": str(uuid5(_UUIDS, f"boot/{hardware.instance_id}")),
            "containerRuntimeVersion": image.container_runtime_version,
            "kernelVersion": image.kernel_version,
            "kubeProxyVersion": "",
            "kubeletVersion": image.kubelet_version,
            "machineID": uuid5(_UUIDS, f"machine/{hardware.instance_id}").hex,
            "operatingSystem": kind.operating_system,
            "osImage": image.os_image,
            "systemUUID": str(uuid5(_UUIDS, f"system/{hardware.instance_id}")),
        },
    }
