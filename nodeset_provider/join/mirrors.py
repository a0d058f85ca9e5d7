"""Registry mirrors: containerd's hosts.toml (docs/hosts.md of containerd) and k3s' registries.yaml, from the same list.

containerd reads hosts.toml where its configuration has ``config_path = "/etc/containerd/certs.d"``; the image sees to
that. Both ask the registry itself after all mirrors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from nodeset_provider.api.nodeclass import RegistryMirror
from nodeset_provider.join.certificates import read_certificates
from nodeset_provider.join.document import MachineFile
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.trust import ascii_pem
from nodeset_provider.join.yaml_text import yaml_text

CONTAINERD_FOLDER: Final = "/etc/containerd/certs.d"
K3S_FILE: Final = "/etc/rancher/k3s/registries.yaml"
K3S_CA_FOLDER: Final = "/etc/rancher/k3s/mirrors"

_FIELD: Final = "spec.join.registryMirrors"
_EVERY: Final = "*"
_EVERY_IN_CONTAINERD: Final = "_default"
_REGISTRY: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
_ENDPOINT: Final = re.compile(r"https?://[A-Za-z0-9._~:/%\[\]-]+")


def containerd_files(mirrors: Sequence[RegistryMirror]) -> tuple[MachineFile, ...]:
    """A hosts.toml for each registry, and its CA. Raises InvalidJoin with the field for what is no registry or URL."""
    _check(mirrors)
    files: list[MachineFile] = []
    for mirror in mirrors:
        folder = f"{CONTAINERD_FOLDER}/{_EVERY_IN_CONTAINERD if mirror.registry == _EVERY else mirror.registry}"
        lines: list[str] = []
        for endpoint in mirror.endpoints:
            lines += [f'[host."{endpoint}"]', 'capabilities = ["pull", "resolve"]']
            if urlsplit(endpoint).path.strip("/"):
                lines.append("override_path = true")
            if mirror.ca_certificate:
                lines.append(f'ca = "{folder}/ca.crt"')
            lines.append("")
        files.append(MachineFile(path=f"{folder}/hosts.toml", content="\n".join(lines).encode(), mode=0o644))
        if mirror.ca_certificate:
            files.append(_ca_file(f"{folder}/ca.crt", mirror))
    return tuple(files)


def k3s_files(mirrors: Sequence[RegistryMirror]) -> tuple[MachineFile, ...]:
    """registries.yaml and the CAs that it names. Raises InvalidJoin with the field for what is no registry or URL."""
    _check(mirrors)
    if not mirrors:
        return ()
    files: list[MachineFile] = []
    configs: dict[str, Any] = {}
    for index, mirror in enumerate(mirrors):
        if mirror.ca_certificate:
            files.append(_ca_file(f"{K3S_CA_FOLDER}/{index}.crt", mirror))
            for endpoint in mirror.endpoints:
                configs.setdefault(urlsplit(endpoint).netloc, {"tls": {"ca_file": files[-1].path}})
    registries: dict[str, Any] = {"mirrors": {mirror.registry: {"endpoint": mirror.endpoints} for mirror in mirrors}}
    if configs:
        registries["configs"] = configs
    return (MachineFile(path=K3S_FILE, content=yaml_text(registries), mode=0o600), *files)


def _check(mirrors: Sequence[RegistryMirror]) -> None:
    taken: set[str] = set()
    for index, mirror in enumerate(mirrors):
        field = f"{_FIELD}[{index}]"
        if mirror.registry != _EVERY and not _REGISTRY.fullmatch(mirror.registry):
            raise InvalidJoin(
                f"{field}.registry", f"{mirror.registry!r} is no registry; write for example docker.io, or *"
            )
        if mirror.registry in taken:
            raise InvalidJoin(f"{field}.registry", f"{mirror.registry} is there twice; name all endpoints in one entry")
        taken.add(mirror.registry)
        if not mirror.endpoints:
            raise InvalidJoin(f"{field}.endpoints", "is empty; name at least one URL")
        for number, endpoint in enumerate(mirror.endpoints):
            if not _is_endpoint(endpoint):
                # Not shown: where somebody wrote a login into it, a condition is no place for that.
                raise InvalidJoin(f"{field}.endpoints[{number}]", "is no URL of a registry; write https://host[:port]")
        if mirror.ca_certificate:
            read_certificates(f"{field}.caCertificate", ascii_pem(f"{field}.caCertificate", mirror.ca_certificate))


def _is_endpoint(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return bool(_ENDPOINT.fullmatch(endpoint) and parts.hostname and parts.port != 0)
    except ValueError:
        return False


def _ca_file(path: str, mirror: RegistryMirror) -> MachineFile:
    return MachineFile(path=path, content=mirror.ca_certificate.encode("ascii"), mode=0o644)
