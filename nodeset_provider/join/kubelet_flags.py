"""Kubelet command line arguments of a class: what must not be said there, because it is said in another place.

A flag wins over the kubelet's configuration file: one that repeats a setting would make the node another one than its
template promises, or take its name from it.
"""

from __future__ import annotations

import re
from typing import Final

from nodeset_provider.join.errors import InvalidJoin

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SAID_ELSEWHERE: Final = {
    "allowed-unsafe-sysctls": "spec.join.kubelet.allowedUnsafeSysctls",
    "cgroup-driver": "spec.join.kubelet.cgroupDriver",
    "cluster-dns": "spec.join.kubelet.clusterDNS",
    "container-log-max-size": "spec.join.kubelet.containerLogMaxSize",
    "container-runtime-endpoint": "spec.join.kubelet.containerRuntimeEndpoint",
    "cpu-manager-policy": "spec.join.kubelet.cpuManagerPolicy",
    "eviction-hard": "spec.join.kubelet.evictionHard",
    "eviction-soft": "spec.join.kubelet.evictionSoft",
    "eviction-soft-grace-period": "spec.join.kubelet.evictionSoftGracePeriod",
    "feature-gates": "spec.join.kubelet.featureGates",
    "image-gc-high-threshold": "spec.join.kubelet.imageGCHighThresholdPercent",
    "image-gc-low-threshold": "spec.join.kubelet.imageGCLowThresholdPercent",
    "kube-reserved": "spec.join.kubelet.kubeReserved",
    "max-pods": "spec.join.kubelet.maxPods",
    "node-labels": "spec.nodeLabels",
    "pod-max-pids": "spec.join.kubelet.podPidsLimit",
    "register-with-taints": "the NodeSet's spec.taints",
    "resolv-conf": "spec.join.kubelet.resolvConf",
    "rotate-server-certificates": "spec.join.kubelet.servingCertificate",
    "system-reserved": "spec.join.kubelet.systemReserved",
    "topology-manager-policy": "spec.join.kubelet.topologyManagerPolicy",
}
_BREAKS_TEMPLATES: Final = frozenset({"local-storage-capacity-isolation", "pods-per-core", "reserved-cpus"})
"""What makes the node smaller than its template promises, and has no field."""
_ENDS_A_WORD: Final = re.compile(r"""[\s"'\\]""")
"""kubeadm puts all arguments into one variable, which systemd takes apart again at blanks, minding quotes."""
_OURS: Final = frozenset(
    {"bootstrap-kubeconfig", "cert-dir", "config", "config-dir", "hostname-override", "kubeconfig", "provider-id"}
    | {"register-node", "rotate-certificates"}
)
"""What makes the kubelet join as this machine's Node."""


def check_kubelet_flag(field: str, name: str, value: str) -> None:
    """Raises InvalidJoin with ``field`` for a flag that the provider sets, or that is none."""
    if not _NAME.fullmatch(name):
        raise InvalidJoin(field, f"{name!r} is no name of an argument; write it without leading dashes")
    if name in _SAID_ELSEWHERE:
        raise InvalidJoin(field, f"{name} is set in {_SAID_ELSEWHERE[name]}, which templates are computed from")
    if name in _OURS:
        raise InvalidJoin(field, f"{name} is set by the provider, or the machine would join as another one; remove it")
    if name in _BREAKS_TEMPLATES:
        raise InvalidJoin(field, f"{name} makes the node smaller than the autoscaler reckons with; remove it")
    if not value.isprintable() or _ENDS_A_WORD.search(value):
        raise InvalidJoin(
            field, f"the value of {name} holds blanks, quotes, backslashes or control characters; remove them"
        )
