"""Capacity and allocatable are the kubelet's arithmetic, and the same as what templates promise."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodeset_driver_simulated.boot.allocatable import node_resources
from nodeset_driver_simulated.boot.errors import BootError
from nodeset_driver_simulated.boot.quantity import bytes_text, count_text, parse_quantity

from nodeset_provider.api.nodeclass import KubeletSettings
from nodeset_provider.join.allocatable import eviction_hard, resolve_resources

MACHINE = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "nvidia.com/gpu": "2"}


def test_nothing_configured_means_the_kubelets_defaults() -> None:
    capacity, allocatable = node_resources(MACHINE, {})
    assert capacity == {**MACHINE, "pods": "110"}
    # 100Mi of memory and 10 % of the disk, which is a little more as a float32
    assert allocatable == {
        "cpu": "4",
        "memory": "8092Mi",
        "ephemeral-storage": str(20 * 2**30 - 2147483680),
        "nvidia.com/gpu": "2",
        "pods": "110",
    }


@pytest.mark.parametrize(
    ("configuration", "resource", "allocatable"),
    [
        ({"kubeReserved": {"cpu": "70m"}, "systemReserved": {"cpu": "0.03"}}, "cpu", "3900m"),
        ({"kubeReserved": {"cpu": 1}}, "cpu", "3"),
        ({"evictionHard": {"memory.available": "1Gi"}}, "memory", "7Gi"),
        ({"evictionHard": {"memory.available": "1Gi"}}, "ephemeral-storage", "20Gi"),
        (
            {"evictionHard": {"memory.available": "1Gi"}, "mergeDefaultEvictionSettings": True},
            "ephemeral-storage",
            str(20 * 2**30 - 2147483680),
        ),
        ({"evictionHard": {}}, "memory", "8Gi"),
        ({"evictionHard": {"memory.available": "100%"}}, "memory", "8Gi"),
        ({"evictionHard": {"memory.available": "50%"}}, "memory", "4Gi"),
        ({"evictionHard": {"nodefs.inodesFree": "5%"}}, "ephemeral-storage", "20Gi"),
        ({"maxPods": 30}, "pods", "30"),
        ({"podsPerCore": 5}, "pods", "20"),
        ({"podsPerCore": 50, "maxPods": 60}, "pods", "60"),
        ({"systemReserved": {"memory": "192Mi"}, "kubeReserved": {"memory": "212Mi"}}, "memory", "7688Mi"),
        ({"systemReserved": {"nvidia.com/gpu": "1"}}, "nvidia.com/gpu", "1"),
    ],
)
def test_each_setting_keeps_back_what_it_says(configuration: dict[str, Any], resource: str, allocatable: str) -> None:
    assert node_resources(MACHINE, configuration)[1][resource] == allocatable


@pytest.mark.parametrize(
    "configuration",
    [
        {"kubeReserved": {"memory": "9Gi"}},
        {"kubeReserved": {"cpu": "lots"}},
        {"kubeReserved": {"cpu": "-1"}},
        {"kubeReserved": {"cpu": True}},
        {"kubeReserved": ["cpu"]},
        {"evictionHard": {"memory.available": "x%"}},
        {"maxPods": "many"},
    ],
)
def test_kubelet_that_would_not_start_does_not_boot(configuration: dict[str, Any]) -> None:
    with pytest.raises(BootError, match="kubelet"):
        node_resources(MACHINE, configuration)


@settings(deadline=None)  # the machine may be busy with something else
@given(
    st.fixed_dictionaries(
        {"cpu": st.integers(1, 64), "memory": st.integers(2**31, 2**42), "ephemeral-storage": st.integers(2**33, 2**44)}
    ),
    st.integers(0, 900),
    st.integers(0, 2**29),
    st.sampled_from([{}, {"memory.available": "7.5%"}, {"nodefs.available": "15%"}, {"memory.available": "123456k"}]),
)
def test_node_has_what_the_template_promised(
    size: dict[str, int], milli: int, reserved: int, eviction: dict[str, str]
) -> None:
    machine = {**{name: str(amount) for name, amount in size.items()}, "nvidia.com/gpu": "1"}
    kubelet = KubeletSettings(
        kube_reserved={"cpu": f"{milli}m"}, system_reserved={"memory": str(reserved)}, eviction_hard=eviction
    )
    configuration = {
        "maxPods": kubelet.max_pods,
        "kubeReserved": kubelet.kube_reserved,
        "systemReserved": kubelet.system_reserved,
        "evictionHard": eviction_hard(kubelet),
    }
    for promised, found in zip(
        resolve_resources(machine, kubelet), node_resources(machine, configuration), strict=True
    ):
        assert {name: parse_quantity(text) for name, text in promised.items()} == {
            name: parse_quantity(text) for name, text in found.items()
        }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        ("1.5Gi", 3 * 2**29),
        ("100m", "0.1"),
        ("1e3", 1000),
        ("2E", 2 * 10**18),
        (".5k", 500),
        ("5E-1", "0.5"),
    ],
)
def test_quantities_are_read_exactly(text: str, value: str | int) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "1 Gi", "1KI", "1Kib", "٣", "e3", None, True, [1], "1e9999"])
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


@settings(deadline=None)  # the machine may be busy with something else
@given(st.integers(0, 2**60))
def test_quantities_are_written_as_they_are_read(number: int) -> None:
    assert parse_quantity(bytes_text(Decimal(number))) == number
    assert parse_quantity(count_text(Decimal(number) / 1000)) == Decimal(number) / 1000
