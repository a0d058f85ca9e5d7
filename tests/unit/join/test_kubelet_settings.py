"""A class's kubelet settings as KubeletConfiguration, and what no kubelet would take."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from nodeset_provider.api.nodeclass import Join, KubeletSettings
from nodeset_provider.join import InvalidJoin, JoinRequest, duration
from nodeset_provider.join.feature_gate_table import GATES
from nodeset_provider.join.feature_gates import check_feature_gates
from nodeset_provider.join.kubelet import kubelet_settings
from nodeset_provider.join.kubelet_flags import check_kubelet_flag

MakeRequest = Callable[..., JoinRequest]


def settings(make_request: MakeRequest, **given_settings: Any) -> dict[str, Any]:
    return kubelet_settings(make_request(join=Join(kubelet=KubeletSettings(**given_settings))))


def test_what_templates_are_computed_from_is_always_there_and_nothing_else(make_request: MakeRequest) -> None:
    fields = settings(make_request)
    assert fields.keys() == {"maxPods", "evictionHard", "kubeReserved", "systemReserved"}
    assert (fields["maxPods"], fields["kubeReserved"], fields["systemReserved"]) == (110, {}, {})


@pytest.mark.parametrize(
    ("given_settings", "field", "value"),
    [
        ({"eviction_soft": {"memory.available": "1Gi"}}, "evictionSoft", {"memory.available": "1Gi"}),
        ({"eviction_soft_grace_period": {"pid.available": "1m"}}, "evictionSoftGracePeriod", {"pid.available": "1m"}),
        ({"feature_gates": {"NodeSwap": True}}, "featureGates", {"NodeSwap": True}),
        ({"cluster_dns": ["10.96.0.10"]}, "clusterDNS", ["10.96.0.10"]),
        ({"resolv_conf": "/run/resolv.conf"}, "resolvConf", "/run/resolv.conf"),
        ({"cpu_manager_policy": "static"}, "cpuManagerPolicy", "static"),
        ({"topology_manager_policy": "none"}, "topologyManagerPolicy", "none"),
        ({"image_gc_high_threshold_percent": 90}, "imageGCHighThresholdPercent", 90),
        ({"image_gc_low_threshold_percent": 0}, "imageGCLowThresholdPercent", 0),
        ({"pod_pids_limit": 100}, "podPidsLimit", 100),
        ({"container_log_max_size": "5Mi"}, "containerLogMaxSize", "5Mi"),
        ({"allowed_unsafe_sysctls": ["net.*"]}, "allowedUnsafeSysctls", ["net.*"]),
    ],
)
def test_each_setting_is_the_kubelets_field_of_that_name(
    make_request: MakeRequest, given_settings: dict[str, Any], field: str, value: object
) -> None:
    assert settings(make_request, **given_settings)[field] == value


@pytest.mark.parametrize(("period", "critical"), [("30s", "10s"), ("1m30s", "30s"), ("2s", "0s"), ("1500ms", "0s")])
def test_critical_pods_get_the_last_third_of_a_shutdown(make_request: MakeRequest, period: str, critical: str) -> None:
    fields = settings(make_request, shutdown_grace_period=period)
    assert (fields["shutdownGracePeriod"], fields["shutdownGracePeriodCriticalPods"]) == (period, critical)


@pytest.mark.parametrize(
    ("given_settings", "field"),
    [
        ({"feature_gates": {"Nodeswap": True}}, "featureGates[Nodeswap]"),
        ({"cluster_dns": ["10.96.0.10", "::1x"]}, "clusterDNS[1]"),
        ({"shutdown_grace_period": "999ms"}, "shutdownGracePeriod"),
        ({"shutdown_grace_period": "soon"}, "shutdownGracePeriod"),
    ],
)
def test_what_no_kubelet_takes_is_refused_with_its_field(
    make_request: MakeRequest, given_settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidJoin) as caught:
        settings(make_request, **given_settings)
    assert caught.value.field == f"spec.join.kubelet.{field}"


def test_unknown_gate_is_refused_with_those_that_it_may_have_been() -> None:
    with pytest.raises(InvalidJoin, match=r"gates\[Nodeswap\]: no kubelet of .* did you mean NodeSwap"):
        check_feature_gates("gates", {"Nodeswap": True})
    with pytest.raises(
        InvalidJoin, match=r"gates\[Qqqqqqqq\]: no kubelet of Kubernetes 1\.30 to .* knows it; remove it"
    ):
        check_feature_gates("gates", {"Qqqqqqqq": True})


def test_gate_is_refused_only_where_every_kubelet_would() -> None:
    always_locked = [name for name, gate in GATES.items() if gate.locked == gate.since]
    later_locked = [name for name, gate in GATES.items() if gate.locked > gate.since]
    assert always_locked
    assert later_locked
    for name in always_locked:
        check_feature_gates("gates", {name: GATES[name].default})
        with pytest.raises(InvalidJoin, match="is locked to"):
            check_feature_gates("gates", {name: not GATES[name].default})
    for name in later_locked:
        check_feature_gates("gates", {name: not GATES[name].default})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("max-pods", "spec.join.kubelet.maxPods"),
        ("node-labels", "spec.nodeLabels"),
        ("register-with-taints", "spec.taints"),
        ("hostname-override", "set by the provider"),
        ("config", "set by the provider"),
        ("rotate-server-certificates", "spec.join.kubelet.servingCertificate"),
        ("reserved-cpus", "smaller than the autoscaler"),
        ("--v", "without leading dashes"),
        ("v=1", "without leading dashes"),
        ("", "without leading dashes"),
    ],
)
def test_flag_that_is_said_elsewhere_is_refused_and_says_where(name: str, said: str) -> None:
    with pytest.raises(InvalidJoin, match=said):
        check_kubelet_flag("args[0]", name, "1")


@pytest.mark.parametrize("value", ["10.0.0.1", "", "a=b,c=d", "$x%n", "{}"])
def test_flag_of_the_classs_own_is_taken(value: str) -> None:
    check_kubelet_flag("args[0]", "node-ip", value)


@pytest.mark.parametrize("value", ["1\n--anonymous-auth", "2 --node-labels=a=b", "'", '"2"', "a\\", "\x00", "\u2003"])
def test_value_that_would_become_another_flag_is_refused(value: str) -> None:
    with pytest.raises(InvalidJoin, match="remove them"):
        check_kubelet_flag("args[0]", "v", value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0s", "0"), ("300ms", "0.3"), ("1h2m3s", "3723"), ("1.5h", "5400"), ("1ns", "1e-9"), ("2us", "2e-6")],
)
def test_durations_are_gos(text: str, value: str) -> None:
    assert duration.seconds(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "s", "30", "-1s", "1 s", "1d", "1.s", ".5s", "1s\n", "1S"])
def test_what_go_would_not_read_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        duration.seconds(text)
