"""NodeClass: *what kind* of machine. Written by the platform team, read by every NodeSet that names it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from nodeset_provider.api.meta import APIStruct, Condition, ObjectMeta, SecretReference, Taint


class KubeletSettings(APIStruct, frozen=True):
    """The part of KubeletConfiguration (kubelet.config.k8s.io/v1beta1) that a class may set.

    Quantities are strings as Kubernetes writes them (``500m``, ``1Gi``); signals of ``eviction_hard`` are kubelet's
    (``memory.available: 100Mi``, ``nodefs.available: 10%``). What the kubelet keeps for itself
    (kubeReserved, systemReserved, evictionHard) is taken off the capacity in every template; so these three and maxPods
    hold as the class has them in every mode, also where the class says nothing. All else that is left out stays what
    the cluster's own configuration of kubelets makes it (modes Kubeadm, K3s, EKS).
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
    eviction_soft: dict[str, str] = {}
    """Eviction signals and the value below which pods are evicted once it has lasted evictionSoftGracePeriod."""
    eviction_soft_grace_period: dict[str, str] = {}
    """How long a value of evictionSoft may be undershot, as a duration (memory.available: "1m30s"); one for each."""
    feature_gates: dict[str, bool] = {}
    """Feature gates of the kubelet. One that no kubelet of Kubernetes 1.30 to 1.36 knows is refused."""
    serving_certificate: bool = True
    """Whether the kubelet asks the cluster for its serving certificate (serverTLSBootstrap), which the provider
    approves for this machine's names and addresses only. False: it signs one itself, and kubectl logs works only where
    the API server does not check it. Modes Bootstrap and Kubeadm; k3s and EKS see to it themselves."""
    cluster_dns: list[str] = msgspec.field(default=[], name="clusterDNS")
    """Addresses of the cluster's DNS service. Left out: what the cluster's own configuration of kubelets says, and in
    mode Bootstrap the provider's (join.clusterDNS)."""
    resolv_conf: str = ""
    """The resolver configuration that pods inherit (resolvConf), for example /run/systemd/resolve/resolv.conf."""
    container_runtime_endpoint: str = ""
    """The container runtime's socket, for example unix:///run/containerd/containerd.sock. Left out: the kubelet's own
    default."""
    cgroup_driver: Literal["", "systemd", "cgroupfs"] = ""
    """Must be the container runtime's. Left out: systemd in mode Bootstrap. k3s and nodeadm choose it themselves."""
    cpu_manager_policy: Literal["", "none", "static"] = ""
    """static: pods of the class Guaranteed may have processors of their own; needs a reservation of cpu."""
    topology_manager_policy: Literal["", "none", "best-effort", "restricted", "single-numa-node"] = ""
    """How strictly processors and devices of one pod must be on one NUMA node."""
    image_gc_high_threshold_percent: int | None = msgspec.field(default=None, name="imageGCHighThresholdPercent")
    """Disk usage in percent above which unused images are removed. Left out: the kubelet's default (85)."""
    image_gc_low_threshold_percent: int | None = msgspec.field(default=None, name="imageGCLowThresholdPercent")
    """Disk usage in percent down to which they are removed. Left out: the kubelet's default (80)."""
    pod_pids_limit: int | None = None
    """How many processes one pod may have. Left out: no limit but the node's."""
    container_log_max_size: str = ""
    """Size at which a container's log file is rotated ("10Mi"). Left out: the kubelet's default."""
    shutdown_grace_period: str = ""
    """How long a shutdown of the machine waits for pods to end ("30s"); the last third of it is left for critical pods.
    Left out: not at all."""
    allowed_unsafe_sysctls: list[str] = []
    """Sysctls beyond the safe ones that pods may set, for example net.core.somaxconn or kernel.msg*."""


class Argument(APIStruct, frozen=True):
    """One command line argument, as in kubeadm's v1beta4 API."""

    name: str
    """Name without leading dashes."""
    value: str = ""
    """Its value."""


class Patch(APIStruct, frozen=True):
    """A patch that kubeadm applies on the machine (see ``kubeadm join --patches``)."""

    target: str
    """What is patched: kubeletconfiguration, or another target that the machine's kubeadm knows."""
    content: str
    """The patch itself, as YAML or JSON."""
    type: Literal["strategic", "merge", "json"] = "strategic"
    """How it is applied."""


class KubeadmJoin(APIStruct, frozen=True):
    """Settings of mode Kubeadm: kubeadm's JoinConfiguration (kubeadm.k8s.io/v1beta4)."""

    discovery: Literal["Token", "File"] = "Token"
    """How the machine comes to trust the cluster. Token: the cluster-info ConfigMap, checked against the CA's hash.
    File: a kubeconfig in the join configuration; works without cluster-info."""
    cri_socket: str = ""
    """The container runtime's socket. Left out: kubeadm finds it."""
    kubelet_extra_args: list[Argument] = []
    """Arguments of the kubelet beyond those that the provider sets; what join.kubelet can say is refused here."""
    patches: list[Patch] = []
    """Patches that kubeadm applies on the machine, in this order, after the provider's own of kubeletconfiguration."""
    ignore_preflight_errors: list[str] = []
    """Checks of kubeadm whose failure does not stop the join."""


class K3sJoin(APIStruct, frozen=True):
    """Settings of mode K3s: a k3s agent."""

    version: str = ""
    """The k3s release that has to be on the machine, for example v1.36.1+k3s1. Left out: whichever the image brings."""
    install_command: str = ""
    """A shell command that installs k3s where it is missing or of another version; it finds the release in
    $INSTALL_K3S_VERSION. Left out: the image brings k3s, and a machine without it does not join."""
    config: dict[str, Any] = {}
    """More keys of the agent's config.yaml. What the provider sets itself (server, token, node-name, …) is refused."""


class EksJoin(APIStruct, frozen=True):
    """Settings of mode EKS: nodeadm's NodeConfig (node.eks.aws/v1alpha1). The machine's IAM role is its identity."""

    cluster_name: str
    """Name of the EKS cluster."""
    cidr: str
    """The cluster's service network, for example 10.100.0.0/16."""


class Proxy(APIStruct, frozen=True):
    """Proxy of the machine, its container runtime and its kubelet."""

    http: str = ""
    """Proxy for http, as http://host:port."""
    https: str = ""
    """Proxy for https, as http://host:port."""
    no_proxy: list[str] = []
    """Hosts, domains and networks that are reached directly; the API server's host always is."""


class RegistryMirror(APIStruct, frozen=True):
    """Where images of one registry are pulled from (containerd's hosts.toml, k3s' registries.yaml)."""

    registry: str
    """The registry as image names have it, for example docker.io; * for every registry without an entry of its own."""
    endpoints: list[str]
    """URLs that are asked in this order, before the registry itself. A path in one replaces /v2."""
    ca_certificate: str = ""
    """PEM certificate that vouches for the endpoints. Left out: the machine's own trust."""


class Join(APIStruct, frozen=True):
    """How the machine joins the cluster."""

    mode: Literal["Bootstrap", "Kubeadm", "K3s", "EKS"] = "Bootstrap"
    """How the machine gets its identity. Bootstrap: the kubelet's own TLS bootstrap, with a token made for this one
    machine. Kubeadm: kubeadm join, with such a token. K3s: a k3s agent, with such a token. EKS: nodeadm, with the
    machine's IAM role."""
    format: Literal["CloudInit", "Ignition"] = "CloudInit"
    """What reads the join configuration on the machine. CloudInit: user-data of the form #cloud-config. Ignition: an
    Ignition config of version 3.4 (Flatcar, Fedora CoreOS)."""
    endpoint: str = ""
    """https URL of the API server as machines of this class reach it. Left out: the provider's own configuration
    (join.endpoint) decides."""
    kubelet: KubeletSettings = KubeletSettings()
    """Settings of the kubelet on machines of this class."""
    kubeadm: KubeadmJoin = KubeadmJoin()
    """Settings of mode Kubeadm."""
    k3s: K3sJoin = K3sJoin()
    """Settings of mode K3s."""
    eks: EksJoin | None = None
    """Settings of mode EKS, which needs them."""
    proxy: Proxy = Proxy()
    """Proxy that the machine uses."""
    ca_certificates: list[str] = []
    """PEM certificates that the machine trusts besides those of its image."""
    registry_mirrors: list[RegistryMirror] = []
    """Where container images are pulled from."""


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
    """What is in the file, in the form that encoding says. It is no place for secrets: whoever may read NodeClasses or
    Machines reads it."""
    encoding: Literal["Text", "Base64"] = "Text"
    """Text: content is written byte for byte as UTF-8. Base64: content is decoded first, for files that are no text."""
    owner: str = "root:root"
    """Owner as user:group."""
    permissions: str = "0644"
    """Mode as an octal number in quotes, "0644" or "0755"."""


class Unit(APIStruct, frozen=True):
    """A systemd unit on the machine."""

    name: str
    """Name with its suffix, for example tuning.service."""
    content: str = ""
    """The unit file. Left out: the image brings the unit."""
    enabled: bool = True
    """Whether it is enabled, and started before the kubelet."""


class Provisioning(APIStruct, frozen=True):
    """ssh users, files, units and commands, as in kube-node. Commands run in order, before the kubelet starts."""

    users: list[User] = []
    """Logins on the machine, each name once."""
    files: list[File] = []
    """Files written before the kubelet starts, each path once."""
    units: list[Unit] = []
    """systemd units, enabled and started before the kubelet, each name once."""
    commands: list[str] = []
    """Shell commands, run by root in this order after files are written and before the kubelet starts."""
    commands_after_join: list[str] = []
    """Shell commands, run by root in this order once the kubelet has been started; whether the Node is there by then is
    not said."""


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
    registration: Literal["", "Adopt", "Handover"] = ""
    """What becomes of a Node that somebody made with kubectl ahead of its machine. Adopt: the kubelet registers as that
    very Node. Handover: it is deleted right before the machine is made, and the kubelet makes it anew; needed with a
    cloud-controller-manager. Left out: as the driver says."""
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
