"""Class + what is asked + what the driver resolved → the frozen template of a Machine and its future Node. Pure.

Both come from one place so that what the autoscaler is promised is what the Machine is told to become.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from nodeset_provider.api.machine import MachineTemplate
from nodeset_provider.api.names import (
    LABEL_ARCH,
    LABEL_ARCH_BETA,
    LABEL_NODE_CLASS,
    LABEL_NODESET,
    LABEL_OS,
    LABEL_OS_BETA,
)
from nodeset_provider.api.nodeclass import NodeClass, ResolvedTemplate
from nodeset_provider.controllers.asked import Asked
from nodeset_provider.controllers.merge import merge_patch
from nodeset_provider.driverkit.contract import Offering
from nodeset_provider.join.allocatable import resolve_resources

HASH_VERSION = "1"
"""Part of every hash: raised only when machines that exist *should* count as outdated, never by a refactoring."""


def merged_config(node_class: NodeClass, asked: Asked) -> dict[str, Any]:
    """The driver's config: the set's over the class's."""
    config: dict[str, Any] = merge_patch(node_class.spec.config, asked.config)
    return config


def node_labels(node_class: NodeClass, asked: Asked, offering: Offering, gpu_label: str) -> dict[str, str]:
    """All labels the Node will carry, but for the host name.

    What people wrote wins over what the driver found out (a host pool may not know its zone); our own two win over
    everything, because NodePrice finds the group by them.
    """
    labels = dict(offering.labels)
    if offering.gpu_type:
        labels[gpu_label] = offering.gpu_type
    labels |= node_class.spec.node_labels | asked.labels
    if asked.nodeset:
        labels[LABEL_NODESET] = asked.nodeset
    else:
        labels.pop(LABEL_NODESET, None)
    labels[LABEL_NODE_CLASS] = node_class.metadata.name
    # The kubelet sets the beta pair beside the stable one (kubernetes/pkg/kubelet/kubelet_node_status.go).
    for stable, beta in ((LABEL_ARCH, LABEL_ARCH_BETA), (LABEL_OS, LABEL_OS_BETA)):
        if stable in labels:
            labels[beta] = labels[stable]
    return labels


def machine_template(node_class: NodeClass, asked: Asked, offering: Offering, gpu_label: str) -> MachineTemplate:
    """Everything that one machine needs, merged."""
    spec = node_class.spec
    capacity, _ = resolve_resources(offering.capacity, spec.join.kubelet)
    return MachineTemplate(
        driver=spec.driver,
        node_class_name=node_class.metadata.name,
        config=merged_config(node_class, asked),
        credentials_ref=spec.credentials_ref,
        join=spec.join,
        provisioning=spec.provisioning,
        labels=node_labels(node_class, asked, offering, gpu_label),
        annotations=dict(asked.annotations),
        taints=list(asked.taints),
        startup_taints=list(asked.startup_taints),
        capacity=dict(capacity),
        provider_id_format=offering.provider_id_format,
        launch_timeout_seconds=spec.launch_timeout_seconds,
        registration=(spec.registration or offering.registration) if asked.node_exists else "",
    )


def template_hash(node_class: NodeClass, asked: Asked) -> str:
    """Ten hexadecimal digits over what people asked for.

    What the driver resolves is left out: a cloud that renames a zone or rounds memory differently must not make every
    machine look outdated, nor must an upgrade of the controllers.
    """
    words = [
        HASH_VERSION,
        node_class.spec.driver,
        node_class.metadata.name,
        merged_config(node_class, asked),
        node_class.spec.credentials_ref,
        node_class.spec.join,
        node_class.spec.provisioning,
        node_class.spec.node_labels | asked.labels,
        asked.annotations,
        asked.taints,
        asked.startup_taints,
    ]
    return hashlib.sha256(msgspec.json.encode(words, order="sorted")).hexdigest()[:10]


def resolved_template(node_class: NodeClass, asked: Asked, offering: Offering, gpu_label: str) -> ResolvedTemplate:
    """The Node that would join.

    Startup taints are in it as the kubelet registers with them; our unregistered taint is not, because a complete Node
    has lost it.
    """
    capacity, allocatable = resolve_resources(offering.capacity, node_class.spec.join.kubelet)
    return ResolvedTemplate(
        capacity=dict(capacity),
        allocatable=dict(allocatable),
        labels=node_labels(node_class, asked, offering, gpu_label),
        annotations=dict(asked.annotations),
        taints=[*asked.taints, *asked.startup_taints],
        price_per_hour=asked.price_per_hour or offering.price_per_hour,
    )
