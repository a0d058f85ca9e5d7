"""What every mode's machine gets around its join configuration: provisioning, proxy, trust, registry mirrors.

A mode makes the document of what *it* needs; ``surround`` puts the class's own around it and holds the order:

1. files (ours first: an owner that the machine does not know ends cloud-init's writing of files), then users and units;
2. the class's CA certificates are trusted, the class's commands run;
3. the class's units start, then the container runtime where proxy or trust changed under it, then the mode's units;
4. the mode's own commands, and the class's commandsAfterJoin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from nodeset_provider.api.nodeclass import Join
from nodeset_provider.join.document import Command, Document, MachineFile, MachineUnit
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.paths import DROP_IN, UNITS, drop_in_path
from nodeset_provider.join.provisioning import (
    class_commands,
    class_commands_after_join,
    class_files,
    class_units,
    class_users,
)
from nodeset_provider.join.proxy import environment_files, service_drop_in, with_environment
from nodeset_provider.join.request import JoinRequest
from nodeset_provider.join.trust import trust_commands, trusted_files

CONTAINERD_UNIT: Final = "containerd.service"
CRIO_UNIT: Final = "crio.service"


def surround(
    request: JoinRequest,
    document: Document,
    *,
    environment: dict[str, str],
    mirrors: Iterable[MachineFile] = (),
    runtime: str = "",
    reserved: Iterable[str] = (),
) -> Document:
    """The whole document of that machine.

    ``environment``: the proxy's (``proxy_environment``). ``runtime``: the unit of a container runtime that runs before
    we come. ``reserved``: paths that the mode or its programs write on the machine, besides the document's own files.

    Raises InvalidJoin with the field for what cannot work, and for what the class writes over the join configuration.
    """
    join, provisioning = request.template.join, request.template.provisioning
    changed = bool(environment or join.ca_certificates)
    units = (*_runtime_units(runtime if changed else "", environment), *document.units)
    files = (*document.files, *mirrors, *environment_files(environment), *trusted_files(join.ca_certificates))
    taken = (*reserved, *(file.path for file in files), *(path for unit in units for path in _paths(unit)))
    return replace(
        document,
        files=files + class_files(provisioning, reserved=taken),
        users=class_users(provisioning),
        units=class_units(provisioning, reserved=taken) + units,
        commands_before=(
            *trust_commands(join.ca_certificates),
            *_within(environment, class_commands(provisioning)),
            *_within(environment, document.commands_before),
        ),
        commands_after=(
            *_within(environment, document.commands_after),
            *_within(environment, class_commands_after_join(provisioning)),
        ),
    )


def runtime_unit(join: Join) -> str:
    """The unit of the container runtime that the class's machines have. Raises InvalidJoin where mirrors need another.

    Known by its socket; containerd where none is named.
    """
    if "crio" not in (join.kubelet.container_runtime_endpoint or join.kubeadm.cri_socket):
        return CONTAINERD_UNIT
    if join.registry_mirrors:
        raise InvalidJoin("spec.join.registryMirrors", "are written for containerd; give CRI-O's as provisioning.files")
    return CRIO_UNIT


def _runtime_units(name: str, environment: dict[str, str]) -> tuple[MachineUnit, ...]:
    if not name:
        return ()
    lines = service_drop_in(environment)
    drop_ins = ((DROP_IN, b"[Service]\n" + lines),) if lines else ()
    return (MachineUnit(name=name, drop_ins=drop_ins, enabled=False, start=True),)


def _paths(unit: MachineUnit) -> Iterable[str]:
    """What the unit occupies: its file, also where the image brings it, and its drop-ins."""
    yield f"{UNITS}/{unit.name}"
    for name, _ in unit.drop_ins:
        yield drop_in_path(unit.name, name)


def _within(environment: dict[str, str], commands: Iterable[Command]) -> list[Command]:
    return [with_environment(environment, command) for command in commands]
