"""Turns the msgspec types of the kinds into structural OpenAPI schemas, as apiextensions.k8s.io/v1 wants them.

The type gives shape, defaults and which fields are required; the docstring beside a field gives the text that
``kubectl explain`` shows; a table of constraints (see :mod:`nodeset_provider.api.crd_fields`) gives what a Python type
cannot say. Only CRD generation uses this: nothing here runs in the provider.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect as types

Schema = dict[str, Any]
Constraints = Mapping[type[msgspec.Struct], Mapping[str, Mapping[str, Any]]]
"""Struct → Python name of the field → schema keys that are merged over the generated ones (``items`` and
``additionalProperties`` one level deep)."""

_NOT_A_VALUE = (msgspec.NODEFAULT, msgspec.UNSET)


class UndocumentedField(Exception):
    """A field without a docstring: ``kubectl explain`` would have nothing to say about it."""


def structural_schema(struct: type[msgspec.Struct], constraints: Constraints, *, description: str) -> Schema:
    """The schema of a struct and of everything in it.

    Raises:
        UndocumentedField: a field has no docstring.
        NotImplementedError: a type that no kind used so far.
    """
    info = types.type_info(struct)
    if not isinstance(info, types.StructType):
        raise NotImplementedError(f"{struct} is not a struct")
    return _struct(info, constraints, description)


def _struct(info: types.StructType, constraints: Constraints, description: str) -> Schema:
    texts = field_texts(info.cls)
    extra = constraints.get(info.cls, {})
    properties: Schema = {}
    for field in info.fields:
        if field.name not in texts:
            raise UndocumentedField(f"{info.cls.__module__}.{info.cls.__qualname__}.{field.name} has no docstring")
        schema = _schema(field.type, constraints, texts[field.name])
        _set_default(schema, field)
        properties[field.encode_name] = _merge(schema, extra.get(field.name, {}))
    schema = {"type": "object", "properties": properties}
    if description:
        schema = {"description": description, **schema}
    required = [field.encode_name for field in info.fields if field.required]
    if required:
        schema["required"] = required
    return _merge(schema, extra.get("", {}))


def _schema(kind: types.Type, constraints: Constraints, description: str) -> Schema:
    schema: Schema
    match kind:
        case types.UnionType(types=(other, types.NoneType())):
            return _schema(other, constraints, description)
        case types.StructType():
            return _struct(kind, constraints, description)
        case types.LiteralType(values=values):
            schema = {"type": "string", "enum": list(values)}
        case types.ListType(item_type=item):
            schema = {"type": "array", "items": _schema(item, constraints, "")}
        case types.DictType(value_type=types.AnyType()):
            schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        case types.DictType(value_type=value):
            schema = {"type": "object", "additionalProperties": _schema(value, constraints, "")}
        case _ if type(kind) in _SCALARS:
            schema = dict(_SCALARS[type(kind)])
        case _:
            raise NotImplementedError(f"no schema for {kind}")
    return {"description": description, **schema} if description else schema


_SCALARS: Mapping[type[types.Type], Schema] = {
    types.StrType: {"type": "string"},
    types.BoolType: {"type": "boolean"},
    types.IntType: {"type": "integer", "format": "int32"},
    types.FloatType: {"type": "number", "format": "double"},
}


def _set_default(schema: Schema, field: types.Field) -> None:
    """Write the type's default into the schema where it says something; an empty value is what absence means anyway.

    A struct that has such defaults inside is defaulted to ``{}``, so that they show even when nobody named it.
    """
    if isinstance(field.default, msgspec.Struct):
        if any("default" in inner for inner in schema["properties"].values()):
            schema["default"] = {}
    elif field.default not in _NOT_A_VALUE and field.default:
        schema["default"] = field.default


def _merge(schema: Schema, extra: Mapping[str, Any]) -> Schema:
    merged = dict(schema)
    for key, value in extra.items():
        nested = key in ("items", "additionalProperties") and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if nested else value
    return merged


def field_texts(struct: type) -> dict[str, str]:
    """Field → the docstring below it, for the struct and what it inherits; paragraphs are kept, line breaks are not."""
    texts: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            texts |= _class_texts(base.__module__).get(base.__name__, {})
    return texts


@functools.cache
def _class_texts(module: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    found: dict[str, dict[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {}
            for field, below in zip(node.body, node.body[1:], strict=False):
                match field, below:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        found[node.name][name] = plain_text(text)
    return found


def plain_text(docstring: str) -> str:
    """A docstring as plain text: no reST marks, one line a paragraph."""
    paragraphs = textwrap.dedent(inspect.cleandoc(docstring)).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).replace("``", "")
