"""What the join configuration of a NodeClass refuses: limits and CEL rules, as :mod:`nodeset_provider.api.crd_fields`.

The rules of kubelet settings are the kubelet's own (pkg/kubelet/apis/config/validation, pkg/kubelet/eviction,
pkg/kubelet/cm/cpumanager, pkg/kubelet/sysctl of Kubernetes): a class that breaks one makes machines whose kubelet
exits. What CEL cannot tell (whether a feature gate exists, whether PEM is a certificate, in Kubernetes 1.30 also what
an address is) the provider says in a condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodeset_provider.api import cel
from nodeset_provider.api.cel import Rule
from nodeset_provider.api.crd_schema import Constraints
from nodeset_provider.api.nodeclass import (
    Argument,
    EksJoin,
    Join,
    K3sJoin,
    KubeadmJoin,
    KubeletSettings,
    Patch,
    Proxy,
    RegistryMirror,
)

_Keys = Mapping[str, Any]

_RESERVED_RESOURCES = ("cpu", "memory", "ephemeral-storage", "pid")
"""What a kubelet can reserve (KubeletConfiguration kubeReserved, systemReserved)."""
_EVICTION_SIGNALS = (
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "containerfs.available",
    "containerfs.inodesFree",
    "pid.available",
)
"""Signals of the kubelet's eviction manager that can have a threshold."""
_DURATION = "^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$"
_HIGH, _LOW = 85, 80
"""The kubelet's own thresholds of image garbage collection in percent."""

QUANTITY = Rule(
    "isQuantity(self) && !self.startsWith('-')", 'must be a quantity of 0 or more in quotes, such as "100m" or "1Gi"'
)
_NO_LOGIN = Rule(
    "!self.contains('@')",
    "must not hold a user name or password, which everybody who reads NodeClasses would see: remove it",
)
_URL_OF_PROXY = cel.text(
    1024,
    Rule(
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",
        "must be the URL of a proxy, such as http://proxy.example.org:3128",
    ),
    _NO_LOGIN,
)
_PEM = Rule(
    "self.contains('-----BEGIN CERTIFICATE-----') && self.contains('-----END CERTIFICATE-----')",
    "must be a certificate in PEM form: it begins with -----BEGIN CERTIFICATE-----",
)
_NO_KEY = Rule(
    "!self.contains('PRIVATE KEY-----')",
    "holds a private key, which everybody who reads NodeClasses would see: leave the certificate only",
)
_CERTIFICATE = cel.text(65536, _PEM, _NO_KEY)


def _reserved(field: str) -> _Keys:
    return {
        "maxProperties": len(_RESERVED_RESOURCES),
        "additionalProperties": cel.text(32, QUANTITY),
        **cel.rules(cel.keys_among(_RESERVED_RESOURCES, field)),
    }


def _thresholds(field: str) -> _Keys:
    return {
        "maxProperties": len(_EVICTION_SIGNALS),
        "additionalProperties": cel.text(
            32,
            Rule(
                "self.matches('^(100|[0-9]{1,2}([.][0-9]+)?)%$') || isQuantity(self) && !self.startsWith('-')",
                'must be a quantity or a percentage in quotes, such as "100Mi" or "10%"',
            ),
        ),
        **cel.rules(cel.keys_among(_EVICTION_SIGNALS, field)),
    }


def _in(*modes: str) -> str:
    """Whether that is the mode. An object's own default is checked before the defaults within it are there."""
    return f"(has(self.mode) && self.mode in [{', '.join(cel.literal(mode) for mode in modes)}])"


def _only_with(mode: str, field: str) -> Rule:
    return Rule(f"{_in(mode)} || !has(self.{field})", f"{field} is for mode {mode} only: remove it")


def _not_with(modes: tuple[str, ...], kubelet_field: str, why: str) -> Rule:
    return Rule(
        f"!{_in(*modes)} || !has(self.kubelet) || !has(self.kubelet.{kubelet_field})",
        f"kubelet.{kubelet_field} must be left out in this mode: {why}",
    )


def _keeps_cpu(field: str) -> str:
    amount = f"self.{field}['cpu']"
    return (
        f"(has(self.{field}) && 'cpu' in self.{field} && isQuantity({amount}) && "
        f"quantity({amount}).isGreaterThan(quantity('0')))"
    )


_OURS_IN_K3S = (
    ("server", "endpoint"),
    ("token", ""),
    ("token-file", ""),
    ("node-name", ""),
    ("with-node-id", ""),
    ("data-dir", ""),
    ("node-label", "spec.nodeLabels"),
    ("node-taint", "the taints of the NodeSet"),
    ("private-registry", "registryMirrors"),
    ("container-runtime-endpoint", "kubelet.containerRuntimeEndpoint"),
    ("resolv-conf", "kubelet.resolvConf"),
)
"""Keys of an agent's config.yaml that the provider writes, and the field of ours that says what is in them."""


def _k3s_key(key: str, instead: str) -> Rule:
    escaped = key.replace("-", "__dash__")
    remedy = f"say it in {instead}" if instead else "remove it"
    return Rule(f"!has(self.{escaped})", f"k3s.config.{key} is set by the provider: {remedy}")


JOIN_FIELDS: Constraints = {
    Join: {
        "": cel.rules(
            Rule(f"!{_in('EKS')} || has(self.eks)", "mode EKS needs eks: give clusterName and cidr"),
            _only_with("EKS", "eks"),
            _only_with("K3s", "k3s"),
            Rule(
                f"{_in('Kubeadm')} || !has(self.kubeadm) || self.kubeadm.discovery == 'Token' && "
                "!has(self.kubeadm.criSocket) && !has(self.kubeadm.kubeletExtraArgs) && !has(self.kubeadm.patches) && "
                "!has(self.kubeadm.ignorePreflightErrors)",
                "kubeadm is for mode Kubeadm only: remove it",
            ),
            Rule(
                f"!{_in('EKS')} || self.format == 'CloudInit'",
                "mode EKS needs format CloudInit: nodeadm reads its part of MIME user-data",
            ),
            Rule(
                f"!{_in('EKS')} || has(self.kubelet) && has(self.kubelet.kubeReserved)",
                "mode EKS needs kubelet.kubeReserved: nodeadm would reserve by a formula of its own otherwise, and the "
                "node would be smaller than its template says",
            ),
            Rule(
                "!has(self.kubeadm) || !has(self.kubeadm.criSocket) || !has(self.kubelet) || "
                "!has(self.kubelet.containerRuntimeEndpoint)",
                "kubeadm.criSocket and kubelet.containerRuntimeEndpoint say the same: leave one of them out",
            ),
            _not_with(("EKS",), "containerRuntimeEndpoint", "nodeadm starts containerd and knows its socket"),
            _not_with(("K3s", "EKS"), "cgroupDriver", "k3s and nodeadm choose it for the containerd that they start"),
            Rule(
                f"!{_in('K3s', 'EKS')} || !has(self.kubelet) || self.kubelet.servingCertificate",
                "kubelet.servingCertificate cannot be false in this mode: k3s and EKS always sign it",
            ),
        ),
        "endpoint": cel.text(
            2048,
            Rule(
                "isURL(self) && url(self).getScheme() == 'https' && url(self).getHostname() != ''",
                "endpoint must be an https URL that machines can reach, such as https://10.0.0.1:6443",
            ),
            _NO_LOGIN,
        ),
        "ca_certificates": {"maxItems": 16, "items": _CERTIFICATE, "x-kubernetes-list-type": "atomic"},
        "registry_mirrors": {
            "maxItems": 32,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["registry"],
        },
    },
    KubeletSettings: {
        "": cel.rules(
            Rule(
                "!has(self.evictionSoft) || self.evictionSoft.all(signal, "
                "has(self.evictionSoftGracePeriod) && signal in self.evictionSoftGracePeriod)",
                "each signal of evictionSoft needs a duration in evictionSoftGracePeriod",
            ),
            Rule(
                "!has(self.evictionSoftGracePeriod) || self.evictionSoftGracePeriod.all(signal, "
                "has(self.evictionSoft) && signal in self.evictionSoft)",
                "each signal of evictionSoftGracePeriod needs a value in evictionSoft",
            ),
            Rule(
                f"(has(self.imageGCLowThresholdPercent) ? self.imageGCLowThresholdPercent : {_LOW}) < "
                f"(has(self.imageGCHighThresholdPercent) ? self.imageGCHighThresholdPercent : {_HIGH})",
                "imageGCLowThresholdPercent must be below imageGCHighThresholdPercent (left out, they are "
                f"{_LOW} and {_HIGH})",
            ),
            Rule(
                "!has(self.cpuManagerPolicy) || self.cpuManagerPolicy != 'static' || "
                f"{_keeps_cpu('kubeReserved')} || {_keeps_cpu('systemReserved')}",
                "cpuManagerPolicy static needs cpu in kubeReserved or systemReserved, or the kubelet does not start",
            ),
        ),
        "max_pods": cel.rules(cel.between(1, 10000, "maxPods")),
        "kube_reserved": _reserved("kubeReserved"),
        "system_reserved": _reserved("systemReserved"),
        "eviction_hard": _thresholds("evictionHard"),
        "eviction_soft": _thresholds("evictionSoft"),
        "eviction_soft_grace_period": {
            "maxProperties": len(_EVICTION_SIGNALS),
            "additionalProperties": cel.text(
                32, cel.matches(_DURATION, 'must be a duration in quotes, such as "30s" or "1m30s"')
            ),
            **cel.rules(cel.keys_among(_EVICTION_SIGNALS, "evictionSoftGracePeriod")),
        },
        "feature_gates": {
            "maxProperties": 64,
            **cel.rules(cel.keys_match("^[A-Za-z][A-Za-z0-9]*$", "featureGates takes names such as NodeSwap")),
        },
        "cluster_dns": {
            "maxItems": 8,
            "x-kubernetes-list-type": "set",
            "items": cel.text(45, cel.matches("^[0-9a-fA-F:.]+$", "clusterDNS takes addresses, such as 10.96.0.10")),
        },
        "resolv_conf": cel.text(
            1024, cel.matches("^(/[A-Za-z0-9._-]+)+$", "resolvConf must be the absolute path of a file")
        ),
        "container_runtime_endpoint": cel.text(
            1024,
            cel.matches(
                "^unix://(/[A-Za-z0-9._-]+)+$",
                "containerRuntimeEndpoint must be a socket, such as unix:///run/containerd/containerd.sock",
            ),
        ),
        "image_gc_high_threshold_percent": cel.rules(cel.between(0, 100, "imageGCHighThresholdPercent")),
        "image_gc_low_threshold_percent": cel.rules(cel.between(0, 100, "imageGCLowThresholdPercent")),
        "pod_pids_limit": cel.rules(cel.between(1, 4194304, "podPidsLimit")),
        "container_log_max_size": cel.text(
            32,
            Rule(
                "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
                'containerLogMaxSize must be a quantity above 0 in quotes, such as "10Mi"',
            ),
        ),
        "shutdown_grace_period": cel.text(
            32,
            cel.matches(_DURATION, 'shutdownGracePeriod must be a duration in quotes, such as "30s" or "1m30s"'),
        ),
        "allowed_unsafe_sysctls": {
            "maxItems": 64,
            "x-kubernetes-list-type": "set",
            "items": cel.text(
                253,
                cel.matches(
                    "^(kernel[.](sem|shm[a-z_]*|msg[a-z]*)|(net|fs[.]mqueue)[.][a-z0-9_./-]*[a-z0-9])([.]?[*])?$|"
                    "^(net|fs[.]mqueue)[.][*]$",
                    "takes namespaced ones only: kernel.sem, kernel.shm*, kernel.msg*, fs.mqueue.*, net.*",
                ),
            ),
        },
    },
    KubeadmJoin: {
        "cri_socket": cel.text(
            1024,
            cel.matches(
                "^unix://(/[A-Za-z0-9._-]+)+$",
                "criSocket must be a socket, such as unix:///run/containerd/containerd.sock",
            ),
        ),
        "kubelet_extra_args": {"maxItems": 64, "x-kubernetes-list-type": "atomic"},
        "patches": {"maxItems": 16, "x-kubernetes-list-type": "atomic"},
        "ignore_preflight_errors": {
            "maxItems": 64,
            "x-kubernetes-list-type": "set",
            "items": cel.text(
                128,
                cel.matches(
                    "^[A-Za-z0-9][A-Za-z0-9._-]*$", "ignorePreflightErrors takes names of checks, such as Swap"
                ),
            ),
        },
    },
    Argument: {
        "name": cel.text(
            128,
            cel.matches(
                "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "name must be an argument of the kubelet without dashes before it"
            ),
        ),
        "value": cel.text(
            4096,
            Rule(
                "!self.matches('[\\\\s\"\\'\\\\\\\\]')",
                "value must not hold blanks, quotes or backslashes: systemd takes the kubelet's arguments apart there",
            ),
        ),
    },
    Patch: {
        "target": cel.text(
            64, cel.matches("^[a-z][a-z-]*$", "target must be one that kubeadm knows, such as kubeletconfiguration")
        ),
        "content": {"minLength": 1, "maxLength": 32768},
    },
    K3sJoin: {
        "version": cel.text(
            64,
            cel.matches(
                "^v[0-9]+[.][0-9]+[.][0-9]+[A-Za-z0-9.+-]*$", "version must be a release of k3s, such as v1.36.1+k3s1"
            ),
        ),
        "install_command": {"maxLength": 16384},
        "config": {
            "properties": {
                key: {"type": "string", "description": "Set by the provider; refused here."} for key, _ in _OURS_IN_K3S
            },
            **cel.rules(*(_k3s_key(key, instead) for key, instead in _OURS_IN_K3S)),
        },
    },
    EksJoin: {
        "cluster_name": cel.text(
            100, cel.matches("^[A-Za-z0-9][A-Za-z0-9_-]*$", "clusterName must be the name of an EKS cluster")
        ),
        "cidr": cel.text(
            64, cel.matches("^[0-9a-fA-F:.]+/[0-9]{1,3}$", "cidr must be the service network, such as 10.100.0.0/16")
        ),
    },
    Proxy: {
        "": cel.rules(
            Rule(
                "!has(self.noProxy) || has(self.http) || has(self.https)",
                "noProxy says nothing without a proxy: give http or https",
            )
        ),
        "http": _URL_OF_PROXY,
        "https": _URL_OF_PROXY,
        "no_proxy": {
            "maxItems": 128,
            "x-kubernetes-list-type": "set",
            "items": cel.text(
                253,
                cel.matches("^[A-Za-z0-9.:/*\\[\\]_-]+$", "must be one host, domain or network, such as 10.0.0.0/8"),
            ),
        },
    },
    RegistryMirror: {
        "registry": cel.text(
            253,
            cel.matches(
                "^([*]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?)$",
                "registry must be a host, such as docker.io, or *",
            ),
        ),
        "endpoints": {
            "minItems": 1,
            "maxItems": 16,
            "x-kubernetes-list-type": "atomic",
            "items": cel.text(
                1024,
                Rule(
                    "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",
                    "endpoints takes URLs, such as https://mirror.example.org",
                ),
                _NO_LOGIN,
            ),
        },
        "ca_certificate": _CERTIFICATE,
    },
}
