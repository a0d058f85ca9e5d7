"""Join modes: each says what has to be on a machine for one way of joining. A mode knows no renderer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nodeset_provider.join.document import Document
from nodeset_provider.join.modes import bootstrap, eks, k3s, kubeadm
from nodeset_provider.join.request import JoinRequest

Mode = Callable[[JoinRequest], Document]

MODES: Final[Mapping[str, Mode]] = {
    "Bootstrap": bootstrap.document,
    "Kubeadm": kubeadm.document,
    "K3s": k3s.document,
    "EKS": eks.document,
}
"""By ``spec.join.mode``."""
