"""The kubelet's own files: KubeletConfiguration (kubelet.config.k8s.io/v1beta1) and its bootstrap kubeconfig.

``kubelet_settings`` is what the class says, in every mode alike; what a mode has to say in another place (the runtime's
socket, taints, who signs the serving certificate) is not in it. What a kubelet would refuse and the API server cannot
tell (``api/crd_fields.py`` has the rules that it can) is refused here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from nodeset_provider.api import names
from nodeset_provider.api.meta import Taint
from nodeset_provider.api.nodeclass import KubeletSettings
from nodeset_provider.join import duration
from nodeset_provider.join.allocatable import eviction_hard
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.feature_gates import check_feature_gates
from nodeset_provider.join.request import JoinRequest

UNREGISTERED = Taint(key=names.TAINT_UNREGISTERED, effect="NoExecute")
HEADER: Final[Mapping[str, str]] = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}

_FIELD: Final = "spec.join.kubelet"
_CRITICAL_SHARE: Final = 3
"""Critical pods get the last third of the grace period; all of it would leave the others none."""


def kubelet_settings(request: JoinRequest) -> dict[str, Any]:
    """The class's settings as KubeletConfiguration fields, in a fixed order; what the class leaves out is left out.

    Always there is what templates are computed from: maxPods, kubeReserved, systemReserved, evictionHard.
    Raises InvalidJoin for what no kubelet starts with.
    """
    settings = request.template.join.kubelet
    check_feature_gates(f"{_FIELD}.featureGates", settings.feature_gates)
    for index, address in enumerate(settings.cluster_dns):
        _check_address(f"{_FIELD}.clusterDNS[{index}]", address)
    fields: dict[str, Any] = {
        "maxPods": settings.max_pods,
        "evictionHard": eviction_hard(settings),
        "kubeReserved": _sorted(settings.kube_reserved),
        "systemReserved": _sorted(settings.system_reserved),
    }
    optional: dict[str, Any] = {
        "evictionSoft": _sorted(settings.eviction_soft),
        "evictionSoftGracePeriod": _sorted(settings.eviction_soft_grace_period),
        "featureGates": _sorted(settings.feature_gates),
        "clusterDNS": list(settings.cluster_dns),
        "resolvConf": settings.resolv_conf,
        "cpuManagerPolicy": settings.cpu_manager_policy,
        "topologyManagerPolicy": settings.topology_manager_policy,
        "imageGCHighThresholdPercent": settings.image_gc_high_threshold_percent,
        "imageGCLowThresholdPercent": settings.image_gc_low_threshold_percent,
        "podPidsLimit": settings.pod_pids_limit,
        "containerLogMaxSize": settings.container_log_max_size,
        **_shutdown(settings),
        "allowedUnsafeSysctls": list(settings.allowed_unsafe_sysctls),
        "providerID": request.provider_id,
    }
    return fields | {name: value for name, value in optional.items() if value not in (None, "", [], {})}


def kubelet_configuration(request: JoinRequest, *, ca_file: str) -> dict[str, Any]:
    """The whole KubeletConfiguration of a machine that has no other; keys in a fixed order."""
    settings = request.template.join.kubelet
    configuration: dict[str, Any] = {
        **HEADER,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": ca_file},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": settings.cgroup_driver or "systemd",
        "rotateCertificates": True,
        "serverTLSBootstrap": settings.serving_certificate,
    }
    if settings.container_runtime_endpoint:
        configuration["containerRuntimeEndpoint"] = settings.container_runtime_endpoint
    if settings.cluster_dns or request.cluster.dns:
        configuration["clusterDNS"] = list(request.cluster.dns)
        configuration["clusterDomain"] = request.cluster.domain
    configuration |= {name: value for name, value in kubelet_settings(request).items() if value != {}}
    configuration["registerWithTaints"] = registration_taints(request)
    return configuration


def registration_taints(request: JoinRequest) -> list[dict[str, str]]:
    """The taints the Node registers with: ours first, then the set's and its startup taints, each key and effect once.

    The kubelet drops a second taint of the same key and effect without a word, so the first one counts here too.
    """
    taints: dict[tuple[str, str], Taint] = {}
    for taint in (UNREGISTERED, *request.template.taints, *request.template.startup_taints):
        taints.setdefault((taint.key, taint.effect), taint)
    return [_taint(taint) for taint in taints.values()]


def bootstrap_kubeconfig(request: JoinRequest, cluster: Mapping[str, str]) -> dict[str, Any]:
    """The kubeconfig with the machine's token; ``cluster`` says how it knows the CA.

    The kubelet leaves it once it has a certificate of its own.
    """
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {"server": request.endpoint, **cluster}}],
        "users": [{"name": "bootstrap", "user": {"token": request.token.value}}],
        "contexts": [{"name": "bootstrap", "context": {"cluster": "cluster", "user": "bootstrap"}}],
        "current-context": "bootstrap",
    }


def _check_address(field: str, address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise InvalidJoin(field, f"{address!r} is no IP address; write for example 10.96.0.10") from None


def _shutdown(settings: KubeletSettings) -> dict[str, str]:
    if not settings.shutdown_grace_period:
        return {}
    try:
        total = duration.seconds(settings.shutdown_grace_period)
    except ValueError as error:
        raise InvalidJoin(f"{_FIELD}.shutdownGracePeriod", str(error)) from None
    if total < 1:
        raise InvalidJoin(f"{_FIELD}.shutdownGracePeriod", "must be at least 1s")
    return {
        "shutdownGracePeriod": settings.shutdown_grace_period,
        "shutdownGracePeriodCriticalPods": f"{int(total) // _CRITICAL_SHARE}s",
    }


def _taint(taint: Taint) -> dict[str, str]:
    fields = {"key": taint.key, "value": taint.value, "effect": taint.effect}
    return {name: value for name, value in fields.items() if value}


def _sorted(entries: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(entries.items()))
