"""Where on the machine we put what no other program has a place for."""

from __future__ import annotations

from typing import Final

FOLDER: Final = "/etc/nodeset"
UNITS: Final = "/etc/systemd/system"
DROP_IN: Final = "20-nodeset.conf"
"""Name of our drop-ins: after kubeadm's 10-kubeadm.conf, whose ExecStart it replaces."""


def drop_in_path(unit: str, name: str = DROP_IN) -> str:
    """Path of a drop-in of that unit."""
    return f"{UNITS}/{unit}.d/{name}"
