"""Plain values against a type: every field that is unknown, missing or of the wrong type, all at once."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import msgspec
from msgspec import inspect

from bgpnet.document.reader import Plain
from bgpnet.errors import Finding

AS_FIELDS = frozenset({"asNumber", "localASNumber", "asPathPrefix", "prefix"})
"""These, and the entries of such lists, may be written dotted, `1.10`, as RFC 5396 has it."""

T = TypeVar("T")

_WRONG = object()
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})\Z", re.ASCII)
_DOTTED = re.compile(r"([0-9]{1,5})\.([0-9]{1,5})\Z", re.ASCII)
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@lru_cache(maxsize=64)
def _info(cls: type) -> inspect.Type:
    return inspect.type_info(cls)


@dataclass(slots=True)
class Shaper:
    """Walks one object; `findings` fills as it goes. owner: whose fields a hint lists, such as `IPPool`."""

    owner: str
    findings: list[Finding] = field(default_factory=list)

    def shape(self, value: object, cls: type, path: str = "") -> object:
        """The value in the types that JSON has; what is null or wrong is left out, with what cannot be without it."""
        return self._any(value, _info(cls), path)

    def _any(self, value: object, info: inspect.Type, path: str) -> object:
        match info:
            case inspect.UnionType(types=types):
                return self._any(value, next(each for each in types if not isinstance(each, inspect.NoneType)), path)
            case inspect.StructType():
                return self._struct(value, info, path)
            case inspect.DictType():
                return self._dict(value, info, path)
            case inspect.VarTupleType(item_type=item):
                return self._list(value, item, path)
            case inspect.EnumType(cls=cls):
                return self._enum(value, [str(member.value) for member in cls], path)
            case inspect.BoolType():
                return self._bool(value, path)
            case inspect.IntType():
                return self._int(value, path)
            case inspect.StrType():
                return self._str(value, path)
            case _:
                raise TypeError(f"{path}: a {type(info).__name__} in a resource is new to shape.py; add its case")

    def _wrong(self, path: str, value: object, problem: str) -> object:
        shown = str(value) if isinstance(value, str) else value if isinstance(value, bool | int | float) else None
        self.findings.append(Finding(path or "the object", shown, problem))
        return _WRONG

    def _struct(self, value: object, info: inspect.StructType, path: str) -> object:
        if not isinstance(value, dict):
            return self._wrong(path, value, f"must be a mapping of fields, not {_called(value)}")
        fields = {each.encode_name: each for each in info.fields}
        shaped: dict[str, object] = {}
        for key, entry in value.items():
            below = f"{path}.{key}" if path else str(key)
            if key not in fields:
                self._wrong(below, None, self._unknown(str(key), sorted(fields), path))
            elif entry is not None:
                _set(shaped, str(key), self._any(entry, fields[key].type, below))
        required = [name for name, each in fields.items() if each.required]
        for name in required:
            if value.get(name) is None:
                self._wrong(f"{path}.{name}" if path else name, None, "is required and not there; write it")
        return shaped if all(name in shaped for name in required) else _WRONG

    def _unknown(self, key: str, known: list[str], path: str) -> str:
        close = difflib.get_close_matches(key.lower(), [name.lower() for name in known], n=1)
        if close:
            name = next(name for name in known if name.lower() == close[0])
            return f"unknown field; did you mean {name}?"
        return f"unknown field; {self.owner}{' ' + path if path else ''} has {', '.join(known)}; remove it"

    def _dict(self, value: object, info: inspect.DictType, path: str) -> object:
        if not isinstance(value, dict):
            return self._wrong(path, value, f"must be a mapping of names to values, not {_called(value)}")
        if isinstance(info.key_type, inspect.IntType):
            for key in value:
                if not _INTEGER.match(str(key)):
                    self._wrong(f"{path}[{key}]", None, "must have a whole number as its key")
        shaped: dict[str, object] = {}
        for key, entry in value.items():
            if entry is not None:
                _set(shaped, str(key), self._any(entry, info.value_type, f"{path}[{key}]"))
        return shaped

    def _list(self, value: object, item: inspect.Type, path: str) -> object:
        if not isinstance(value, list):
            return self._wrong(path, value, f"must be a list, not {_called(value)}; write it with - before each item")
        shaped = [self._any(entry, item, f"{path}[{index}]") for index, entry in enumerate(value)]
        return _WRONG if any(entry is _WRONG for entry in shaped) else shaped

    def _enum(self, value: object, members: list[str], path: str) -> object:
        if isinstance(value, str) and value in members:
            return str(value)
        near = [member for member in members if isinstance(value, str) and member.lower() == value.lower()]
        choice = near[0] if near else f"{', '.join(members[:-1])} or {members[-1]}"
        return self._wrong(path, value, f"must be {choice}{', in this spelling' if near else ''}")

    def _bool(self, value: object, path: str) -> object:
        if isinstance(value, bool):
            return value
        if isinstance(value, Plain) and value.lower() in _BOOLEANS:
            return _BOOLEANS[value.lower()]
        return self._wrong(path, value, f"must be true or false, without quotes, not {_called(value)}")

    def _int(self, value: object, path: str) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if _is_as_number(path) and isinstance(value, str):
            return self._as_number(value, path)
        if isinstance(value, Plain) and _INTEGER.match(value):
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        if isinstance(value, float) and _is_as_number(path):
            return self._wrong(path, value, 'must be 1 to 4294967295, or dotted and in quotes, like "1.10"')
        return self._wrong(path, value, f"must be a whole number such as 26, without quotes, not {_called(value)}")

    def _as_number(self, value: str, path: str) -> object:
        if _INTEGER.match(value):
            return int(value)
        dotted = _DOTTED.match(value)
        if dotted and int(dotted[1]) < 2**16 and int(dotted[2]) < 2**16:
            return int(dotted[1]) * 2**16 + int(dotted[2])
        return self._wrong(path, value, "is not an AS number; write 1 to 4294967295, or dotted like 1.10")

    def _str(self, value: object, path: str) -> object:
        if not isinstance(value, str):
            return self._wrong(path, value, f"must be text, not {_called(value)}; write it in quotes")
        try:
            value.encode()
        except UnicodeEncodeError:
            return self._wrong(path, None, "holds half of a character (a lone surrogate); write the whole character")
        return str(value)


def _is_as_number(path: str) -> bool:
    return path.rpartition(".")[2].partition("[")[0] in AS_FIELDS


def _set(shaped: dict[str, object], key: str, value: object) -> None:
    if value is not _WRONG:
        shaped[key] = value


def _called(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def convert(value: object, cls: type[T]) -> T:
    """The shaped value as that type; raises msgspec.ValidationError, which only a gap in `Shaper` can cause."""
    return msgspec.convert(value, cls, str_keys=True)
