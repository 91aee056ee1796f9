"""Where things stand in a text: the line of every field, for those who have to correct it.

A second reading, made when somebody asks for lines: values are read without them (see `reader`), because most texts
are right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from bgpnet.document import reader


@dataclass(slots=True)
class Mark:
    """A value's line, from 1, and those of what is in it: a mapping's by key, a list's by index."""

    line: int
    below: dict[str, Mark] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """The line of `spec.rules[0].cidr` or `metadata.labels[a.b/c]`; of what holds it, where it is not there."""
        mark, rest = self, path if path.startswith("[") or not path else f".{path}"
        while rest:
            name = mark._first(rest)
            if name is None:
                break
            mark, rest = mark.below[name], rest[len(name) + (2 if rest[0] == "[" else 1) :]
        return mark.line

    def _first(self, path: str) -> str | None:
        """The name below that the path begins with; the longest, as keys may hold dots."""
        found = [name for name in self.below if _begins(path, name)]
        return max(found, key=len, default=None)


def _begins(path: str, name: str) -> bool:
    head = f"[{name}]" if path[0] == "[" else f".{name}"
    return path.startswith(head) and path[len(head) : len(head) + 1] in ("", ".", "[")


@dataclass(slots=True)
class _Frame:
    mark: Mark
    is_list: bool
    key: str | None = None
    key_line: int = 0


def read(text: str) -> list[Mark]:
    """The documents of a text, empty ones left out, as `reader.read` has them; up to the first that is broken."""
    documents: list[Mark] = []
    stack: list[_Frame] = []
    try:
        for event in reader.events(text.removeprefix("\ufeff")):
            if not _take(event, stack, documents):
                break
    except reader.Stop:
        pass  # the reader says what is wrong with the text, and where
    return documents[:-1] if stack else documents


def _take(event: yaml.Event, stack: list[_Frame], documents: list[Mark]) -> bool:
    """Whether the text can be read on."""
    if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
        stack.pop()
    if not isinstance(event, yaml.NodeEvent):
        return True
    line = event.start_mark.line + 1 if event.start_mark else 1
    top = stack[-1] if stack else None
    if top and not top.is_list and top.key is None:
        if not isinstance(event, yaml.ScalarEvent):
            return False
        top.key, top.key_line = event.value, line
        return True
    if top is None and isinstance(event, yaml.ScalarEvent) and reader.is_null(event):
        return True
    mark = Mark(line)
    if top is None:
        documents.append(mark)
    elif top.key is not None:
        mark.line = top.key_line
        top.mark.below[top.key] = mark
        top.key = None
    else:
        top.mark.below[str(len(top.mark.below))] = mark
    if isinstance(event, yaml.CollectionStartEvent):
        stack.append(_Frame(mark, isinstance(event, yaml.SequenceStartEvent)))
    return len(stack) <= reader.DEPTH_LIMIT
