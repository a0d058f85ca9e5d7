"""Mode Bootstrap: a kubelet that is on the machine already joins by TLS bootstrap with a token of its own.

The image brings kubelet, a container runtime and a kubelet.service; this mode brings the CA, the bootstrap kubeconfig,
the KubeletConfiguration and a drop-in for the unit, and starts it last.
"""

from __future__ import annotations

from typing import Final

from nodeset_provider.join.certificates import check_cluster_ca
from nodeset_provider.join.document import Document, MachineFile, MachineUnit
from nodeset_provider.join.kubelet import bootstrap_kubeconfig, kubelet_configuration
from nodeset_provider.join.mirrors import containerd_files
from nodeset_provider.join.node_labels import labels_argument
from nodeset_provider.join.paths import DROP_IN
from nodeset_provider.join.proxy import proxy_environment, service_drop_in
from nodeset_provider.join.request import JoinRequest
from nodeset_provider.join.surroundings import runtime_unit, surround
from nodeset_provider.join.yaml_text import yaml_text

CA_FILE: Final = "/etc/kubernetes/pki/ca.crt"
BOOTSTRAP_KUBECONFIG: Final = "/etc/kubernetes/bootstrap-kubelet.conf"
KUBECONFIG: Final = "/var/lib/kubelet/kubeconfig"
"""Written by the kubelet once it has a certificate."""
CONFIGURATION: Final = "/var/lib/kubelet/config.yaml"
CERTIFICATES: Final = "/var/lib/kubelet/pki"
UNIT: Final = "kubelet.service"


def document(request: JoinRequest) -> Document:
    """What a machine needs for this mode. Raises InvalidJoin with the field for what cannot work."""
    request.check()
    check_cluster_ca(request.cluster)
    join = request.template.join
    environment = proxy_environment(request)
    kubeconfig = bootstrap_kubeconfig(request, {"certificate-authority": CA_FILE})
    configuration = kubelet_configuration(request, ca_file=CA_FILE)
    own = Document(
        hostname=request.node_name,
        files=(
            MachineFile(path=CA_FILE, content=request.cluster.ca_bundle, mode=0o644),
            MachineFile(path=BOOTSTRAP_KUBECONFIG, content=yaml_text(kubeconfig), mode=0o600),
            MachineFile(path=CONFIGURATION, content=yaml_text(configuration), mode=0o644),
        ),
        units=(MachineUnit(name=UNIT, drop_ins=((DROP_IN, _drop_in(request, environment)),), start=True),),
    )
    return surround(
        request,
        own,
        environment=environment,
        mirrors=containerd_files(join.registry_mirrors),
        runtime=runtime_unit(join),
        reserved=(KUBECONFIG,),
    )


def _drop_in(request: JoinRequest, environment: dict[str, str]) -> bytes:
    arguments = [
        "kubelet",
        f"--bootstrap-kubeconfig={BOOTSTRAP_KUBECONFIG}",
        f"--kubeconfig={KUBECONFIG}",
        f"--config={CONFIGURATION}",
        f"--cert-dir={CERTIFICATES}",
        f"--hostname-override={request.node_name}",
    ]
    labels = labels_argument(request.template.labels)
    if labels:
        # Label keys and values hold no character that systemd reads (%, $, quotes, blanks): checked on the way.
        arguments.append(f"--node-labels={labels}")
    return b"[Service]\n" + service_drop_in(environment) + f"ExecStart=\nExecStart={' '.join(arguments)}\n".encode()
