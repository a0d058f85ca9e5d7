"""From a request to bytes: the class's mode through the class's renderer, in the way that the driver takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from nodeset_provider.join import cloud_init, ignition
from nodeset_provider.join.compression import gzipped
from nodeset_provider.join.document import Document
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.modes import MODES
from nodeset_provider.join.request import JoinRequest

Renderer = Callable[[Document], bytes]

RENDERERS: Final[Mapping[str, Renderer]] = {"CloudInit": cloud_init.render, "Ignition": ignition.render}
"""By ``spec.join.format``."""

_FORMATS_THAT_UNPACK: Final = frozenset({"CloudInit"})
"""cloud-init unpacks user-data that is gzip as a whole; Ignition reads JSON only (and unpacks single files)."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How user-data reaches the machines of a driver."""

    formats: tuple[str, ...]
    """Values of ``spec.join.format`` that its machines can read."""
    limit: int
    """Bytes at most, as they leave us."""
    gzip: bool
    """Whether they may be compressed."""


def render_user_data(request: JoinRequest, delivery: Delivery) -> bytes:
    """The user-data of that machine; the same request gives the same bytes, always.

    It is compressed only where it would be over the limit otherwise: plain text is easier to look at, in the cloud's
    console and on the machine. Whether it is under the limit then, ``user_data_size`` says.

    Raises:
        InvalidJoin: with the field, for a class or set that no machine could join with. ``user_data_size`` finds it out
            before there is a machine.
    """
    join = request.template.join
    if join.format not in delivery.formats:
        raise InvalidJoin(
            "spec.join.format",
            f"machines of driver {request.template.driver} do not read {join.format}; "
            f"write {' or '.join(delivery.formats)}",
        )
    user_data = RENDERERS[join.format](MODES[join.mode](request))
    if len(user_data) <= delivery.limit or not delivery.gzip or join.format not in _FORMATS_THAT_UNPACK:
        return user_data
    return min(gzipped(user_data), user_data, key=len)
