"""How big the user-data of a class becomes, found out before there is a machine, and what in it is big.

Clouds refuse user-data above a limit (EC2: 16 KiB); a class that can never launch should say so in a condition.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.join.bootstrap_token import BootstrapToken
from nodeset_provider.join.request import ClusterAccess, JoinRequest
from nodeset_provider.join.user_data import Delivery, render_user_data

# As long as they can be, and of characters that do not compress: the names of real machines do not either.
_NOISE: Final = hashlib.sha256(b"longest names").hexdigest()
_LONGEST_NAME: Final = _NOISE[:63]
_LONGEST_TOKEN: Final = BootstrapToken(id=_NOISE[:6], secret=_NOISE[-16:])
_CLIENT_TOKEN: Final = f"{_NOISE[:8]}-{_NOISE[8:12]}-{_NOISE[12:16]}-{_NOISE[16:20]}-{_NOISE[20:32]}"
"""Where a provider id is made of it."""
_COMPRESSED_SPREAD: Final = 64
"""Bytes by which compressed user-data of equal length before may differ from one name to another."""

_PARTS: Final = {
    "spec.provisioning.files": ("provisioning", "files"),
    "spec.provisioning.units": ("provisioning", "units"),
    "spec.provisioning.commands": ("provisioning", "commands"),
    "spec.provisioning.commandsAfterJoin": ("provisioning", "commands_after_join"),
    "spec.provisioning.users": ("provisioning", "users"),
    "spec.join.caCertificates": ("join", "ca_certificates"),
    "spec.join.registryMirrors": ("join", "registry_mirrors"),
    "spec.join.kubeadm.patches": ("join", "kubeadm", "patches"),
}
"""What a person may make shorter: its name in the class, and where in the template it is."""


@dataclass(frozen=True, slots=True)
class UserDataSize:
    """``total``: bytes at most for any machine of the class; ``problem``: what is too much, empty where nothing is."""

    total: int
    problem: str = ""


def user_data_size(template: MachineTemplate, cluster: ClusterAccess, delivery: Delivery) -> UserDataSize:
    """The size with the longest names that a machine can have. Raises InvalidJoin as ``render_user_data`` does.

    ``problem`` is one sentence: how many bytes there are, how many are too many, the part that is the biggest, and the
    remedy.
    """
    request = JoinRequest(
        cluster=cluster,
        template=template,
        node_name=_LONGEST_NAME,
        token=_LONGEST_TOKEN,
        provider_id=template.provider_id_of(_CLIENT_TOKEN),
    )
    total = len(render_user_data(request, delivery)) + _COMPRESSED_SPREAD
    if total <= delivery.limit:
        return UserDataSize(total)
    compressed = " even compressed" if delivery.gzip and template.join.format == "CloudInit" else ""
    return UserDataSize(
        total,
        f"user-data needs {total} bytes{compressed}, the driver takes {delivery.limit}: {total - delivery.limit} too "
        f"many; {_remedy(request, delivery, total)}",
    )


def _remedy(request: JoinRequest, delivery: Delivery, total: int) -> str:
    biggest, biggest_bytes = "", 0
    for name, template in _without_each(request.template):
        without = len(render_user_data(replace(request, template=template), delivery)) + _COMPRESSED_SPREAD
        if total - without > biggest_bytes:
            biggest, biggest_bytes = name, total - without
    if not biggest:
        return "use fewer labels, taints or CA certificates"
    return (
        f"the biggest part is {biggest} with {biggest_bytes} bytes: make it smaller, let a command fetch it, or bring "
        "it in the image"
    )


def _without_each(template: MachineTemplate) -> Iterator[tuple[str, MachineTemplate]]:
    """Each entry's name in the class, and the template without it."""
    for name, path in _PARTS.items():
        entries: list[Any] = operator.attrgetter(".".join(path))(template)
        for index in range(len(entries)):
            yield f"{name}[{index}]", _replaced(template, path, [*entries[:index], *entries[index + 1 :]])


def _replaced(whole: msgspec.Struct, path: Sequence[str], value: list[Any]) -> Any:  # noqa: ANN401 - as the struct has it
    field, *rest = path
    return msgspec.structs.replace(whole, **{field: _replaced(getattr(whole, field), rest, value) if rest else value})
