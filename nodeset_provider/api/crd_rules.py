"""What the three kinds are called, show and refuse as wholes: names, printer columns, subresources, root CEL rules.

Rules about single fields stand in :mod:`nodeset_provider.api.crd_fields`. A message names the field and the remedy:
it is all that the person at the other end of ``kubectl apply`` gets to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from nodeset_provider.api import names
from nodeset_provider.api.cel import Rule
from nodeset_provider.api.machine import Machine, MachineSpec, MachineStatus
from nodeset_provider.api.nodeclass import NodeClass, NodeClassSpec, NodeClassStatus
from nodeset_provider.api.nodeset import NodeSet, NodeSetSpec, NodeSetStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; ``wide`` ones show with ``-o wide`` only."""

    name: str
    path: str
    text: str
    type: str = "string"
    wide: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As in additionalPrinterColumns."""
        column = {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.text}
        return {**column, "priority": 1} if self.wide else column


@dataclass(frozen=True, slots=True)
class Kind:
    """One CustomResourceDefinition, less its schema.

    ``categories`` never hold ``all``: ``kubectl delete all --all`` must not take machines away. Nor do they hold the
    name of a kind: kubectl takes a category before a kind, so ``kubectl get nodeset`` would list everything.
    """

    root: type[msgspec.Struct]
    spec: type[msgspec.Struct]
    status: type[msgspec.Struct]
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    scale: Mapping[str, str] | None = None
    categories: tuple[str, ...] = ("nodeset-provider",)


_WHY = '.status.conditions[?(@.status=="False")]'
"""The first condition that does not hold: a column shows its first hit only."""
_AGE = Column("Age", ".metadata.creationTimestamp", "How long ago it was made.", type="date")
_MESSAGE = Column("Message", f"{_WHY}.message", "What is in the way, and the remedy.")


def _is_true(condition: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].status'


def _label(name: str) -> str:
    return name.replace(".", "\\.")


KINDS = (
    Kind(
        root=NodeClass,
        spec=NodeClassSpec,
        status=NodeClassStatus,
        plural="nodeclasses",
        short_names=("nc",),
        columns=(
            Column("Driver", ".spec.driver", "The driver that makes the machines."),
            Column("Ready", _is_true(names.CONDITION_READY), "Whether machines can be made from it."),
            Column("Type", f".status.template.labels.{_label(names.LABEL_INSTANCE_TYPE)}", "The cloud's machine type."),
            Column("CPU", ".status.template.capacity.cpu", "Processors of one machine."),
            Column("Memory", ".status.template.capacity.memory", "Memory of one machine."),
            Column("Price", ".status.template.pricePerHour", "Price of one machine for one hour."),
            Column("Zone", f".status.template.labels.{_label(names.LABEL_ZONE)}", "The cloud's zone.", wide=True),
            Column("Reason", f"{_WHY}.reason", "Why it is not ready, in one word.", wide=True),
            _AGE,
            _MESSAGE,
        ),
        rules=(
            Rule(
                "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63",
                "metadata.name must be a DNS label (lower-case letters, digits and -) of at most 63 characters: it is "
                "the value of a label on every Node of the class",
            ),
        ),
    ),
    Kind(
        root=NodeSet,
        spec=NodeSetSpec,
        status=NodeSetStatus,
        plural="nodesets",
        short_names=("nset",),
        scale={
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
        columns=(
            Column("Class", ".spec.nodeClassName", "The NodeClass of the machines."),
            Column("Desired", ".spec.replicas", "How many machines are wanted.", type="integer"),
            Column("Current", ".status.replicas", "How many machines there are.", type="integer"),
            Column("Ready", ".status.readyReplicas", "How many of them are ready for pods.", type="integer"),
            Column("Min", ".spec.autoscaling.minReplicas", "The autoscaler's lower bound.", type="integer"),
            Column("Max", ".spec.autoscaling.maxReplicas", "The autoscaler's upper bound.", type="integer"),
            Column("Healthy", _is_true(names.CONDITION_READY), "Whether all wanted machines are ready."),
            Column("Type", f".status.template.labels.{_label(names.LABEL_INSTANCE_TYPE)}", "Machine type.", wide=True),
            Column("Price", ".status.template.pricePerHour", "Price of one machine for one hour.", wide=True),
            Column("Reason", f"{_WHY}.reason", "Why it is not healthy, in one word.", wide=True),
            _AGE,
            _MESSAGE,
        ),
        rules=(
            Rule(
                "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 50",
                "metadata.name must be a DNS label (lower-case letters, digits and -) of at most 50 characters: names "
                "of its Machines and Nodes are made from it",
            ),
            Rule(
                "self.spec.nodeClassName == oldSelf.spec.nodeClassName || (oldSelf.spec.replicas == 0 && "
                "oldSelf.?status.?replicas.orValue(0) == 0)",
                "spec.nodeClassName cannot change while the NodeSet has machines or asks for some: make a second "
                "NodeSet for the other class and scale this one down, or scale this one to 0 first",
            ),
        ),
    ),
    Kind(
        root=Machine,
        spec=MachineSpec,
        status=MachineStatus,
        plural="machines",
        short_names=("nsm",),
        columns=(
            Column("NodeSet", f".metadata.labels.{_label(names.LABEL_NODESET)}", "The NodeSet that it belongs to."),
            Column("Node", ".status.nodeRef.name", "The Node that it registered as."),
            Column("Launched", _is_true(names.CONDITION_LAUNCHED), "Whether the cloud has made it."),
            Column("Registered", _is_true(names.CONDITION_REGISTERED), "Whether its Node is there and complete."),
            Column("Initialized", _is_true(names.CONDITION_INITIALIZED), "Whether its Node takes pods."),
            Column("Reason", f"{_WHY}.reason", "Why it gets no further, in one word."),
            Column("Driver", ".spec.template.driver", "The driver that makes it.", wide=True),
            Column("Attempt", ".status.attempt", "Which try to launch it this is.", type="integer", wide=True),
            Column("Provider-ID", ".status.providerID", "The cloud's id of it.", wide=True),
            Column("Deleting", ".metadata.deletionTimestamp", "Since when it is taken away.", type="date", wide=True),
            _AGE,
            _MESSAGE,
        ),
        rules=(
            Rule(
                "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63",
                "metadata.name must be a DNS label (lower-case letters, digits and -) of at most 63 characters",
            ),
        ),
    ),
)
