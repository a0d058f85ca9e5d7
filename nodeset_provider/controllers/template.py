"""Class + set + what the driver resolved → the frozen template of a Machine and the Node that will join. Pure.

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
from nodeset_provider.api.nodeset import NodeSet
from nodeset_provider.controllers.merge import merge_patch
from nodeset_provider.driverkit.contract import Offering
from nodeset_provider.join.allocatable import resolve_resources

HASH_VERSION = "1"
"""Part of every hash: raised only when machines that exist *should* count as outdated, never by a refactoring."""


def merged_config(node_class: NodeClass, nodeset: NodeSet | None) -> dict[str, Any]:
    """The driver's config: the set's over the class's."""
    config: dict[str, Any] = merge_patch(node_class.spec.config, nodeset.spec.config if nodeset is not None else {})
    return config


def node_labels(node_class: NodeClass, nodeset: NodeSet | None, offering: Offering, gpu_label: str) -> dict[str, str]:
    """All labels the Node will carry, but for the host name.

    What people wrote wins over what the driver found out (a host pool may not know its zone); our own two win over
    everything, because NodePrice finds the group by them.
    """
    labels = dict(offering.labels)
    if offering.gpu_type:
        labels[gpu_label] = offering.gpu_type
    labels |= node_class.spec.node_labels
    if nodeset is not None:
        labels |= nodeset.spec.node_labels
        labels[LABEL_NODESET] = nodeset.metadata.name
    labels[LABEL_NODE_CLASS] = node_class.metadata.name
    # The kubelet sets the beta pair beside the stable one (kubernetes/pkg/kubelet/kubelet_node_status.go).
    for stable, beta in ((LABEL_ARCH, LABEL_ARCH_BETA), (LABEL_OS, LABEL_OS_BETA)):
        if stable in labels:
            labels[beta] = labels[stable]
    return labels


def machine_template(node_class: NodeClass, nodeset: NodeSet, offering: Offering, gpu_label: str) -> MachineTemplate:
    """Everything that one machine of the set needs, merged."""
    spec = node_class.spec
    capacity, _ = resolve_resources(offering.capacity, spec.join.kubelet)
    return MachineTemplate(
        driver=spec.driver,
        node_class_name=node_class.metadata.name,
        config=merged_config(node_class, nodeset),
        credentials_ref=spec.credentials_ref,
        join=spec.join,
        provisioning=spec.provisioning,
        labels=node_labels(node_class, nodeset, offering, gpu_label),
        annotations=dict(nodeset.spec.node_annotations),
        taints=list(nodeset.spec.taints),
        startup_taints=list(nodeset.spec.startup_taints),
        capacity=dict(capacity),
        provider_id_format=offering.provider_id_format,
        launch_timeout_seconds=spec.launch_timeout_seconds,
    )


def template_hash(node_class: NodeClass, nodeset: NodeSet) -> str:
    """Ten hexadecimal digits over what people asked for.

    What the driver resolves is left out: a cloud that renames a zone or rounds memory differently must not make every
    machine look outdated, nor must an upgrade of the controllers.
    """
    asked = [
        HASH_VERSION,
        node_class.spec.driver,
        node_class.metadata.name,
        merged_config(node_class, nodeset),
        node_class.spec.credentials_ref,
        node_class.spec.join,
        node_class.spec.provisioning,
        node_class.spec.node_labels | nodeset.spec.node_labels,
        nodeset.spec.node_annotations,
        nodeset.spec.taints,
        nodeset.spec.startup_taints,
    ]
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()[:10]


def resolved_template(
    node_class: NodeClass, nodeset: NodeSet | None, offering: Offering, gpu_label: str
) -> ResolvedTemplate:
    """The Node that would join.

    Startup taints are in it as the kubelet registers with them; our unregistered taint is not, because a complete Node
    has lost it.
    """
    capacity, allocatable = resolve_resources(offering.capacity, node_class.spec.join.kubelet)
    price = offering.price_per_hour
    if nodeset is not None and nodeset.spec.autoscaling is not None:
        price = nodeset.spec.autoscaling.price_per_hour or price
    return ResolvedTemplate(
        capacity=dict(capacity),
        allocatable=dict(allocatable),
        labels=node_labels(node_class, nodeset, offering, gpu_label),
        annotations=dict(nodeset.spec.node_annotations) if nodeset is not None else {},
        taints=[*nodeset.spec.taints, *nodeset.spec.startup_taints] if nodeset is not None else [],
        price_per_hour=price,
    )
