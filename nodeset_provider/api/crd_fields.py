"""What single fields refuse, beyond what their Python type says: limits, list types and CEL rules.

A table of struct → field → schema keys; the empty field name stands for the struct itself. Rules about user input are
CEL, because its messages are ours: they name the field and the remedy. Limits keep the estimated cost of the rules
within the API server's budget (and objects within etcd's 1.5 MiB); they are far above what anybody needs.

What only the provider writes (status, Machines) is checked for the invariants that must hold whoever wrote it, and for
nothing else: a refused status write hides what it wanted to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodeset_provider.api import cel, names
from nodeset_provider.api.cel import Rule
from nodeset_provider.api.crd_join import JOIN_FIELDS
from nodeset_provider.api.crd_schema import Constraints
from nodeset_provider.api.machine import Failure, MachineSpec, MachineStatus, MachineTemplate, NodeReference
from nodeset_provider.api.meta import Condition, SecretReference, Taint
from nodeset_provider.api.nodeclass import (
    File,
    NodeClassSpec,
    NodeClassStatus,
    Provisioning,
    ResolvedTemplate,
    Unit,
    User,
)
from nodeset_provider.api.nodeset import Autoscaling, AutoscalingOptions, NodeSetSpec, NodeSetStatus

_Keys = Mapping[str, Any]

_MAX_LABELS = 64
_MAX_TAINTS = 32
_MAX_MESSAGE = 32768
_NEVER = 2**31 - 1

# --- labels, annotations, taints ------------------------------------------------------------------------------------
_LABEL_KEYS = cel.keys_match(
    cel.LABEL_KEY, "keys must be written as name or prefix.example.com/name; a name has at most 63 characters"
)
_LABEL_VALUE = cel.text(
    63,
    cel.matches(
        cel.LABEL_VALUE,
        "a value has at most 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit",
    ),
)
_NOT_RESERVED = Rule(
    f"self.all(key, !key.startsWith('{names.GROUP}/') && !key.contains('.{names.GROUP}/'))",
    f"keys of the domain {names.GROUP} are set by the provider alone: take a domain of your own",
)
_NO_HOSTNAME = Rule(
    f"!('{names.LABEL_HOSTNAME}' in self)", f"{names.LABEL_HOSTNAME} differs from node to node: leave it to the kubelet"
)
_LABELS: _Keys = {
    "maxProperties": _MAX_LABELS,
    "additionalProperties": _LABEL_VALUE,
    **cel.rules(_LABEL_KEYS, _NOT_RESERVED, _NO_HOSTNAME),
}
_ANNOTATIONS: _Keys = {
    "maxProperties": _MAX_LABELS,
    "additionalProperties": {"maxLength": 16384},
    **cel.rules(_LABEL_KEYS, _NOT_RESERVED),
}
_NOT_OURS = Rule(
    f"self.all(taint, taint.key != '{names.TAINT_UNREGISTERED}')",
    f"the taint {names.TAINT_UNREGISTERED} is put on and taken off by the provider: leave it out",
)
_TAINTS: _Keys = {
    "maxItems": _MAX_TAINTS,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["key", "effect"],
    **cel.rules(_NOT_OURS),
}

# --- prices ---------------------------------------------------------------------------------------------------------
_DECIMAL = cel.text(
    32,
    cel.matches(
        r"^[0-9]+([.][0-9]+)?$",
        'pricePerHour must be a decimal number in quotes without sign or currency, such as "0.096"',
    ),
)

# --- status ---------------------------------------------------------------------------------------------------------
_CONDITIONS: _Keys = {"maxItems": 16, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


def _once_an_attempt(field: str) -> Rule:
    return Rule(
        f"!has(oldSelf.{field}) || self.attempt > oldSelf.attempt || "
        f"has(self.{field}) && self.{field} == oldSelf.{field}",
        f"status.{field} is set once an attempt: it can change only together with a higher status.attempt",
    )


def _fraction(field: str) -> _Keys:
    return cel.rules(Rule("self >= 0.0 && self <= 1.0", f"{field} is a fraction: it must be between 0 and 1"))


def _seconds(field: str) -> _Keys:
    return cel.rules(cel.between(0, _NEVER, field))


_COMMANDS: _Keys = {
    "maxItems": 64,
    "items": {"minLength": 1, "maxLength": 16384},
    "x-kubernetes-list-type": "atomic",
}

FIELDS: Constraints = {
    Taint: {
        "key": cel.text(
            cel.LABEL_KEY_LENGTH,
            cel.matches(cel.LABEL_KEY, "a taint's key must be written as name or prefix.example.com/name"),
        ),
        "value": _LABEL_VALUE,
    },
    SecretReference: {
        "name": cel.text(253, cel.matches(cel.DNS_SUBDOMAIN, "credentialsRef.name must be the name of a Secret")),
        "namespace": cel.text(
            63, cel.matches(cel.DNS_LABEL, "credentialsRef.namespace must be the name of a namespace")
        ),
    },
    Condition: {
        "type": {"minLength": 1, "maxLength": 316},
        "reason": {"maxLength": 1024},
        "message": {"maxLength": _MAX_MESSAGE},
        "last_transition_time": {"format": "date-time"},
        "observed_generation": {"format": "int64"},
    },
    # --- NodeClass ---------------------------------------------------------------------------------------------------
    NodeClassSpec: {
        "": cel.rules(
            Rule(
                "!has(self.registration) || self.registration != 'Adopt' || !has(self.join) || self.join.mode != 'EKS'",
                "registration Adopt cannot work with join.mode EKS, where the cloud names the Node: write Handover",
            )
        ),
        "driver": cel.text(
            63,
            cel.matches(cel.DNS_LABEL, "driver must be the name of a driver: lower-case letters, digits and '-'"),
            Rule(
                "self == oldSelf",
                "driver cannot be changed, as machines that exist belong to it: make a NodeClass of another name",
            ),
        ),
        "node_labels": _LABELS,
        "launch_timeout_seconds": cel.rules(cel.between(1, 86400, "launchTimeoutSeconds")),
    },
    ResolvedTemplate: {"taints": {"maxItems": 2 * _MAX_TAINTS, "x-kubernetes-list-type": "atomic"}},
    NodeClassStatus: {"observed_generation": {"format": "int64"}, "conditions": _CONDITIONS},
    **JOIN_FIELDS,
    Provisioning: {
        "users": {"maxItems": 32, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "files": {"maxItems": 64, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["path"]},
        "units": {"maxItems": 32, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "commands": _COMMANDS,
        "commands_after_join": _COMMANDS,
    },
    User: {
        "name": cel.text(
            32,
            cel.matches("^[a-z_][-a-z0-9_]*$", "name must be a login name: lower-case letters, digits, '-' and '_'"),
        ),
        "ssh_authorized_keys": {
            "maxItems": 32,
            "x-kubernetes-list-type": "set",
            "items": cel.text(
                8192,
                Rule(
                    "(self.startsWith('ssh-') || self.startsWith('ecdsa-') || self.startsWith('sk-')) && "
                    "self.contains(' ') && !self.contains('\\n')",
                    "must be one public key on one line, as in ~/.ssh/id_ed25519.pub: ssh-ed25519 AAAA… comment",
                ),
            ),
        },
    },
    Unit: {
        "name": cel.text(
            255,
            cel.matches(
                "^[A-Za-z0-9:_.@-]+[.](service|socket|timer|path|mount|automount|swap|target|slice|device)$",
                "name must be a systemd unit with its suffix, such as tuning.service",
            ),
        ),
        "content": {"maxLength": 65536},
    },
    File: {
        "path": cel.text(
            1024,
            cel.matches("^(/[^/\\x00-\\x1f]+)+$", "path must be absolute and name a file, such as /etc/motd"),
            Rule("!self.matches('/[.][.]?(/|$)')", "path must not hold . or .. as a folder: write it out"),
        ),
        "content": {"maxLength": 131072},
        "owner": cel.text(
            65,
            cel.matches(
                "^[A-Za-z0-9_][-A-Za-z0-9_.]*(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?$",
                "owner must be user or user:group, such as root:root",
            ),
            Rule(
                "!self.matches('(^|:)[0-9]+(:|$)')",
                "owner takes names, not numbers: what reads it at the first boot looks them up as names",
            ),
        ),
        "permissions": cel.text(
            16, cel.matches("^[0-7]{3,4}$", 'permissions must be an octal number in quotes, such as "0644"')
        ),
    },
    # --- NodeSet -----------------------------------------------------------------------------------------------------
    NodeSetSpec: {
        "": cel.rules(
            Rule(
                "!has(self.taints) || !has(self.startupTaints) || !self.startupTaints.exists(start, "
                "self.taints.exists(kept, kept.key == start.key && kept.effect == start.effect))",
                "a taint is both in taints and in startupTaints: leave it in taints if it stays, in startupTaints if "
                "something takes it away",
            )
        ),
        "node_class_name": cel.text(63, cel.matches(cel.DNS_LABEL, "nodeClassName must be the name of a NodeClass")),
        "replicas": {"default": 0, **cel.rules(Rule("self >= 0", "replicas must be 0 or more"))},
        "node_labels": _LABELS,
        "node_annotations": _ANNOTATIONS,
        "taints": _TAINTS,
        "startup_taints": _TAINTS,
        "remove_first": {
            "maxItems": 10000,
            "x-kubernetes-list-type": "set",
            "items": cel.text(63, cel.matches(cel.DNS_LABEL, "removeFirst takes names of Machines, each once")),
        },
    },
    Autoscaling: {
        "": cel.rules(
            Rule(
                "self.minReplicas <= self.maxReplicas",
                "minReplicas must not be greater than maxReplicas: lower minReplicas or raise maxReplicas",
            )
        ),
        "max_replicas": cel.rules(Rule("self >= 0", "maxReplicas must be 0 or more")),
        "min_replicas": {"default": 0, **cel.rules(Rule("self >= 0", "minReplicas must be 0 or more"))},
        "price_per_hour": _DECIMAL,
    },
    AutoscalingOptions: {
        "scale_down_utilization_threshold": _fraction("scaleDownUtilizationThreshold"),
        "scale_down_gpu_utilization_threshold": _fraction("scaleDownGpuUtilizationThreshold"),
        "scale_down_unneeded_seconds": _seconds("scaleDownUnneededSeconds"),
        "scale_down_unready_seconds": _seconds("scaleDownUnreadySeconds"),
        "max_node_provision_seconds": _seconds("maxNodeProvisionSeconds"),
    },
    NodeSetStatus: {"observed_generation": {"format": "int64"}, "conditions": _CONDITIONS},
    # --- Machine -----------------------------------------------------------------------------------------------------
    MachineSpec: {
        "": cel.rules(
            Rule(
                "self == oldSelf",
                "spec cannot be changed, as it is what the machine was made from: delete the Machine, and its NodeSet "
                "makes another one",
            )
        ),
        "node_name": cel.text(
            63, cel.matches(cel.DNS_SUBDOMAIN, "nodeName must be a host name: lower-case letters, digits, '-' and '.'")
        ),
    },
    MachineTemplate: {
        "taints": {"maxItems": 2 * _MAX_TAINTS, "x-kubernetes-list-type": "atomic"},
        "startup_taints": {"maxItems": 2 * _MAX_TAINTS, "x-kubernetes-list-type": "atomic"},
    },
    NodeReference: {"name": {"minLength": 1, "maxLength": 253}, "uid": {"minLength": 1, "maxLength": 128}},
    Failure: {
        "code": {"maxLength": 1024},
        "message": {"maxLength": _MAX_MESSAGE},
        "time": {"format": "date-time"},
    },
    MachineStatus: {
        "": {
            # So that there is always an attempt to compare with, and no way round it by taking the status away.
            "default": {"attempt": 1},
            **cel.rules(
                Rule(
                    "self.attempt >= oldSelf.attempt",
                    "status.attempt never falls: the client tokens of earlier attempts are used up",
                ),
                _once_an_attempt("providerID"),
                _once_an_attempt("clientToken"),
            ),
        },
        "attempt": cel.rules(Rule("self >= 1", "attempt counts from 1")),
        "client_token": {"maxLength": 64},
        "provider_id": {"maxLength": 1024},
        "addresses": {"maxItems": 64, "x-kubernetes-list-type": "atomic"},
        "conditions": _CONDITIONS,
    },
}
