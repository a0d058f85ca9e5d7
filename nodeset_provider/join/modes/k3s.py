"""Mode K3s: a k3s agent, with a token of its own in the form of kubeadm's (k3s 1.32 or newer).

The image brings k3s and its k3s-agent.service, or the class's installCommand does. k3s takes such tokens for agents:
its API server runs with bootstrap tokens, and its own endpoints let in whoever is in system:bootstrappers
(pkg/server/handlers/router.go). The kubelet's settings are a drop-in after k3s' own (pkg/daemons/agent/agent.go).
What k3s checks of a machine, and what it does not, is in docs/join/k3s.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from nodeset_provider.join.certificates import check_cluster_ca, k3s_ca_hash
from nodeset_provider.join.document import Command, Document, MachineFile, MachineUnit
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.kubelet import HEADER, kubelet_settings, registration_taints
from nodeset_provider.join.kubelet_flags import check_kubelet_flag
from nodeset_provider.join.mirrors import K3S_FILE, k3s_files
from nodeset_provider.join.node_labels import kubelet_labels
from nodeset_provider.join.paths import DROP_IN, FOLDER
from nodeset_provider.join.proxy import proxy_environment, service_drop_in
from nodeset_provider.join.request import JoinRequest
from nodeset_provider.join.surroundings import surround
from nodeset_provider.join.yaml_text import yaml_text

CONFIGURATION: Final = "/etc/rancher/k3s/config.yaml"
KUBELET: Final = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-nodeset.conf"
"""After 00-k3s-defaults.conf, and after what k3s copies there of --config and --config-dir (10-, 20-)."""
VERSION_CHECK: Final = f"{FOLDER}/k3s-version"
UNIT: Final = "k3s-agent.service"

_FIELD: Final = "spec.join.k3s"
_KEY: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+|[a-z]{2,}")
"""Long names only: the one-letter forms are other names of keys that are ours."""
_VERSION: Final = re.compile(r"v[0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9.+-]*")
_OURS: Final = {
    "server": "spec.join.endpoint",
    "token": "the provider's, a new one for each machine",
    "token-file": "the provider's, a new one for each machine",
    "cluster-secret": "the provider's, a new one for each machine",
    "node-name": "the provider's",
    "with-node-id": "the provider's, as the node's name is",
    "node-label": "spec.nodeLabels",
    "node-taint": "the NodeSet's spec.taints",
    "container-runtime-endpoint": "spec.join.kubelet.containerRuntimeEndpoint",
    "resolv-conf": "spec.join.kubelet.resolvConf",
    "private-registry": "spec.join.registryMirrors",
    "data-dir": "k3s' default, where the kubelet's settings are put",
    "config": "the file that these keys are written to",
}
_KUBELET_ARG: Final = "kubelet-arg"
_SECRET: Final = {"vpn-auth": "vpn-auth-file"}
"""Keys that hold a secret, and those that name a file with it."""

_INSTALL: Final = """\
have=$(k3s --version 2>/dev/null | awk 'NR == 1 {print $3}')
if [ -n "$have" ] && { [ -z "$1" ] || [ "$have" = "$1" ]; }; then exit 0; fi
if [ -n "$1" ]; then export INSTALL_K3S_VERSION="$1"; fi
export INSTALL_K3S_EXEC=agent INSTALL_K3S_SKIP_START=true
exec sh -c "$2"
"""
_CHECK: Final = """\
#!/bin/sh
have=$(k3s --version | awk 'NR == 1 {print $3}')
[ "$have" = "%s" ] && exit 0
echo "k3s ${have:-of no version} is on this machine, its NodeClass wants %s" >&2
exit 1
"""


def document(request: JoinRequest) -> Document:
    """What a machine needs for this mode. Raises InvalidJoin with the field for what cannot work."""
    request.check()
    check_cluster_ca(request.cluster)
    version = request.template.join.k3s.version
    if version and not _VERSION.fullmatch(version):
        raise InvalidJoin(f"{_FIELD}.version", f"{version!r} is no release of k3s; write for example v1.36.1+k3s1")
    environment = proxy_environment(request)
    files = [
        MachineFile(path=CONFIGURATION, content=yaml_text(agent_configuration(request)), mode=0o600),
        MachineFile(path=KUBELET, content=yaml_text({**HEADER, **kubelet_settings(request)}), mode=0o600),
    ]
    if version:
        files.append(MachineFile(path=VERSION_CHECK, content=(_CHECK % (version, version)).encode(), mode=0o755))
    service = service_drop_in(environment) + (f"ExecStartPre={VERSION_CHECK}\n".encode() if version else b"")
    own = Document(
        hostname=request.node_name,
        files=tuple(files),
        units=(MachineUnit(name=UNIT, drop_ins=((DROP_IN, b"[Service]\n" + service),) if service else (), start=True),),
        commands_before=_installation(request),
    )
    mirrors = k3s_files(request.template.join.registry_mirrors)
    return surround(request, own, environment=environment, mirrors=mirrors, reserved=(K3S_FILE,))


def agent_configuration(request: JoinRequest) -> dict[str, Any]:
    """The agent's config.yaml: ours, then the class's other keys in order of their names. It holds the token."""
    template = request.template
    configuration: dict[str, Any] = {
        "server": request.endpoint,
        "token": f"K10{k3s_ca_hash(request.cluster)}::{request.token.value}",
        "node-name": request.node_name,
    }
    labels = kubelet_labels(template.labels)
    if labels:
        configuration["node-label"] = [f"{key}={value}" for key, value in labels.items()]
    configuration["node-taint"] = [_taint(taint) for taint in registration_taints(request)]
    if template.join.kubelet.container_runtime_endpoint:
        configuration["container-runtime-endpoint"] = template.join.kubelet.container_runtime_endpoint
    for key, value in sorted(template.join.k3s.config.items()):
        configuration[key] = _value(key, value)
    return configuration


def _value(key: str, value: Any) -> Any:  # noqa: ANN401
    field = f"{_FIELD}.config[{key if key.isprintable() else ascii(key)}]"
    name = key.removesuffix("+")  # k3s' form for lists that go on in another file
    if name in _OURS:
        raise InvalidJoin(field, f"is {_OURS[name]}; remove it")
    if name in _SECRET:
        raise InvalidJoin(
            field, f"holds a secret, which everybody who reads NodeClasses would see; use {_SECRET[name]}"
        )
    if not _KEY.fullmatch(name):
        raise InvalidJoin(field, "is no key of k3s' config.yaml; write the flag's long name without dashes before it")
    if name == _KUBELET_ARG:
        for argument in value if isinstance(value, list) else [value]:
            flag, _, setting = str(argument).partition("=")
            check_kubelet_flag(field, flag, setting)
    if not _is_plain(value):
        raise InvalidJoin(field, "must be a text, number, boolean, or a list of them")
    return value


def _is_plain(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, list):
        return all(isinstance(entry, str | int | float | bool) for entry in value)
    return isinstance(value, str | int | float | bool)


def _taint(taint: Mapping[str, str]) -> str:
    value = taint.get("value", "")
    return f"{taint['key']}={value}:{taint['effect']}" if value else f"{taint['key']}:{taint['effect']}"


def _installation(request: JoinRequest) -> tuple[Command, ...]:
    k3s = request.template.join.k3s
    if not k3s.install_command:
        return ()
    if "\0" in k3s.install_command or any("\ud800" <= character <= "\udfff" for character in k3s.install_command):
        raise InvalidJoin(f"{_FIELD}.installCommand", "holds a character that no command can; remove it")
    return (("sh", "-c", _INSTALL, "sh", k3s.version, k3s.install_command),)
