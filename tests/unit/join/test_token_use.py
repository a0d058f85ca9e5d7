from __future__ import annotations

import pytest

from nodeset_provider.api.nodeclass import EksJoin, Join, KubeadmJoin
from nodeset_provider.join.token_use import TokenUse, chooses_node_name, signs_kubelet_certificates, token_use

EKS = Join(mode="EKS", eks=EksJoin(cluster_name="prod", cidr="10.100.0.0/16"))


@pytest.mark.parametrize(
    ("join", "use"),
    [
        (Join(), TokenUse.AUTHENTICATION),
        (Join(mode="Kubeadm"), TokenUse.AUTHENTICATION_AND_SIGNING),
        (Join(mode="Kubeadm", kubeadm=KubeadmJoin(discovery="File")), TokenUse.AUTHENTICATION),
        (Join(mode="K3s"), TokenUse.AUTHENTICATION),
        (EKS, TokenUse.NONE),
    ],
)
def test_token_can_do_what_its_mode_needs_and_no_more(join: Join, use: TokenUse) -> None:
    assert token_use(join) is use


def test_settings_of_another_mode_do_not_make_a_token_sign() -> None:
    assert token_use(Join(mode="Bootstrap", kubeadm=KubeadmJoin(discovery="Token"))) is TokenUse.AUTHENTICATION


def test_only_the_cloud_names_nodes_of_eks() -> None:
    assert not chooses_node_name(EKS)
    assert all(chooses_node_name(Join(mode=mode)) for mode in ("Bootstrap", "Kubeadm", "K3s"))


def test_certificates_are_asked_for_where_the_clusters_own_signer_gives_them() -> None:
    assert signs_kubelet_certificates(Join())
    assert signs_kubelet_certificates(Join(mode="Kubeadm"))
    assert not signs_kubelet_certificates(Join(mode="K3s"))
    assert not signs_kubelet_certificates(EKS)
