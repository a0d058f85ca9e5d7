"""NodeGroupGetOptions: the group's overrides over the autoscaler's own defaults. Pure.

Without overrides the field stays unset, which every release takes as "use the flags" (contract §1, version traps). With
overrides every field is set, in its old and its new form: a duration that is left out crashes ≤ 1.34 and means 0 s
from 1.35 on.
"""

from __future__ import annotations

from typing import Final, TypeVar

from nodeset_provider.api.nodeset import AutoscalingOptions
from nodeset_provider.protocol import externalgrpc_pb2 as pb

T = TypeVar("T")

NO_OVERRIDES: Final = pb.NodeGroupAutoscalingOptionsResponse().SerializeToString()

_NANOSECONDS: Final = 1_000_000_000
_FLAG_DEFAULTS: Final = {
    "unneeded": 10 * 60 * _NANOSECONDS,
    "unready": 20 * 60 * _NANOSECONDS,
    "provision": 15 * 60 * _NANOSECONDS,
}
"""The defaults of --scale-down-unneeded-time, --scale-down-unready-time and --max-node-provision-time, for a duration
that the request does not carry: releases before 1.29 know no MaxNodeProvisionTime."""


def has_overrides(options: AutoscalingOptions | None) -> bool:
    """Whether anything is overridden at all."""
    return options is not None and options != AutoscalingOptions()


def merged(options: AutoscalingOptions, defaults: pb.NodeGroupAutoscalingOptions) -> pb.NodeGroupAutoscalingOptions:
    """The request's defaults with the group's overrides, every field set in both forms."""
    answer = pb.NodeGroupAutoscalingOptions(
        scaleDownUtilizationThreshold=_or(
            options.scale_down_utilization_threshold, defaults.scaleDownUtilizationThreshold
        ),
        scaleDownGpuUtilizationThreshold=_or(
            options.scale_down_gpu_utilization_threshold, defaults.scaleDownGpuUtilizationThreshold
        ),
        zeroOrMaxNodeScaling=_or(options.zero_or_max_node_scaling, defaults.zeroOrMaxNodeScaling),
        ignoreDaemonSetsUtilization=_or(options.ignore_daemon_sets_utilization, defaults.ignoreDaemonSetsUtilization),
    )
    unneeded = _nanoseconds(
        options.scale_down_unneeded_seconds, defaults, "scaleDownUnneededDuration", "scaleDownUnneededTime", "unneeded"
    )
    answer.scaleDownUnneededTime.duration = unneeded
    answer.scaleDownUnneededDuration.FromNanoseconds(unneeded)
    unready = _nanoseconds(
        options.scale_down_unready_seconds, defaults, "scaleDownUnreadyDuration", "scaleDownUnreadyTime", "unready"
    )
    answer.scaleDownUnreadyTime.duration = unready
    answer.scaleDownUnreadyDuration.FromNanoseconds(unready)
    provision = _nanoseconds(
        options.max_node_provision_seconds, defaults, "MaxNodeProvisionDuration", "MaxNodeProvisionTime", "provision"
    )
    answer.MaxNodeProvisionTime.duration = provision
    answer.MaxNodeProvisionDuration.FromNanoseconds(provision)
    return answer


def _or(override: T | None, default: T) -> T:
    return default if override is None else override


def _nanoseconds(override: int | None, defaults: pb.NodeGroupAutoscalingOptions, new: str, old: str, flag: str) -> int:
    """The override; else the new field, then the old one (contract §1); else the flag's default."""
    if override is not None:
        return override * _NANOSECONDS
    if defaults.HasField(new):  # type: ignore[arg-type]
        return int(getattr(defaults, new).ToNanoseconds())
    if defaults.HasField(old):  # type: ignore[arg-type]
        return int(getattr(defaults, old).duration)
    return _FLAG_DEFAULTS[flag]
