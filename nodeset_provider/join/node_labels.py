"""Which labels a kubelet may put on its own Node, and which only a controller can.

Two gates stand before a kubelet's labels: its own check of ``--node-labels`` (cmd/kubelet/app/options), on which it
does not start, and the NodeRestriction admission plug-in, which refuses the Node. Both let pass what is outside
kubernetes.io and k8s.io, a fixed set, and the sub-domains of two prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from nodeset_provider.api import names
from nodeset_provider.join.errors import InvalidJoin

_OWN: Final = frozenset(
    {names.LABEL_HOSTNAME, names.LABEL_OS, names.LABEL_ARCH, names.LABEL_OS_BETA, names.LABEL_ARCH_BETA}
)
"""What the kubelet finds out by itself. Allowed in the flag, but a flag there would overrule the truth."""
_ALLOWED: Final = frozenset(
    {
        names.LABEL_ZONE,
        names.LABEL_REGION,
        names.LABEL_INSTANCE_TYPE,
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
    },
)
_ALLOWED_NAMESPACES: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")
_RESTRICTED_NAMESPACES: Final = ("kubernetes.io", "k8s.io")
_NODE_RESTRICTION: Final = "node-restriction.kubernetes.io"

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def kubelet_may_set(key: str) -> bool:
    """Whether a kubelet may set this label on its own Node."""
    namespace = key.split("/", 1)[0] if "/" in key else ""
    if _within(namespace, (_NODE_RESTRICTION,)):
        return False
    if key in _ALLOWED or key in _OWN or _within(namespace, _ALLOWED_NAMESPACES):
        return True
    return not _within(namespace, _RESTRICTED_NAMESPACES)


def kubelet_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels for ``--node-labels``, in order of their keys; all others are left to the controller.

    Raises InvalidJoin for a key or value that is no label: the kubelet would not start with it.
    """
    for key, value in labels.items():
        _check(key, value)
    return {key: value for key, value in sorted(labels.items()) if kubelet_may_set(key) and key not in _OWN}


def labels_argument(labels: Mapping[str, str]) -> str:
    """The value of ``--node-labels``, empty where the kubelet sets none. Raises InvalidJoin as ``kubelet_labels``."""
    return ",".join(f"{key}={value}" for key, value in kubelet_labels(labels).items())


def _within(namespace: str, domains: tuple[str, ...]) -> bool:
    return any(namespace == domain or namespace.endswith(f".{domain}") for domain in domains)


def _check(key: str, value: str) -> None:
    prefix, slash, name = key.rpartition("/")
    field = f"spec.nodeLabels[{key if key.isprintable() else ascii(key)}]"
    if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
        raise InvalidJoin(
            field,
            "no label key; write [prefix/]name, the name at most 63 letters, digits, '-', '_' or '.'",
        )
    if value and not _NAME.fullmatch(value):
        raise InvalidJoin(
            field,
            "no label value; at most 63 letters, digits, '-', '_' or '.', a letter or digit at both ends",
        )
