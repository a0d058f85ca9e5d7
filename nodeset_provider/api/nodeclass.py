"""NodeClass: *what kind* of machine. Written by the platform team, read by every NodeSet that names it."""

from __future__ import annotations

from typing import Any, Literal

from nodeset_provider.api.meta import APIStruct, Condition, ObjectMeta, SecretReference, Taint


class KubeletSettings(APIStruct, frozen=True):
    """The part of KubeletConfiguration (kubelet.config.k8s.io/v1beta1) that a class may set.

    Quantities are strings as Kubernetes writes them (``500m``, ``1Gi``); signals of ``eviction_hard`` are kubelet's
    (``memory.available: 100Mi``, ``nodefs.available: 10%``). What the kubelet keeps for itself
    (kubeReserved, systemReserved, evictionHard) is taken off the capacity in every template.
    """

    max_pods: int = 110
    kube_reserved: dict[str, str] = {}
    system_reserved: dict[str, str] = {}
    eviction_hard: dict[str, str] = {}
    feature_gates: dict[str, bool] = {}


class Join(APIStruct, frozen=True):
    """How the machine joins the cluster."""

    mode: Literal["Bootstrap"] = "Bootstrap"
    format: Literal["CloudInit"] = "CloudInit"
    endpoint: str = ""
    """https URL of the API server as machines reach it; empty: the provider's own configuration decides."""
    kubelet: KubeletSettings = KubeletSettings()


class User(APIStruct, frozen=True):
    """A login on the machine."""

    name: str
    ssh_authorized_keys: list[str] = []
    sudo: bool = False


class File(APIStruct, frozen=True):
    """A file on the machine, written before the kubelet starts."""

    path: str
    content: str = ""
    owner: str = "root:root"
    permissions: str = "0644"


class Provisioning(APIStruct, frozen=True):
    """ssh users, files and commands, as in kube-node. Commands run in order, before the kubelet starts."""

    users: list[User] = []
    files: list[File] = []
    commands: list[str] = []


class NodeClassSpec(APIStruct, frozen=True):
    driver: str
    config: dict[str, Any] = {}
    credentials_ref: SecretReference | None = None
    join: Join = Join()
    provisioning: Provisioning = Provisioning()
    node_labels: dict[str, str] = {}
    launch_timeout_seconds: int = 900


class ResolvedTemplate(APIStruct, frozen=True):
    """The Node that would join: what the scheduler, and the Cluster Autoscaler from zero, may count on.

    ``capacity`` and ``allocatable`` are core/v1 ResourceLists; ``price_per_hour`` is a decimal string in the currency
    that the platform team uses throughout, empty where it is not known.
    """

    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    taints: list[Taint] = []
    price_per_hour: str = ""


class NodeClassStatus(APIStruct, frozen=True):
    observed_generation: int = 0
    conditions: list[Condition] = []
    template: ResolvedTemplate | None = None


class NodeClass(APIStruct, frozen=True):
    metadata: ObjectMeta
    spec: NodeClassSpec
    status: NodeClassStatus = NodeClassStatus()
