"""Mode Kubeadm: ``kubeadm join`` with a JoinConfiguration (kubeadm.k8s.io/v1beta4: Kubernetes 1.31 or newer).

The image brings kubeadm, kubelet with kubeadm's unit, and a container runtime. kubeadm takes the kubelet's
configuration from the cluster (ConfigMap kubelet-config); the class's settings are a merge patch on top of it.

The token is in the group of this one machine, never in kubeadm's own group of bootstrappers: the certificate requests
of that one are approved by themselves, for any name (docs/decisions/011). What the group needs instead is in
docs/join/kubeadm.md.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from nodeset_provider.api.nodeclass import KubeadmJoin, Patch
from nodeset_provider.join.allocatable import EVICTION_SIGNALS, RESERVABLE
from nodeset_provider.join.certificates import base64_text, check_cluster_ca, public_key_hashes
from nodeset_provider.join.document import Document, MachineFile, MachineUnit
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.kubelet import HEADER, bootstrap_kubeconfig, kubelet_settings, registration_taints
from nodeset_provider.join.kubelet_flags import check_kubelet_flag
from nodeset_provider.join.mirrors import containerd_files
from nodeset_provider.join.node_labels import labels_argument
from nodeset_provider.join.paths import DROP_IN, FOLDER
from nodeset_provider.join.proxy import proxy_environment, service_drop_in
from nodeset_provider.join.request import JoinRequest
from nodeset_provider.join.surroundings import runtime_unit, surround
from nodeset_provider.join.yaml_text import yaml_text

CONFIGURATION: Final = f"{FOLDER}/kubeadm-join.yaml"
DISCOVERY: Final = f"{FOLDER}/kubeadm-discovery.yaml"
PATCHES: Final = f"{FOLDER}/kubeadm-patches"
UNIT: Final = "kubelet.service"

_FIELD: Final = "spec.join.kubeadm"
_OUR_PATCH: Final = "kubeletconfiguration+merge.yaml"
"""kubeadm applies patches in the order of their names: '+' comes before every digit, so ours is the first."""
_TARGET: Final = re.compile(r"[a-z][a-z-]*")
_LOADER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_CHECK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WRITTEN_BY_KUBEADM: Final = (
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/pki/ca.crt",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/instance-config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
)


def document(request: JoinRequest) -> Document:
    """What a machine needs for this mode. Raises InvalidJoin with the field for what cannot work."""
    request.check()
    check_cluster_ca(request.cluster)
    join = request.template.join
    environment = proxy_environment(request)
    files = [
        MachineFile(path=CONFIGURATION, content=yaml_text(join_configuration(request)), mode=0o600),
        MachineFile(path=f"{PATCHES}/{_OUR_PATCH}", content=yaml_text(kubelet_patch(request)), mode=0o644),
        *(_patch(index, patch) for index, patch in enumerate(join.kubeadm.patches)),
    ]
    if join.kubeadm.discovery == "File":
        authority = {"certificate-authority-data": base64_text(request.cluster.ca_bundle)}
        content = yaml_text(bootstrap_kubeconfig(request, authority))
        files.insert(1, MachineFile(path=DISCOVERY, content=content, mode=0o600))
    lines = service_drop_in(environment)
    drop_ins = ((DROP_IN, b"[Service]\n" + lines),) if lines else ()
    own = Document(
        hostname=request.node_name,
        files=tuple(files),
        units=(MachineUnit(name=UNIT, drop_ins=drop_ins),),  # kubeadm starts it
        commands_after=(("kubeadm", "join", "--config", CONFIGURATION),),
    )
    return surround(
        request,
        own,
        environment=environment,
        mirrors=containerd_files(join.registry_mirrors),
        runtime=runtime_unit(join),
        reserved=_WRITTEN_BY_KUBEADM,
    )


def join_configuration(request: JoinRequest) -> dict[str, Any]:
    """The JoinConfiguration; keys in a fixed order. It holds the token."""
    patience = f"{request.template.launch_timeout_seconds}s"
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": _discovery(request),
        "nodeRegistration": _registration(request),
        "patches": {"directory": PATCHES},
        # kubeadm gives up after five minutes by itself; how long a launch may take, the class says.
        "timeouts": {"discovery": patience, "tlsBootstrap": patience, "kubeletHealthCheck": patience},
    }


def kubelet_patch(request: JoinRequest) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386) of the cluster's KubeletConfiguration: what the class says holds, all else stays.

    Reservations and hard thresholds hold as a whole, so that the node is the one that templates promise: what the
    cluster's configuration has beyond the class's is taken out (null).
    """
    fields = kubelet_settings(request)
    for name, keys in (
        ("evictionHard", EVICTION_SIGNALS),
        ("kubeReserved", RESERVABLE),
        ("systemReserved", RESERVABLE),
    ):
        fields[name] = {key: fields[name].get(key) for key in sorted({*keys, *fields[name]})}
    settings = request.template.join.kubelet
    if settings.cgroup_driver:
        fields["cgroupDriver"] = settings.cgroup_driver
    return {**HEADER, **fields, "serverTLSBootstrap": settings.serving_certificate}


def _discovery(request: JoinRequest) -> dict[str, Any]:
    token = request.token.value
    if request.template.join.kubeadm.discovery == "File":
        return {"file": {"kubeConfigPath": DISCOVERY}, "tlsBootstrapToken": token}
    parts = urlsplit(request.endpoint)
    if parts.path.strip("/"):
        raise InvalidJoin("spec.join.endpoint", "has a path, which token discovery cannot have; set discovery: File")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return {
        "bootstrapToken": {
            "apiServerEndpoint": f"{host}:{parts.port or 443}",
            "token": token,
            "caCertHashes": public_key_hashes(request.cluster),
        },
        "tlsBootstrapToken": token,
    }


def _registration(request: JoinRequest) -> dict[str, Any]:
    join = request.template.join
    registration: dict[str, Any] = {"name": request.node_name}
    socket = join.kubeadm.cri_socket or join.kubelet.container_runtime_endpoint
    if socket:
        registration["criSocket"] = socket
    registration["taints"] = registration_taints(request)
    arguments = _arguments(request, join.kubeadm)
    if arguments:
        registration["kubeletExtraArgs"] = arguments
    if join.kubeadm.ignore_preflight_errors:
        for index, check in enumerate(join.kubeadm.ignore_preflight_errors):
            if not _CHECK.fullmatch(check):
                field = f"{_FIELD}.ignorePreflightErrors[{index}]"
                raise InvalidJoin(field, f"{check!r} is no name of a check; write for example Swap")
        registration["ignorePreflightErrors"] = list(join.kubeadm.ignore_preflight_errors)
    return registration


def _arguments(request: JoinRequest, kubeadm: KubeadmJoin) -> list[dict[str, str]]:
    labels = labels_argument(request.template.labels)
    arguments = [{"name": "node-labels", "value": labels}] if labels else []
    for index, argument in enumerate(kubeadm.kubelet_extra_args):
        check_kubelet_flag(f"{_FIELD}.kubeletExtraArgs[{index}]", argument.name, argument.value)
        arguments.append({"name": argument.name, "value": argument.value})
    return arguments


def _patch(index: int, patch: Patch) -> MachineFile:
    field = f"{_FIELD}.patches[{index}]"
    if not _TARGET.fullmatch(patch.target):
        raise InvalidJoin(f"{field}.target", f"{patch.target!r} is none that kubeadm knows; write kubeletconfiguration")
    try:
        content = patch.content.encode()
    except UnicodeEncodeError:
        raise InvalidJoin(f"{field}.content", "holds half of a surrogate pair; remove it") from None
    kind, what = (list, "a list of operations") if patch.type == "json" else (dict, "a mapping")
    try:
        parts = [part for part in yaml.load_all(content, Loader=_LOADER) if part != ""]
    except (yaml.YAMLError, RecursionError):
        raise InvalidJoin(f"{field}.content", "is neither YAML nor JSON; correct it") from None
    if not parts or not all(isinstance(part, kind) for part in parts):
        raise InvalidJoin(f"{field}.content", f"is no patch of type {patch.type}, which is {what}; correct it")
    return MachineFile(path=f"{PATCHES}/{patch.target}{index:02}+{patch.type}.yaml", content=content, mode=0o644)
