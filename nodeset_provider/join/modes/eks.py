"""Mode EKS: nodeadm's NodeConfig (node.eks.aws/v1alpha1) on Amazon's own images (AL2023 and newer).

The machine's IAM role is its identity, so there is no token here. nodeadm reads its part of the MIME user-data from the
instance metadata, before cloud-init reads the rest; it starts the kubelet once cloud-init has ended
(nodeadm-run.service). The Node's name and provider id are the cloud's.

nodeadm's configuration of the kubelet is merged under the class's key by key, so what templates are computed from is
written out in full: a reservation that the class does not have is 0, not nodeadm's.
"""

from __future__ import annotations

import ipaddress
import shlex
from typing import Any, Final
from urllib.parse import urlsplit

from nodeset_provider.api.nodeclass import EksJoin
from nodeset_provider.join.allocatable import CPU, EPHEMERAL_STORAGE, MEMORY
from nodeset_provider.join.certificates import base64_text, check_cluster_ca
from nodeset_provider.join.document import Document, MachineFile, MachineUnit, Part
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.kubelet import kubelet_settings, registration_taints
from nodeset_provider.join.mirrors import containerd_files
from nodeset_provider.join.node_labels import labels_argument
from nodeset_provider.join.paths import FOLDER
from nodeset_provider.join.proxy import proxy_environment
from nodeset_provider.join.request import JoinRequest
from nodeset_provider.join.surroundings import surround
from nodeset_provider.join.yaml_text import yaml_text

CONTENT_TYPE: Final = "application/node.eks.aws"
AFTER_JOIN: Final = f"{FOLDER}/after-join"
AFTER_JOIN_UNIT: Final = "nodeset-after-join.service"

_FIELD: Final = "spec.join.eks"
_METADATA: Final = ("169.254.169.254", "fd00:ec2::254")
"""Instance metadata, where the machine's identity comes from; no proxy reaches another machine's."""
_RESERVED_BY_NODEADM: Final = (CPU, MEMORY, EPHEMERAL_STORAGE)
_UNIT: Final = f"""\
[Unit]
Description=Commands of the NodeClass after the kubelet has been started
After=nodeadm-run.service kubelet.service

[Service]
Type=oneshot
ExecStart={AFTER_JOIN}
"""


def document(request: JoinRequest) -> Document:
    """What a machine needs for this mode. Raises InvalidJoin with the field for what cannot work."""
    check_cluster_ca(request.cluster)
    join = request.template.join
    if join.eks is None:
        raise InvalidJoin(_FIELD, "is needed with mode EKS; give clusterName and cidr")
    environment = proxy_environment(request, direct=(*_METADATA, join.eks.cidr))
    content = yaml_text(node_config(request, join.eks, environment))
    own = Document(hostname="", parts=(Part(content_type=CONTENT_TYPE, content=content),))
    whole = surround(
        request,
        own,
        environment=environment,
        mirrors=containerd_files(join.registry_mirrors),
        reserved=(AFTER_JOIN, f"/etc/systemd/system/{AFTER_JOIN_UNIT}"),
    )
    return _deferred(whole)


def node_config(request: JoinRequest, eks: EksJoin, environment: dict[str, str]) -> dict[str, Any]:
    """The NodeConfig; keys in a fixed order. Raises InvalidJoin where the service network is none."""
    try:
        ipaddress.ip_network(eks.cidr)
    except ValueError:
        raise InvalidJoin(f"{_FIELD}.cidr", f"{eks.cidr!r} is no network; write for example 10.100.0.0/16") from None
    if urlsplit(request.endpoint).path.strip("/"):
        raise InvalidJoin("spec.join.endpoint", "has a path, which the endpoint of an EKS cluster never has; remove it")
    fields = kubelet_settings(request)
    fields.pop("providerID", None)
    fields["kubeReserved"] = dict.fromkeys(_RESERVED_BY_NODEADM, "0") | fields["kubeReserved"]
    fields["registerWithTaints"] = registration_taints(request)
    kubelet: dict[str, Any] = {"config": fields}
    labels = labels_argument(request.template.labels)
    if labels:
        kubelet["flags"] = [f"--node-labels={labels}"]
    spec: dict[str, Any] = {
        "cluster": {
            "name": eks.cluster_name,
            "apiServerEndpoint": request.endpoint,
            "certificateAuthority": base64_text(request.cluster.ca_bundle),
            "cidr": eks.cidr,
        },
        "kubelet": kubelet,
    }
    if environment:
        spec["instance"] = {"environment": {"default": environment}}
    return {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec}


def _deferred(document: Document) -> Document:
    """``commands_after`` as a unit: nodeadm starts the kubelet only once cloud-init, which runs commands, has ended."""
    if not document.commands_after:
        return document
    script = "#!/bin/sh\n" + "".join(f"{shlex.join(command)}\n" for command in document.commands_after)
    # Started, not enabled: once in the machine's life, as commands are in every other mode.
    unit = MachineUnit(name=AFTER_JOIN_UNIT, content=_UNIT.encode(), enabled=False, start=True)
    return Document(
        hostname=document.hostname,
        files=(MachineFile(path=AFTER_JOIN, content=script.encode(), mode=0o755), *document.files),
        users=document.users,
        units=(*document.units, unit),
        commands_before=document.commands_before,
        parts=document.parts,
    )
