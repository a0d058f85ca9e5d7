"""JSON merge patches (RFC 7386): applying one, and finding the one that leads from here to there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(target: object, patch: object) -> Any:  # noqa: ANN401 - any JSON value
    """``null`` takes a key away, objects merge, everything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def diff_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest patch with ``merge_patch(before, patch) == after``; empty where they are equal.

    ``after`` holds no nulls: a merge patch has no word for them.
    """
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        known = before.get(key)
        if key in before and known == value:
            continue
        patch[key] = diff_patch(known, value) if isinstance(value, Mapping) and isinstance(known, Mapping) else value
    return patch
