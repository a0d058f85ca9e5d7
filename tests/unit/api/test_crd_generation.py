import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from nodeset_provider.api import crd, crd_schema
from nodeset_provider.api.crd_rules import KINDS, Kind
from nodeset_provider.api.meta import APIStruct

CRDS = Path(__file__).parents[3] / "deploy" / "base" / "crds"


class Texts(APIStruct, frozen=True):
    first: str
    """One
    paragraph of ``text``.

    Another."""
    second: int = 7
    """A number."""


class Silent(APIStruct, frozen=True):
    told: str
    """Said."""
    untold: str


class Odd(APIStruct, frozen=True):
    raw: bytes
    """Bytes have no form in a schema so far."""


class Holder(APIStruct, frozen=True):
    texts: Texts
    """Inside."""
    maybe: Texts | None = None
    """Perhaps."""
    free: dict[str, Any] = {}
    """Anything."""
    names: list[str] = []
    """Names."""


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from walk(schema[key], f"{path}[]")


def schema_of(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = crd.custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def described(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return crd_schema.structural_schema(struct, {}, description="A struct.")


def test_committed_crds_are_what_the_types_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main([str(CRDS), "--check"]) == 0, capsys.readouterr().err


def test_check_names_the_file_that_is_out_of_date_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(CRDS, tmp_path, dirs_exist_ok=True)
    stale = tmp_path / "nodesets.yaml"
    stale.write_text(stale.read_text() + "# edited\n")
    (tmp_path / "machines.yaml").unlink()

    assert crd.main([str(tmp_path), "--check"]) == 1

    error = capsys.readouterr().err
    assert str(stale) in error
    assert str(tmp_path / "machines.yaml") in error
    assert "nodeclasses" not in error
    assert stale.read_text().endswith("# edited\n")
    assert crd.main([str(tmp_path)]) == 0
    assert crd.main([str(tmp_path), "--check"]) == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_every_field_is_explained(kind: Kind) -> None:
    silent = [
        path
        for path, schema in walk(schema_of(kind))
        if not path.endswith("[]")
        and path not in {".apiVersion", ".kind", ".metadata"}  # the API server explains these
        and not schema.get("description", "").strip()
    ]
    assert silent == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_every_rule_has_a_message_of_its_own_that_is_no_repetition_of_the_rule(kind: Kind) -> None:
    for path, schema in walk(schema_of(kind)):
        for rule in schema.get("x-kubernetes-validations", []):
            assert len(rule["message"].split()) >= 4, path
            assert "self" not in rule["message"], path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_defaults_of_the_schema_are_the_defaults_of_the_type(kind: Kind) -> None:
    """What the API server fills in is what a decoder would have assumed."""

    def defaulted(schema: dict[str, Any]) -> dict[str, Any]:
        filled = {}
        for name, inner in schema.get("properties", {}).items():
            if "default" in inner:
                filled[name] = defaulted(inner) if inner["default"] == {} else inner["default"]
        return filled

    def compare(schema: dict[str, Any], struct: type[msgspec.Struct]) -> None:
        given = {field.encode_name: None for field in msgspec.structs.fields(struct) if field.required}
        assert set(given) == set(schema.get("required", []))
        for field in msgspec.structs.fields(struct):
            inner = schema["properties"][field.encode_name]
            if "default" not in inner:
                continue
            if inner["default"] == {}:
                assert msgspec.convert(defaulted(inner), type(field.default)) == field.default, field.name
            else:
                assert inner["default"] == field.default, field.name
        for name, inner in schema["properties"].items():
            found = next(f for f in msgspec.structs.fields(struct) if f.encode_name == name)
            if isinstance(found.type, type) and issubclass(found.type, msgspec.Struct):
                compare(inner, found.type)

    schema = schema_of(kind)
    compare(schema["properties"]["spec"], kind.spec)
    compare(schema["properties"]["status"], kind.status)


def test_no_category_hides_a_kind_or_is_all() -> None:
    names = {"all"}
    for kind in KINDS:
        name = kind.root.__name__.lower()
        names |= {name, kind.plural, *kind.short_names}
    short = [short for kind in KINDS for short in kind.short_names]
    assert len(short) == len(set(short))
    for kind in KINDS:
        assert not names & set(kind.categories)


def test_only_nodesets_can_be_scaled() -> None:
    scalable = [
        kind.plural
        for kind in KINDS
        if "scale" in crd.custom_resource_definition(kind)["spec"]["versions"][0]["subresources"]
    ]
    assert scalable == ["nodesets"]


def test_files_have_no_yaml_anchors() -> None:
    for kind in KINDS:
        text = crd.render(kind)
        assert not [token for token in yaml.scan(text) if isinstance(token, yaml.AnchorToken | yaml.AliasToken)]
        assert yaml.safe_load(text) == crd.custom_resource_definition(kind)


def test_docstrings_become_descriptions_paragraph_by_paragraph() -> None:
    schema = described(Texts)
    assert schema["description"] == "A struct."
    assert schema["properties"]["first"] == {"description": "One paragraph of text.\n\nAnother.", "type": "string"}
    assert schema["properties"]["second"]["default"] == 7
    assert schema["required"] == ["first"]


def test_a_field_without_a_docstring_is_refused_by_name() -> None:
    with pytest.raises(crd_schema.UndocumentedField, match=r"Silent\.untold"):
        described(Silent)


def test_nested_types_keep_their_shape() -> None:
    properties = described(Holder)["properties"]
    assert properties["texts"]["properties"]["first"]["type"] == "string"
    assert properties["maybe"]["description"] == "Perhaps."
    assert properties["maybe"]["required"] == ["first"]
    assert properties["free"]["x-kubernetes-preserve-unknown-fields"] is True
    assert properties["names"]["items"] == {"type": "string"}


def test_a_type_that_has_no_schema_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="BytesType"):
        described(Odd)
