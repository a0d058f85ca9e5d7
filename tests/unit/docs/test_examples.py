"""What the documentation tells people to write or to run exists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from documentation_pages import Pages

from nodeset_provider.api.crd import custom_resource_definition
from nodeset_provider.api.crd_rules import KINDS
from nodeset_provider.api.names import API_VERSION
from nodeset_provider.config import check, load

SCHEMAS = {
    kind.root.__name__: custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for kind in KINDS
}
TYPES = {kind.root.__name__: kind.root for kind in KINDS}


def yaml_blocks(pages: Pages) -> Iterator[tuple[str, Any]]:
    for path, text in pages.all():
        for block in re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            for document in yaml.safe_load_all(block):
                yield path, document


def manifests(pages: Pages) -> list[tuple[str, Any]]:
    return [(path, document) for path, document in yaml_blocks(pages) if document.get("apiVersion") == API_VERSION]


def unknown_fields(value: object, schema: dict[str, Any], path: str) -> list[str]:
    """Fields that the API server would prune."""
    if isinstance(value, list):
        return [field for item in value for field in unknown_fields(item, schema["items"], f"{path}[]")]
    if not isinstance(value, dict) or "properties" not in schema or path == ".metadata":
        return []
    found = []
    for name, item in value.items():
        here = f"{path}.{name}"
        known = schema["properties"].get(name)
        if known is not None:
            found += unknown_fields(item, known, here)
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.append(here)
    return found


def test_manifests_have_only_fields_that_exist(pages: Pages) -> None:
    wrong = [
        (path, field)
        for path, document in manifests(pages)
        for field in unknown_fields(document, SCHEMAS[document["kind"]], "")
    ]
    assert not wrong


def test_manifests_can_be_read(pages: Pages) -> None:
    for _, document in manifests(pages):
        msgspec.convert(document, TYPES[document["kind"]])


def test_every_kind_has_a_whole_example(pages: Pages) -> None:
    assert {document["kind"] for path, document in manifests(pages) if path == "docs/concepts.md"} == set(TYPES)


def test_settings_in_examples_can_be_served(pages: Pages, tmp_path: Path) -> None:
    examples = [document for _, document in yaml_blocks(pages) if set(document) & {"grpc", "join"}]
    examples += [
        yaml.safe_load(document["data"]["config.yaml"])
        for _, document in yaml_blocks(pages)
        if document.get("kind") == "ConfigMap"
    ]
    assert examples
    certificate = tmp_path / "file.pem"
    certificate.touch()
    for number, example in enumerate(examples):
        for key in ("certFile", "keyFile", "clientCAFile"):
            example["grpc"][key] = str(certificate)
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(example))
        check(load(file=str(file), environment={}, flags={}))


def test_make_targets_exist(pages: Pages) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", pages.text("Makefile"), flags=re.MULTILINE))
    named = {
        (path, target)
        for path, text in pages.all()
        for target in re.findall(r"(?:^|`|^\s+)make ([a-z][a-z0-9-]*)", text, flags=re.MULTILINE)
    }
    assert len(named) > 5
    assert not {(path, target) for path, target in named if target not in targets}


def test_files_of_the_repository_exist(pages: Pages) -> None:
    prefixes = r"(?:deploy|drivers|tools|tests|proto|nodeset_provider)/[A-Za-z0-9_./-]+"
    missing = [
        (path, name)
        for path, text in pages.all()
        for name in re.findall(rf"`({prefixes})`", text)
        if not (pages.root / name).exists() and not name.startswith("deploy/mine")
    ]
    assert not missing


def test_decisions_are_all_in_their_index(pages: Pages) -> None:
    index = pages.text("docs/decisions/index.md")
    files = {path.name for path in (pages.root / "docs" / "decisions").glob("0*.md")}
    assert files
    assert files == set(re.findall(r"\((0[^)]+\.md)\)", index))


def test_every_dependency_has_its_line(pages: Pages) -> None:
    wanted = set()
    for file in [pages.root / "pyproject.toml", *pages.root.glob("drivers/*/pyproject.toml")]:
        project = tomllib.loads(file.read_text(encoding="utf-8"))
        groups = [project["project"]["dependencies"], *project.get("dependency-groups", {}).values()]
        wanted |= {re.split(r"[<>=]", entry)[0] for group in groups for entry in group if isinstance(entry, str)}
    lines = [line for line in pages.text("docs/decisions/006-dependencies.md").splitlines() if line.startswith("| ")]
    listed = {name.strip() for line in lines for name in line.split("|")[1].split(",")}
    listed |= {f"grpcio{name}" for name in listed if name.startswith("-")}
    assert not {name for name in wanted - listed if not name.startswith("nodeset-")}
