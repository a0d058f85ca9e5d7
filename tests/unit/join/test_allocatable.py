from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeset_provider.api.nodeclass import KubeletSettings
from nodeset_provider.api.quantity import parse_quantity
from nodeset_provider.join import InvalidJoin, resolve_resources
from nodeset_provider.join.allocatable import eviction_hard

BIG = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi"}


def test_defaults_take_100mi_of_memory_and_a_tenth_of_the_disk() -> None:
    capacity, allocatable = resolve_resources(BIG, KubeletSettings())
    assert capacity == {**BIG, "pods": "110"}
    # As published by a kubelet on a 100Gi disk: 10 % is a float32 there, so a little more than a tenth is kept back.
    assert allocatable == {"cpu": "4", "memory": "8092Mi", "ephemeral-storage": "96636764000", "pods": "110"}


def test_figures_of_a_real_node_come_out_to_the_byte() -> None:
    """An AKS node with kubelet's default threshold on its disk."""
    _, allocatable = resolve_resources({"ephemeral-storage": "129886128Ki"}, KubeletSettings())
    assert allocatable["ephemeral-storage"] == "119703055367"


def test_reservations_of_both_kinds_and_eviction_add_up() -> None:
    settings = KubeletSettings(
        max_pods=50,
        kube_reserved={"cpu": "80m", "memory": "0.5Gi", "pid": "1000"},
        system_reserved={"cpu": "20m", "memory": "100Mi", "ephemeral-storage": "1Gi"},
        eviction_hard={"memory.available": "5%", "nodefs.available": "0%"},
    )
    _, allocatable = resolve_resources(BIG, settings)
    assert allocatable == {
        "cpu": "3900m",
        "memory": str((8 << 30) - (512 << 20) - (100 << 20) - 429496736),
        "ephemeral-storage": "99Gi",
        "pods": "50",
    }


def test_huge_pages_come_off_the_memory_and_never_below_zero() -> None:
    _, allocatable = resolve_resources({"memory": "8Gi", "hugepages-2Mi": "1Gi"}, KubeletSettings())
    assert allocatable["memory"] == "7068Mi"
    assert allocatable["hugepages-2Mi"] == "1Gi"
    _, allocatable = resolve_resources({"memory": "1Gi", "hugepages-1Gi": "1Gi"}, KubeletSettings())
    assert allocatable["memory"] == "0"


def test_extended_resources_pass_unchanged_and_pods_are_the_classs() -> None:
    capacity, allocatable = resolve_resources({"nvidia.com/gpu": "8", "pods": "7"}, KubeletSettings(max_pods=30))
    assert capacity == allocatable == {"nvidia.com/gpu": "8", "pods": "30"}


@pytest.mark.parametrize(
    ("given_form", "published"),
    [("8000000000", "7812500Ki"), ("8G", "7812500Ki"), ("8388608Ki", "8Gi"), ("16393244Ki", "16393244Ki")],
)
def test_memory_is_written_as_the_kubelet_writes_it(given_form: str, published: str) -> None:
    assert resolve_resources({"memory": given_form}, KubeletSettings())[0]["memory"] == published


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (KubeletSettings(kube_reserved={"memory": "lots"}), "spec.join.kubelet.kubeReserved[memory]"),
        (KubeletSettings(system_reserved={"cpu": "-1"}), "spec.join.kubelet.systemReserved[cpu]"),
        (KubeletSettings(system_reserved={"nvidia.com/gpu": "1"}), "spec.join.kubelet.systemReserved[nvidia.com/gpu]"),
        (KubeletSettings(eviction_hard={"disk": "1"}), "spec.join.kubelet.evictionHard[disk]"),
        (KubeletSettings(eviction_hard={"memory.available": "0"}), "spec.join.kubelet.evictionHard[memory.available]"),
        (KubeletSettings(eviction_hard={"memory.available": "x%"}), "spec.join.kubelet.evictionHard[memory.available]"),
        (
            KubeletSettings(eviction_hard={"memory.available": "nan%"}),
            "spec.join.kubelet.evictionHard[memory.available]",
        ),
        (
            KubeletSettings(eviction_hard={"memory.available": "101%"}),
            "spec.join.kubelet.evictionHard[memory.available]",
        ),
        (KubeletSettings(max_pods=0), "spec.join.kubelet.maxPods"),
    ],
)
def test_what_the_kubelet_would_refuse_is_refused_with_its_field(settings: KubeletSettings, field: str) -> None:
    with pytest.raises(InvalidJoin) as caught:
        resolve_resources(BIG, settings)
    assert caught.value.field == field
    assert caught.value.message


def test_reservations_above_the_capacity_are_refused_since_the_kubelet_would_not_start() -> None:
    with pytest.raises(InvalidJoin, match=r"keep 9316Mi of memory back, but the machine has only 8Gi; lower them"):
        resolve_resources(BIG, KubeletSettings(kube_reserved={"memory": "9Gi"}))


def test_one_threshold_of_the_class_does_not_turn_the_others_off() -> None:
    thresholds = eviction_hard(KubeletSettings(eviction_hard={"memory.available": "1Gi"}))
    assert thresholds["memory.available"] == "1Gi"
    assert thresholds["nodefs.available"] == "10%"


@given(
    memory=st.integers(min_value=1 << 30, max_value=1 << 45),
    reserved=st.integers(min_value=0, max_value=1 << 29),
    percent=st.integers(min_value=0, max_value=40),
)
def test_allocatable_is_never_negative_nor_above_capacity(memory: int, reserved: int, percent: int) -> None:
    settings = KubeletSettings(
        kube_reserved={"memory": str(reserved)},
        eviction_hard={"memory.available": f"{percent}%"},
    )
    capacity, allocatable = resolve_resources({"memory": str(memory)}, settings)
    assert 0 <= parse_quantity(allocatable["memory"]) <= parse_quantity(capacity["memory"]) - reserved
