"""The kubelet's own files: KubeletConfiguration (kubelet.config.k8s.io/v1beta1) and its bootstrap kubeconfig."""

from __future__ import annotations

from typing import Any

from nodeset_provider.api import names
from nodeset_provider.api.meta import Taint
from nodeset_provider.join.allocatable import eviction_hard
from nodeset_provider.join.request import JoinRequest

UNREGISTERED = Taint(key=names.TAINT_UNREGISTERED, effect="NoExecute")


def kubelet_configuration(request: JoinRequest, *, ca_file: str) -> dict[str, Any]:
    """The KubeletConfiguration of that machine; keys in a fixed order."""
    settings = request.template.join.kubelet
    configuration: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": ca_file},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "systemd",
        "rotateCertificates": True,
        "maxPods": settings.max_pods,
        "evictionHard": eviction_hard(settings),
    }
    if request.cluster.dns:
        configuration["clusterDNS"] = list(request.cluster.dns)
        configuration["clusterDomain"] = request.cluster.domain
    if settings.kube_reserved:
        configuration["kubeReserved"] = dict(sorted(settings.kube_reserved.items()))
    if settings.system_reserved:
        configuration["systemReserved"] = dict(sorted(settings.system_reserved.items()))
    if settings.feature_gates:
        configuration["featureGates"] = dict(sorted(settings.feature_gates.items()))
    configuration["registerWithTaints"] = [_taint(taint) for taint in registration_taints(request)]
    if request.provider_id:
        configuration["providerID"] = request.provider_id
    return configuration


def registration_taints(request: JoinRequest) -> list[Taint]:
    """The taints the Node registers with: ours first, then the set's and its startup taints, each key and effect once.

    The kubelet drops a second taint of the same key and effect without a word, so the first one counts here too.
    """
    taints: dict[tuple[str, str], Taint] = {}
    for taint in (UNREGISTERED, *request.template.taints, *request.template.startup_taints):
        taints.setdefault((taint.key, taint.effect), taint)
    return list(taints.values())


def bootstrap_kubeconfig(request: JoinRequest, *, ca_file: str) -> dict[str, Any]:
    """The kubeconfig with the machine's token; the kubelet leaves it once it has a certificate of its own."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "cluster", "cluster": {"server": request.endpoint, "certificate-authority": ca_file}},
        ],
        "users": [{"name": "bootstrap", "user": {"token": request.token.value}}],
        "contexts": [{"name": "bootstrap", "context": {"cluster": "cluster", "user": "bootstrap"}}],
        "current-context": "bootstrap",
    }


def _taint(taint: Taint) -> dict[str, str]:
    fields = {"key": taint.key, "value": taint.value, "effect": taint.effect}
    return {name: value for name, value in fields.items() if value}
