"""A YAML document read with its line numbers; everything wrong in it becomes a finding, and reading goes on."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import yaml

from bgpnet.errors import Finding, Invalid

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::[=-]([^}]*))?\}|([A-Za-z_]\w*))")


def expand(text: str, env: Mapping[str, str]) -> str:
    """`${X}`, `$X`, `${X:=default}` from the environment, `$$` for `$`; what is unset stays, as in containerlab."""

    def value(match: re.Match[str]) -> str:
        dollar, braced, default, bare = match.groups()
        if dollar:
            return "$"
        found = env.get(braced or bare)
        if found is None:
            return match.group(0) if default is None else str(default)
        return found

    return _VARIABLE.sub(value, text)


class Document:
    """Reads nodes of one file; `findings` grows, in reading order."""

    def __init__(self, source: str, env: Mapping[str, str]) -> None:
        self.source = source
        self.env = env
        self.findings: list[Finding] = []

    def root(self, text: str) -> yaml.MappingNode:
        """The document's mapping; raises Invalid at once where nothing can be read."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise Invalid(self.source, [Finding(f"line {line}", None, f"not YAML: {error.problem}")]) from error
        except yaml.YAMLError as error:
            raise Invalid(self.source, [Finding("line 1", None, f"not YAML: {str(error).splitlines()[0]}")]) from error
        if not isinstance(node, yaml.MappingNode):
            problem = "must be a mapping with the keys name and topology"
            raise Invalid(self.source, [Finding("line 1", None if node is None else _shown(node), problem)])
        return node

    def fault(self, node: yaml.Node, path: str, problem: str, value: object = None) -> None:
        """Note one broken rule at the node's line."""
        self.findings.append(Finding(f"line {node.start_mark.line + 1}, {path}", value, problem))

    def mapping(self, node: yaml.Node, path: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The entries, name -> (key node, value node); `<<` merges; an empty value is an empty mapping."""
        if _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, path, "must be a mapping", _shown(node))
            return {}
        own: set[str] = set()
        entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = str(key.value)
            if name == "<<" and key.tag.endswith(":merge"):
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    entries = self.mapping(merged, path) | entries
                continue
            if name in own:
                self.fault(key, f"{path}.{name}".strip("."), "stands twice: keep one")
            own.add(name)
            entries[name] = (key, value)
        return entries

    def known(
        self,
        node: yaml.Node,
        path: str,
        used: Collection[str],
        accepted: Collection[str],
        refused: Collection[str] = (),
    ) -> dict[str, yaml.Node]:
        """The entries whose keys are used; unknown ones are faults that say what is known."""
        entries: dict[str, yaml.Node] = {}
        for name, (key, value) in self.mapping(node, path).items():
            where = f"{path}.{name}".strip(".")
            if name in used:
                entries[name] = value
            elif name in refused:
                self.fault(key, where, "containerlab knows it but this lab does not honour it: remove it")
            elif name not in accepted:
                self.fault(key, where, f"unknown key: known are {', '.join(sorted({*used, *accepted}))}")
        return entries

    def text(self, node: yaml.Node, path: str) -> str:
        """A scalar as text (numbers and booleans as written), variables expanded; empty when it is none."""
        if not isinstance(node, yaml.ScalarNode):
            self.fault(node, path, f"must be text, not a {_name(node)}")
            return ""
        return "" if _is_null(node) else expand(node.value, self.env)

    def items(self, node: yaml.Node, path: str) -> list[yaml.Node]:
        """The items of a list; an empty value is an empty list."""
        if _is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, path, f"must be a list, not a {_name(node)}", _shown(node))
            return []
        return list(node.value)

    def texts(self, node: yaml.Node, path: str) -> list[tuple[yaml.Node, str]]:
        """A list of text, each with its node; items that are none are faults and left out."""
        read = [(item, self.text(item, f"{path}[{at}]")) for at, item in enumerate(self.items(node, path))]
        return [(item, text) for item, text in read if isinstance(item, yaml.ScalarNode)]

    def pairs(self, node: yaml.Node, path: str) -> dict[str, tuple[yaml.Node, str]]:
        """A mapping of text to text, each with its key's node."""
        return {
            name: (key, self.text(value, f"{path}.{name}")) for name, (key, value) in self.mapping(node, path).items()
        }


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _name(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "single value"
    return "list" if isinstance(node, yaml.SequenceNode) else "mapping"


def _shown(node: yaml.Node) -> object:
    return node.value if isinstance(node, yaml.ScalarNode) else None
