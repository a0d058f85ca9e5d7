"""Sharing changes what an object is made of, never what it says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeset_provider.api.machine import Machine, MachineSpec, MachineTemplate
from nodeset_provider.api.meta import Condition, ObjectMeta
from nodeset_provider.api.node import Node, NodeInfo, NodeSpec, NodeStatus
from nodeset_provider.kube.interning import MachineInterner, NodeInterner, Pool

TEXT = st.sampled_from(["a", "b", "c"])
MAPPING = st.dictionaries(TEXT, TEXT, max_size=3)
CONDITIONS = st.lists(st.builds(Condition, type=TEXT, status=st.just("True"), reason=TEXT, message=TEXT), max_size=2)
INFOS = st.builds(NodeInfo, kubelet_version=TEXT)
STATUSES = st.builds(NodeStatus, capacity=MAPPING, allocatable=MAPPING, conditions=CONDITIONS, node_info=INFOS)
METADATA = st.builds(ObjectMeta, name=TEXT, labels=MAPPING, annotations=MAPPING)
NODES = st.builds(Node, metadata=METADATA, spec=st.just(NodeSpec(provider_id="x", unschedulable=True)), status=STATUSES)
TEMPLATES = st.builds(MachineTemplate, driver=TEXT, node_class_name=TEXT, config=MAPPING, labels=MAPPING)


def machine(name: str, template: MachineTemplate) -> Machine:
    return Machine(ObjectMeta(name=name), MachineSpec(name, template))


@given(nodes=st.lists(NODES, max_size=8))
def test_a_node_says_what_it_said(nodes: list[Node]) -> None:
    intern = NodeInterner(strings=2, resource_lists=2)
    assert [intern(node) for node in nodes] == nodes


@given(templates=st.lists(TEMPLATES, max_size=8))
def test_a_machine_says_what_it_said(templates: list[MachineTemplate]) -> None:
    intern = MachineInterner()
    machines = [machine(f"m{number}", template) for number, template in enumerate(templates)]
    assert [intern(item) for item in machines] == machines


def test_equal_templates_are_one() -> None:
    intern = MachineInterner()
    first, second = (intern(machine(name, MachineTemplate("d", "c", {"zone": "a"}))) for name in "ab")
    other = intern(machine("c", MachineTemplate("d", "c", {"zone": "b"})))
    assert first.spec.template is second.spec.template
    assert other.spec.template is not first.spec.template


def test_template_is_forgotten_with_the_last_machine_that_has_it() -> None:
    intern = MachineInterner()
    first, second = (intern(machine(name, MachineTemplate("d", "c", {"zone": "a"}))) for name in "ab")
    assert len(intern) == 1
    del first
    assert len(intern) == 1
    del second
    assert len(intern) == 0


def test_edited_hash_label_never_gives_a_machine_anothers_template() -> None:
    intern = MachineInterner()
    intern(machine("a", MachineTemplate("d", "c")))
    assert intern(machine("b", MachineTemplate("d", "other"))).spec.template.node_class_name == "other"


def test_equal_capacities_are_one() -> None:
    intern = NodeInterner()
    first, second = (
        intern(Node(ObjectMeta(name=name), status=NodeStatus(capacity={"cpu": "8"}, node_info=NodeInfo(version))))
        for name, version in (("a", "v1.36.1"), ("b", "v1.36.1"))
    )
    assert first.status.capacity is second.status.capacity
    assert first.status.node_info is second.status.node_info


def test_a_pool_forgets_what_was_used_longest_ago() -> None:
    pool: Pool[list[int]] = Pool(2)
    one, two = pool.share("one", [1]), pool.share("two", [2])
    assert pool.share("one", [1]) is one
    pool.share("three", [3])
    assert len(pool) == 2
    assert pool.share("one", [1]) is one
    assert pool.share("two", [2]) is not two
