"""How big the user-data of a class becomes, found out before there is a machine, and what in it is big.

Clouds refuse user-data above a limit (EC2: 16 KiB); a class that can never launch should say so in a condition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.join.bootstrap_token import BootstrapToken
from nodeset_provider.join.request import ClusterAccess, JoinRequest
from nodeset_provider.join.user_data import render_user_data

_LONGEST_NAME: Final = "n" * 63
_LONGEST_TOKEN: Final = BootstrapToken(id="0" * 6, secret="0" * 16)
_TOKEN_LENGTH: Final = 36
"""Of a client token, where a provider id is made of it."""


@dataclass(frozen=True, slots=True)
class UserDataSize:
    """``total``: bytes at most for any machine of the class; ``biggest``: the part of ``spec.provisioning`` to cut."""

    total: int
    biggest: str
    biggest_bytes: int

    def problem(self, limit: int) -> str:
        """One sentence with the field and the remedy where ``total`` is over ``limit`` bytes, else empty."""
        if self.total <= limit:
            return ""
        if self.biggest:
            remedy = (
                f"the biggest part is {self.biggest} with {self.biggest_bytes} bytes: make it smaller, let a command "
                "fetch it, or bring it in the image"
            )
        else:
            remedy = "use fewer labels, taints or CA certificates"
        return f"user-data needs {self.total} bytes, the driver takes {limit}; {remedy}"


def user_data_size(template: MachineTemplate, cluster: ClusterAccess) -> UserDataSize:
    """The size with the longest names that a machine can have. Raises InvalidJoin as ``render_user_data`` does."""
    request = JoinRequest(
        cluster=cluster,
        template=template,
        node_name=_LONGEST_NAME,
        token=_LONGEST_TOKEN,
        provider_id=template.provider_id_of("0" * _TOKEN_LENGTH),
    )
    total = len(render_user_data(request))
    biggest, biggest_bytes = "", 0
    for name in ("files", "commands", "users"):
        entries = getattr(template.provisioning, name)
        for index in range(len(entries)):
            without = msgspec.structs.replace(
                template.provisioning, **{name: [*entries[:index], *entries[index + 1 :]]}
            )
            smaller = replace(request, template=msgspec.structs.replace(template, provisioning=without))
            size = total - len(render_user_data(smaller))
            if size > biggest_bytes:
                biggest, biggest_bytes = f"spec.provisioning.{name}[{index}]", size
    return UserDataSize(total=total, biggest=biggest, biggest_bytes=biggest_bytes)
