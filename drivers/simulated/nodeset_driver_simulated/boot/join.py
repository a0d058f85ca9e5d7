"""From user-data to everything that a kubelet needs to join: one function, pure, that fails as a real boot would."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nodeset_driver_simulated.boot.cloud_config import CloudConfig, parse_yaml, read_cloud_config
from nodeset_driver_simulated.boot.errors import BootError
from nodeset_driver_simulated.boot.kubelet import read_flags

_CONFIG_API = ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_NAME_LIMIT = 253


@dataclass(frozen=True, slots=True)
class Join:
    """``token`` is in no repr. ``settings`` is the KubeletConfiguration as it was read."""

    server: str
    ca_pem: str
    token: str = field(repr=False)
    node_name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    provider_id: str
    settings: Mapping[str, Any]


def read_join(user_data: bytes, *, hostname: str) -> Join:
    """The join configuration; ``hostname`` is the cloud's name for the machine. Raises BootError."""
    config = read_cloud_config(user_data)
    flags = read_flags(config)
    settings = _settings(config, _yaml(config, flags.config, "--config")) if flags.config else {}
    server, ca_pem, token = _kubeconfig(config, flags.bootstrap_kubeconfig)
    node_name = (flags.hostname_override or config.hostname or hostname).strip().lower()
    if not node_name or len(node_name) > _NAME_LIMIT or not node_name.replace("-", "").replace(".", "").isalnum():
        raise BootError(f"kubelet: {node_name!r} cannot be a node's name")
    taints = tuple(_taint(entry) for entry in _list(settings, "registerWithTaints"))
    if flags.external_cloud_provider:
        taints += ({"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"},)
    return Join(
        server=server,
        ca_pem=ca_pem,
        token=token,
        node_name=node_name,
        labels=flags.node_labels,
        taints=taints,
        provider_id=flags.provider_id or _string(settings, "providerID"),
        settings=settings,
    )


def _settings(config: CloudConfig, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The KubeletConfiguration, as far as a kubelet looks before it asks anybody for anything."""
    if (document.get("apiVersion"), document.get("kind")) != _CONFIG_API:
        raise BootError(f"kubelet: --config is not a {_CONFIG_API[1]} of {_CONFIG_API[0]}")
    if client_ca := _string(_mapping(_mapping(document, "authentication"), "x509"), "clientCAFile"):
        _read(config, client_ca, "unable to load client CA file")
    return document


def _kubeconfig(config: CloudConfig, path: str) -> tuple[str, str, str]:
    """``(server, CA bundle, token)`` of the current context."""
    document = _yaml(config, path, "--bootstrap-kubeconfig")
    context = _named(document, "contexts", _string(document, "current-context"), "context")
    cluster = _named(document, "clusters", _string(context, "cluster"), "cluster")
    user = _named(document, "users", _string(context, "user"), "user")
    server = _string(cluster, "server").rstrip("/")
    url = urlsplit(server)
    if url.scheme != "https" or not url.hostname:
        raise BootError(f"kubelet: server {server!r} of {path} is not an https URL")
    token = _string(user, "token")
    if not token or not token.isascii() or not token.isprintable():
        raise BootError(f"kubelet: {path} has no token")
    if inline := _string(cluster, "certificate-authority-data"):
        try:
            ca_pem = base64.b64decode(inline, validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            raise BootError(f"kubelet: certificate-authority-data of {path} is not base64 of PEM") from None
    else:
        ca_file = _string(cluster, "certificate-authority")
        if not ca_file:
            raise BootError(f"kubelet: {path} names no certificate authority")
        ca_pem = _read(config, ca_file, f"certificate-authority of {path}").decode("ascii", errors="replace")
    return server, ca_pem, token


def _named(document: Mapping[str, Any], key: str, name: str, inner: str) -> Mapping[str, Any]:
    for entry in _list(document, key):
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(inner), dict):
            found: Mapping[str, Any] = entry[inner]
            return found
    raise BootError(f"kubelet: the bootstrap kubeconfig has no {inner} {name!r}")


def _read(config: CloudConfig, path: str, what: str) -> bytes:
    try:
        return config.files[path]
    except KeyError:
        raise BootError(f"kubelet: {what}: open {path}: no such file or directory") from None


def _yaml(config: CloudConfig, path: str, what: str) -> Mapping[str, Any]:
    content = _read(config, path, what)
    try:
        document = parse_yaml(content, path)
    except BootError:
        # Not what is wrong with it: it may quote a line with a token in it.
        raise BootError(f"kubelet: {what}: {path} is not YAML") from None
    if not isinstance(document, dict):
        raise BootError(f"kubelet: {what}: {path} is not a mapping")
    return document


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise BootError(f"kubelet: {key} is not a list")
    return value


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise BootError(f"kubelet: {key} is not a mapping")
    return value


def _string(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key, "")
    if not isinstance(value, str):
        raise BootError(f"kubelet: {key} is not a string")
    return value


def _taint(entry: object) -> Mapping[str, str]:
    if not isinstance(entry, dict) or not entry.get("key") or entry.get("effect") not in _EFFECTS:
        raise BootError(f"kubelet: registerWithTaints: {entry!r} is not a taint")
    return {key: str(value) for key, value in entry.items() if key in {"key", "value", "effect"}}
