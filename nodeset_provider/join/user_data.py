"""From a request to bytes: the mode that the class names, through the renderer that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nodeset_provider.join import cloud_init
from nodeset_provider.join.document import Document
from nodeset_provider.join.modes import MODES
from nodeset_provider.join.request import JoinRequest

Renderer = Callable[[Document], bytes]

RENDERERS: Final[Mapping[str, Renderer]] = {"CloudInit": cloud_init.render}
"""By ``spec.join.format``."""


def render_user_data(request: JoinRequest) -> bytes:
    """The user-data of that machine; the same request gives the same bytes, always.

    Raises:
        InvalidJoin: with the field, for a class or set that no machine could join with. ``user_data_size`` finds it out
            before there is a machine.
    """
    join = request.template.join
    return RENDERERS[join.format](MODES[join.mode](request))
