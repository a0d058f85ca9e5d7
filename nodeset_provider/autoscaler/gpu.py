"""GPU label and types. Pure.

The autoscaler asks once and keeps the answer for as long as it lives; it uses the types only to name GPUs in its
metrics. A node that carries the label without a GPU in allocatable counts as unready, so the label is on a template
only where the class has GPUs.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodeset_provider.api.nodeset import NodeSet


def gpu_types(node_sets: Iterable[NodeSet], label: str) -> list[str]:
    """The values of the GPU label over all templates, sorted, each once."""
    templates = (node_set.status.template for node_set in node_sets)
    return sorted({kind for template in templates if template is not None and (kind := template.labels.get(label))})
