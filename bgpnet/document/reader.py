"""Text to plain values: YAML (several documents) or JSON, with nothing guessed.

YAML's own guesses (`yes`, `1e3`, `1.10`, dates, octals) are not made: a scalar without quotes stays text, as `Plain`,
and the field that it stands in decides what it is (see `shape`). Nothing here raises: what is wrong is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from bgpnet.errors import Finding

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = ("", "~", "null", "Null", "NULL")
MERGE = "<<"
DEPTH_LIMIT = 64
"""Deeper than any resource; a limit keeps hostile text from exhausting the stack."""


class Plain(str):
    """A YAML scalar without quotes: the field says what it is."""

    __slots__ = ()


@dataclass(slots=True)
class Reading:
    """The documents of a text, and what was wrong with it; a broken document is left out."""

    documents: list[object] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read(text: str) -> Reading:
    """Every document of the text, empty ones left out."""
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith(("{", "[")):
        try:
            return Reading(list(_json(text)))
        except (ValueError, RecursionError):
            pass  # YAML is a superset of JSON, and its reader knows lines
    return _Builder().read(text)


def _json(text: str) -> Iterator[object]:
    """The values of a JSON text, one after the other; raises ValueError, RecursionError."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
    at = _past_blanks(text, 0)
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at = _past_blanks(text, at)


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is written twice")
    return dict(pairs)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


@dataclass(slots=True)
class _Frame:
    """A list or mapping being read; `key` is the mapping's key whose value comes next."""

    value: list[object] | dict[str, object]
    anchor: str | None
    key: str | None = None


class _Builder:
    """Builds values from YAML's events, without recursion."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.stack: list[_Frame] = []
        self.anchors: dict[str, object] = {}

    def read(self, text: str) -> Reading:
        """Every document up to the first that is not YAML."""
        try:
            for event in events(text):
                self._take(event)
        except Stop as stop:
            self.reading.findings.append(stop.finding)
        return self.reading

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self.anchors = {}
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                frame = self.stack.pop()
                if isinstance(frame.value, dict) and MERGE in frame.value:
                    self._merge(frame.value, event)
                self._put(frame.value, frame.anchor, event)
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.AliasEvent():
                if event.anchor not in self.anchors:
                    raise _stop(event, f"*{event.anchor} has no &{event.anchor} before it; write the value out")
                self._put(self.anchors[event.anchor], None, event)

    def _merge(self, value: dict[str, object], event: yaml.Event) -> None:
        """`<<: *other` and `<<: [*one, *other]`: what the mapping does not say itself, the first that says it says."""
        given = value.pop(MERGE)
        for each in given if isinstance(given, list) else [given]:
            if not isinstance(each, dict):
                raise _stop(event, f"{MERGE} merges mappings, and this is none; write {MERGE}: *anchor of a mapping")
            for key, below in each.items():
                value.setdefault(key, below)

    def _open(self, value: list[object] | dict[str, object], event: yaml.CollectionStartEvent) -> None:
        if len(self.stack) >= DEPTH_LIMIT:
            raise _stop(event, f"is nested deeper than {DEPTH_LIMIT} levels; no resource is, write it flatter")
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None:
            raise _stop(event, "a key is a list or a mapping; write keys as text")
        self.stack.append(_Frame(value, event.anchor))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        top = self.stack[-1] if self.stack else None
        if top and isinstance(top.value, dict) and top.key is None:
            top.key = event.value
            if event.value in top.value:
                problem = f"the key {event.value!r} is written twice in one mapping; keep one of them"
                self.reading.findings.append(_stop(event, problem).finding)
            return
        if event.style:
            self._put(event.value, event.anchor, event)
        else:
            self._put(None if is_null(event) else Plain(event.value), event.anchor, event)

    def _put(self, value: object, anchor: str | None, event: yaml.Event) -> None:
        if anchor:
            self.anchors[anchor] = value
        if not self.stack:
            if value is not None:
                self.reading.documents.append(value)
            return
        top = self.stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:
            raise _stop(event, "a key is a list or a mapping; write keys as text")
        else:
            top.value[top.key] = value
            top.key = None


class Stop(Exception):
    """The text cannot be read any further."""

    def __init__(self, place: str, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.finding = Finding(place, None, problem, line)


def events(text: str) -> Iterator[yaml.Event]:
    """The text as YAML's events; raises Stop."""
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
        problem = f"is not YAML: {error.problem or error.context}; check the indentation, colons and quotes there"
        raise Stop(place, problem, mark.line + 1 if mark else None) from error
    except (yaml.YAMLError, UnicodeError) as error:
        reason = str(getattr(error, "reason", error))
        raise Stop("the text", f"is not YAML: {reason}; save it as UTF-8 text without control characters") from error


def is_null(event: yaml.ScalarEvent) -> bool:
    """Whether a scalar says nothing: empty, or null without quotes."""
    return not event.style and event.value in _NULLS


def _stop(event: yaml.Event, problem: str) -> Stop:
    return Stop(_place(event), problem, event.start_mark.line + 1 if event.start_mark else None)


def _place(event: yaml.Event) -> str:
    mark = event.start_mark
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
