"""The kubelet's join configuration: what a machine is told at boot so that it can join this cluster.

A *mode* (``modes/``) says what has to be on the machine, as a neutral
:class:`~nodeset_provider.join.document.Document`; a *renderer* (``cloud_init``) writes that document in the form that
the machine's first-boot program reads. Neither knows the other, so that each new mode works with every renderer. All of
it is pure: no clock, no randomness, no I/O; the same request gives the same bytes. Imports only ``api``.
"""

from nodeset_provider.join.allocatable import resolve_resources
from nodeset_provider.join.bootstrap_token import BootstrapToken
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.request import ClusterAccess, JoinRequest
from nodeset_provider.join.size import UserDataSize, user_data_size
from nodeset_provider.join.user_data import Delivery, render_user_data

__all__ = [
    "BootstrapToken",
    "ClusterAccess",
    "Delivery",
    "InvalidJoin",
    "JoinRequest",
    "UserDataSize",
    "render_user_data",
    "resolve_resources",
    "user_data_size",
]
