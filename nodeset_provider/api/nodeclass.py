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
    """How many pods the node takes."""
    kube_reserved: dict[str, str] = {}
    """What is kept for Kubernetes' own daemons: quantities of cpu, memory, ephemeral-storage and pid, written as
    strings (cpu: "100m"). Taken off what pods may use."""
    system_reserved: dict[str, str] = {}
    """What is kept for the operating system: as kubeReserved."""
    eviction_hard: dict[str, str] = {}
    """Eviction signals and the value below which pods are evicted, as a quantity or a percentage
    (memory.available: "100Mi", nodefs.available: "10%"). Left out: the kubelet's own defaults."""
    feature_gates: dict[str, bool] = {}
    """Feature gates of the kubelet."""


class Join(APIStruct, frozen=True):
    """How the machine joins the cluster."""

    mode: Literal["Bootstrap"] = "Bootstrap"
    """How the machine gets its identity. Bootstrap: the kubelet's own TLS bootstrap, with a token made for this one
    machine."""
    format: Literal["CloudInit"] = "CloudInit"
    """What reads the join configuration on the machine. CloudInit: user-data of the form #cloud-config."""
    endpoint: str = ""
    """https URL of the API server as machines of this class reach it. Left out: the provider's own configuration
    (join.endpoint) decides."""
    kubelet: KubeletSettings = KubeletSettings()
    """Settings of the kubelet on machines of this class."""


class User(APIStruct, frozen=True):
    """A login on the machine."""

    name: str
    """Login name."""
    ssh_authorized_keys: list[str] = []
    """Public keys that may log in, each one line as in ~/.ssh/authorized_keys."""
    sudo: bool = False
    """Whether the user may become root without a password."""


class File(APIStruct, frozen=True):
    """A file on the machine, written before the kubelet starts."""

    path: str
    """Absolute path of the file. Missing folders are made."""
    content: str = ""
    """What is in the file, written byte for byte as UTF-8. It is no place for secrets: whoever may read NodeClasses or
    Machines reads it."""
    owner: str = "root:root"
    """Owner as user:group."""
    permissions: str = "0644"
    """Mode as an octal number in quotes, "0644" or "0755"."""


class Provisioning(APIStruct, frozen=True):
    """ssh users, files and commands, as in kube-node. Commands run in order, before the kubelet starts."""

    users: list[User] = []
    """Logins on the machine, each name once."""
    files: list[File] = []
    """Files written before the kubelet starts, each path once."""
    commands: list[str] = []
    """Shell commands, run by root in this order after files are written and before the kubelet starts."""


class NodeClassSpec(APIStruct, frozen=True):
    driver: str
    """Name of the driver that makes the machines, as a StorageClass names its provisioner. A provider leaves classes
    of drivers that it does not serve alone. Cannot be changed: another driver is another NodeClass."""
    config: dict[str, Any] = {}
    """The driver's own settings (instance type, image, network, …). Which keys there are, the driver's documentation
    says; a wrong one is reported in the condition Valid. Never holds secrets: see credentialsRef."""
    credentials_ref: SecretReference | None = None
    """The Secret with the credentials for the driver's cloud. Only the reference is ever copied, never its content."""
    join: Join = Join()
    """How machines of this class join the cluster."""
    provisioning: Provisioning = Provisioning()
    """Users, files and commands that machines of this class get besides the join configuration."""
    node_labels: dict[str, str] = {}
    """Labels of every Node of this class; a NodeSet may add to them and override them."""
    launch_timeout_seconds: int = 900
    """Seconds from the launch until the Node must have registered; after that the launch has failed. The bootstrap
    token of the machine lives as long."""


class ResolvedTemplate(APIStruct, frozen=True):
    """The Node that would join: what the scheduler, and the Cluster Autoscaler from zero, may count on.

    ``capacity`` and ``allocatable`` are core/v1 ResourceLists; ``price_per_hour`` is a decimal string in the currency
    that the platform team uses throughout, empty where it is not known.
    """

    capacity: dict[str, str] = {}
    """What the machine has: cpu, memory, ephemeral-storage, pods and extended resources."""
    allocatable: dict[str, str] = {}
    """What pods may use of it: capacity less what the kubelet and the system keep and less the eviction thresholds."""
    labels: dict[str, str] = {}
    """Labels of the Node, without its host name."""
    annotations: dict[str, str] = {}
    """Annotations of the Node."""
    taints: list[Taint] = []
    """Taints of the Node once it has started, and startup taints that something else takes away."""
    price_per_hour: str = ""
    """Price of one machine for one hour as a decimal number; absent where nobody knows it."""


class NodeClassStatus(APIStruct, frozen=True):
    observed_generation: int = 0
    """The metadata.generation of the spec that this status was worked out from."""
    conditions: list[Condition] = []
    """Valid: the driver is served here, accepts the config, and the Secret is there. Ready: valid, and resolved into a
    template. Where one is False, its message names the field and the remedy."""
    template: ResolvedTemplate | None = None
    """The machine that this class would make, as the driver resolved it: capacity, labels, hourly price."""


class NodeClass(APIStruct, frozen=True):
    """What kind of machine: the driver and its settings, how the machine joins, and what is put on it.

    Written by the platform team; NodeSets name it. Changing it changes no machine that exists: each Machine keeps a
    frozen copy of what it was made from.
    """

    metadata: ObjectMeta
    spec: NodeClassSpec
    """The kind of machine that is wanted."""
    status: NodeClassStatus = NodeClassStatus()
    """What became of it: whether it is valid, and the machine that it would make."""
