"""What the cluster has to have ready for a machine of a join mode: its token, its name, its certificates.

The controllers ask here, so that none of them knows a mode by name. Pure.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from nodeset_provider.api.nodeclass import Join


class TokenUse(Enum):
    """What the machine's bootstrap token is good for (the usages of a bootstrap token Secret)."""

    NONE = "none"
    """The machine has another identity: no token is made."""
    AUTHENTICATION = "authentication"
    """It is the machine's bearer token."""
    AUTHENTICATION_AND_SIGNING = "authentication-and-signing"
    """And the cluster-info ConfigMap in kube-public is signed with it: how ``kubeadm join`` comes to trust the CA."""


_OTHER_IDENTITY: Final = "EKS"
"""nodeadm's kubelet comes with the machine's IAM role."""
_KUBEADM: Final = "Kubeadm"
_CSR_MODES: Final = ("Bootstrap", "Kubeadm")


def token_use(join: Join) -> TokenUse:
    """What the token of a machine of that class has to be good for."""
    if join.mode == _OTHER_IDENTITY:
        return TokenUse.NONE
    if join.mode == _KUBEADM and join.kubeadm.discovery == "Token":
        return TokenUse.AUTHENTICATION_AND_SIGNING
    return TokenUse.AUTHENTICATION


def chooses_node_name(join: Join) -> bool:
    """Whether we say what the Node is called. EKS: it is the machine's private DNS name, which the cloud gives."""
    return join.mode != _OTHER_IDENTITY


def signs_kubelet_certificates(join: Join) -> bool:
    """Whether the kubelet gets its certificates through CertificateSigningRequests that somebody has to approve.

    A k3s server hands them out itself (its own endpoints under /v1-k3s); on EKS the client authenticates by IAM and the
    control plane approves the serving certificate.
    """
    return join.mode in _CSR_MODES
