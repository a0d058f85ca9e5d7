"""Mode Bootstrap: a kubelet that is on the machine already joins by TLS bootstrap with a token of its own.

The image brings kubelet, a container runtime and a kubelet.service; this mode brings the CA, the bootstrap kubeconfig,
the KubeletConfiguration and a drop-in for the unit, and starts it last.
"""

from __future__ import annotations

from typing import Final

from nodeset_provider.join.document import Document, MachineFile, MachineUnit
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.kubelet import bootstrap_kubeconfig, kubelet_configuration
from nodeset_provider.join.node_labels import kubelet_labels
from nodeset_provider.join.provisioning import class_commands, class_files, class_users
from nodeset_provider.join.request import JoinRequest
from nodeset_provider.join.yaml_text import yaml_text

CA_FILE: Final = "/etc/kubernetes/pki/ca.crt"
BOOTSTRAP_KUBECONFIG: Final = "/etc/kubernetes/bootstrap-kubelet.conf"
KUBECONFIG: Final = "/var/lib/kubelet/kubeconfig"
"""Written by the kubelet once it has a certificate."""
CONFIGURATION: Final = "/var/lib/kubelet/config.yaml"
CERTIFICATES: Final = "/var/lib/kubelet/pki"
UNIT: Final = "kubelet.service"
DROP_IN: Final = "20-nodeset.conf"
"""After kubeadm's 10-kubeadm.conf, whose ExecStart it replaces."""


def document(request: JoinRequest) -> Document:
    """What a machine needs for this mode. Raises InvalidJoin with the field for what cannot work."""
    request.check()
    if b"-----BEGIN CERTIFICATE-----" not in request.cluster.ca_bundle:
        raise InvalidJoin("the provider's join.caFile", "holds no PEM certificate; name the API server's CA file")
    # Ours come first: an owner that the machine does not know ends cloud-init's writing of files.
    ours = (
        MachineFile(path=CA_FILE, content=request.cluster.ca_bundle, mode=0o644),
        MachineFile(
            path=BOOTSTRAP_KUBECONFIG,
            content=yaml_text(bootstrap_kubeconfig(request, ca_file=CA_FILE)),
            mode=0o600,
        ),
        MachineFile(
            path=CONFIGURATION,
            content=yaml_text(kubelet_configuration(request, ca_file=CA_FILE)),
            mode=0o644,
        ),
    )
    provisioning = request.template.provisioning
    reserved = (*(file.path for file in ours), KUBECONFIG, f"/etc/systemd/system/{UNIT}.d/{DROP_IN}")
    return Document(
        hostname=request.node_name,
        files=ours + class_files(provisioning, reserved=reserved),
        users=class_users(provisioning),
        units=(MachineUnit(name=UNIT, drop_ins=((DROP_IN, _drop_in(request)),), start=True),),
        commands_before=class_commands(provisioning),
    )


def _drop_in(request: JoinRequest) -> bytes:
    labels = kubelet_labels(request.template.labels)
    arguments = [
        "kubelet",
        f"--bootstrap-kubeconfig={BOOTSTRAP_KUBECONFIG}",
        f"--kubeconfig={KUBECONFIG}",
        f"--config={CONFIGURATION}",
        f"--cert-dir={CERTIFICATES}",
        f"--hostname-override={request.node_name}",
    ]
    if labels:
        # Label keys and values hold no character that systemd reads (%, $, quotes, blanks): checked by kubelet_labels.
        arguments.append(f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}")
    return f"[Service]\nExecStart=\nExecStart={' '.join(arguments)}\n".encode()
