"""What the documentation and the examples tell people to apply is accepted by a real API server, with all its rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed.api import API

from nodeset_provider.api.crd_rules import KINDS
from nodeset_provider.api.names import API_VERSION

ROOT = Path(__file__).parents[3]
PLURALS = {kind.root.__name__: kind.plural for kind in KINDS}


def manifests() -> Iterator[Any]:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in sorted(pages):
        blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        yield from objects(page, *blocks)
    for file in sorted((ROOT / "deploy" / "examples").rglob("*.yaml")):
        yield from objects(file, file.read_text(encoding="utf-8"))


def objects(file: Path, *texts: str) -> Iterator[Any]:
    for text in texts:
        for document in yaml.safe_load_all(text):
            if isinstance(document, dict) and document.get("apiVersion") == API_VERSION:
                yield pytest.param(document, id=f"{file.relative_to(ROOT)}-{document['metadata']['name']}")


@pytest.mark.parametrize("manifest", list(manifests()))
def test_manifest_is_accepted(admin: API, manifest: dict[str, Any]) -> None:
    path = f"/apis/{API_VERSION}/{PLURALS[manifest['kind']]}"
    assert not admin.create(path, manifest, dry_run=True).refused
