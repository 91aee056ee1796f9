"""The model's types as structural schemas (OpenAPI v3 as apiextensions.k8s.io/v1 takes it: no $ref). Pure."""

from __future__ import annotations

import inspect as python
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

Schema = dict[str, Any]
Constraints = Mapping[str, Schema]


def of(cls: type, constraints: Constraints) -> Schema:
    """The schema of a kind's type: its spec and, if it has one, its status, with what else must hold of each field."""
    parts = [each for each in struct(cls).fields if each.name != "metadata"]
    schema: Schema = {
        "type": "object",
        "description": _described(cls),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            **{each.name: _schema(each.type, each.name, constraints) for each in parts},
        },
    }
    required = [each.name for each in parts if each.required]
    return _with(schema, {"required": required} if required else {}, constraints.get("", {}))


def struct(cls: type) -> inspect.StructType:
    """What msgspec knows of a struct."""
    info = inspect.type_info(cls)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{cls.__name__} is no struct")
    return info


def _schema(info: inspect.Type, path: str, constraints: Constraints) -> Schema:
    match info:
        case inspect.UnionType(types=types):
            return _schema(next(each for each in types if not isinstance(each, inspect.NoneType)), path, constraints)
        case inspect.StructType():
            schema = _struct(info, path, constraints)
        case inspect.DictType(value_type=value):
            below = _schema(value, f"{path}{{}}", constraints)
            schema = {"type": "object", "additionalProperties": below}
        case inspect.VarTupleType(item_type=item):
            schema = {"type": "array", "items": _schema(item, f"{path}[]", constraints)}
        case inspect.EnumType(cls=cls):
            schema = {"type": "string", "enum": [str(member.value) for member in cls]}
        case inspect.BoolType():
            schema = {"type": "boolean"}
        case inspect.IntType():
            schema = {"type": "integer", "format": "int64"}
        case inspect.StrType():
            schema = {"type": "string"}
        case _:
            raise TypeError(f"{path}: a {type(info).__name__} in a resource is new to schema.py; add its case")
    return _with(schema, constraints.get(path, {}))


def _struct(info: inspect.StructType, path: str, constraints: Constraints) -> Schema:
    """Defaults are written only where the model writes them, too: elsewhere, what is not said means the default."""
    written = not info.cls.__struct_config__.omit_defaults
    properties = {}
    for each in info.fields:
        schema = _schema(each.type, f"{path}.{each.encode_name}", constraints)
        if written and not each.required and each.default not in (None, msgspec.NODEFAULT):
            schema["default"] = msgspec.to_builtins(each.default)
        properties[each.encode_name] = schema
    required = [each.encode_name for each in info.fields if each.required]
    schema = {"type": "object", "description": _described(info.cls), "properties": properties}
    return _with(schema, {"required": required} if required else {})


def _with(schema: Schema, *more: Schema) -> Schema:
    for each in more:
        schema = {**schema, **each}
    return schema


def _described(cls: type) -> str:
    return " ".join((python.getdoc(cls) or cls.__name__).split())
