"""From the text of a `*.clab.yml` to a Topology: containerlab's documented rules, everything else refused by line.

Inheritance (containerlab's types/topology.go): node over group over kind over defaults; env, sysctls and labels merge
by key, binds by target, exec lists join from defaults to node, every other key takes the nearest. Pure.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from bgpnet.errors import Invalid
from bgpnet.lab import keys
from bgpnet.lab.document import Document
from bgpnet.lab.links import LinkReader
from bgpnet.lab.topology import DEFAULT_PREFIX, Bind, Node, Topology, container_name, standard_labels

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_NAME_LIMIT = 63  # a host name (uts) has 64 with its NUL


@dataclass(slots=True)
class _Definition:
    """One of defaults, a kind, a group or a node, before inheritance."""

    kind: str = ""
    group: str = ""
    image: str = ""
    network_mode: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    binds: dict[str, Bind] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


def parse(text: str, file: str, env: Mapping[str, str], name: str = "") -> Topology:
    """The topology in `text`, read from the absolute path `file`; `name` overrides the lab's.

    Raises Invalid with every finding: the file as subject, `line 12, topology.nodes.n1.kind` as path.
    """
    document = Document(posixpath.basename(file), env)
    reader = _Reader(document, file, name)
    topology = reader.read(document.root(text))
    if document.findings:
        raise Invalid(document.source, document.findings)
    return topology


class _Reader:
    def __init__(self, document: Document, file: str, name: str) -> None:
        self.document = document
        self.file = file
        self.lab = name
        self.prefix = DEFAULT_PREFIX
        self.defaults = _Definition()
        self.kinds: dict[str, _Definition] = {}
        self.groups: dict[str, _Definition] = {}

    def read(self, root: yaml.MappingNode) -> Topology:
        top = self.document.known(root, "", keys.TOP_USED, keys.TOP_ACCEPTED)
        self._name(root, top)
        if "prefix" in top:
            self.prefix = self.document.text(top["prefix"], "prefix")
            if self.prefix and not _NAME.match(self.prefix) and self.prefix != "__lab-name":
                self.document.fault(top["prefix"], "prefix", "use letters, digits, '_', '.' and '-'", self.prefix)
        if "topology" not in top:
            self.document.fault(root, "topology", "missing: give it nodes")
            return Topology(self.lab, self.prefix, self.file, {}, ())
        return self._topology(top["topology"])

    def _name(self, root: yaml.MappingNode, top: dict[str, yaml.Node]) -> None:
        found = self.document.text(top["name"], "name") if "name" in top else ""
        at = top.get("name", root)
        self.lab = self.lab or found
        if not self.lab:
            self.document.fault(at, "name", "missing: give the lab a name, as in `name: mesh`")
        elif not _NAME.match(self.lab) or len(self.lab) > _NAME_LIMIT:
            problem = f"use at most {_NAME_LIMIT} letters, digits, '_', '.' and '-', and begin with a letter or digit"
            self.document.fault(at, "name", problem, self.lab)

    def _topology(self, node: yaml.Node) -> Topology:
        part = self.document.known(node, "topology", keys.TOPOLOGY_USED, ())
        if "defaults" in part:
            self.defaults = self._definition(part["defaults"], "topology.defaults")
        if "kinds" in part:
            for kind, (key, value) in self.document.mapping(part["kinds"], "topology.kinds").items():
                self._kind(key, f"topology.kinds.{kind}", kind)
                self.kinds[kind] = self._definition(value, f"topology.kinds.{kind}")
        if "groups" in part:
            for group, (_, value) in self.document.mapping(part["groups"], "topology.groups").items():
                self.groups[group] = self._definition(value, f"topology.groups.{group}")
        nodes: dict[str, Node] = {}
        modes: dict[str, str] = {}
        entries = self.document.mapping(part["nodes"], "topology.nodes") if "nodes" in part else {}
        if not entries:
            self.document.fault(part.get("nodes", node), "topology.nodes", "missing: give at least one node")
        for name, (key, value) in entries.items():
            nodes[name], modes[name] = self._node(name, key, value)
        links = LinkReader(self.document, nodes, modes).read(part["links"]) if "links" in part else ()
        return Topology(self.lab, self.prefix, self.file, nodes, links)

    def _node(self, name: str, key: yaml.Node, value: yaml.Node) -> tuple[Node, str]:
        where = f"topology.nodes.{name}"
        if not _NAME.match(name) or len(name) > _NAME_LIMIT:
            problem = f"name a node by at most {_NAME_LIMIT} letters, digits, '_', '.' and '-'"
            self.document.fault(key, where, problem)
        own = self._definition(value, where)
        kind = self._inherited_kind(own)
        group_name = own.group or self.kinds.get(kind, _Definition()).group or self.defaults.group
        if not kind:
            self.document.fault(key, f"{where}.kind", f"missing: give one of {', '.join(sorted(keys.KINDS))}")
        if group_name and self.groups and group_name not in self.groups:
            self.document.fault(key, f"{where}.group", f"no such group: known are {', '.join(self.groups)}", group_name)
        layers = [
            self.defaults,
            self.kinds.get(kind, _Definition()),
            self.groups.get(group_name, _Definition()),
            own,
        ]
        return self._merged(name, kind, group_name, layers), _nearest(layers, "network_mode") or "none"

    def _inherited_kind(self, own: _Definition) -> str:
        group = self.groups.get(own.group, _Definition()) if own.group else _Definition()
        fallback = self.groups.get(self.defaults.group, _Definition())
        return own.kind or group.kind or fallback.kind or self.defaults.kind

    def _merged(self, name: str, kind: str, group: str, layers: list[_Definition]) -> Node:
        container = container_name(self.prefix, self.lab, name)
        labels = standard_labels(self.lab, self.file, name, container, kind, group)
        binds: dict[str, Bind] = {}
        env: dict[str, str] = {}
        sysctls: dict[str, str] = {}
        own_labels: dict[str, str] = {}
        for layer in layers:
            binds |= layer.binds
            env |= layer.env
            sysctls |= layer.sysctls
            own_labels |= layer.labels
        return Node(
            name=name,
            container=container,
            kind=kind,
            group=group,
            image=str(_nearest(layers, "image")),
            entrypoint=_nearest_argv(layers, "entrypoint"),
            cmd=_nearest_argv(layers, "cmd"),
            exec=tuple(line for layer in layers for line in layer.exec),
            binds=tuple(self._located(bind, name) for bind in binds.values()),
            env=env,
            sysctls=sysctls,
            labels=own_labels | labels,
        )

    def _located(self, bind: Bind, node: str) -> Bind:
        """The bind with its source as an absolute path; relative ones begin at the topology's directory."""
        if not bind.source:
            return bind
        here = posixpath.dirname(self.file)
        lab_dir = posixpath.join(here, f"clab-{self.lab}")
        source = bind.source.replace("__clabNodeDir__", posixpath.join(lab_dir, node))
        source = source.replace("__clabDir__", lab_dir)
        if source == "~" or source.startswith("~/"):
            source = self.document.env.get("HOME", "/root") + source[1:]
        return Bind(posixpath.normpath(posixpath.join(here, source)), bind.target, bind.read_only)

    def _definition(self, node: yaml.Node, where: str) -> _Definition:
        found = self.document.known(node, where, keys.NODE_USED, keys.NODE_ACCEPTED, keys.NODE_NOT_BUILT)
        made = _Definition()
        for key, value in found.items():
            path = f"{where}.{key}"
            match key:
                case "kind":
                    made.kind = self.document.text(value, path)
                    self._kind(value, path, made.kind)
                case "group":
                    made.group = self.document.text(value, path)
                case "image":
                    made.image = self.document.text(value, path)
                case "network-mode":
                    made.network_mode = self._choice(value, path, keys.NETWORK_MODES, "a namespace of its own is given")
                case "user":
                    self._choice(value, path, keys.USERS, "nodes run as root here")
                case "entrypoint":
                    made.entrypoint = self._argv(value, path, self.document.text(value, path))
                case "cmd":
                    made.cmd = self._argv(value, path, self.document.text(value, path))
                case "exec":
                    lines = self.document.texts(value, path)
                    made.exec = tuple(line for item, line in lines if self._argv(item, path, line, needed=True))
                case "binds":
                    made.binds = self._binds(value, path)
                case "env":
                    made.env = {name: text for name, (_, text) in self.document.pairs(value, path).items()}
                case "labels":
                    made.labels = {name: text for name, (_, text) in self.document.pairs(value, path).items()}
                case _:
                    made.sysctls = self._sysctls(value, path)
        return made

    def _kind(self, node: yaml.Node, path: str, kind: str) -> None:
        if kind not in keys.KINDS:
            self.document.fault(node, path, f"unknown kind: known are {', '.join(sorted(keys.KINDS))}", kind)

    def _choice(self, node: yaml.Node, path: str, known: frozenset[str], why: str) -> str:
        text = self.document.text(node, path)
        if text not in known:
            self.document.fault(node, path, f"known are {', '.join(sorted(known))}: {why}", text)
        return text

    def _argv(self, node: yaml.Node, path: str, line: str, needed: bool = False) -> tuple[str, ...]:
        try:
            argv = tuple(shlex.split(line))
        except ValueError as error:
            self.document.fault(node, path, f"not a command line: {error}", line)
            return ()
        if needed and not argv:
            self.document.fault(node, path, "an empty command: remove it")
        return argv

    def _binds(self, node: yaml.Node, path: str) -> dict[str, Bind]:
        binds: dict[str, Bind] = {}
        for item, text in self.document.texts(node, path):
            parts = text.split(":")
            source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
            options = set(parts[2].split(",")) if len(parts) == 3 else set()
            if len(parts) > 3 or (len(parts) > 1 and not source) or not target.startswith("/") or ".." in target:
                problem = "write source:/absolute/target or source:/absolute/target:ro"
                self.document.fault(item, path, problem, text)
            elif options - keys.BIND_OPTIONS:
                self.document.fault(item, path, f"known options are {', '.join(sorted(keys.BIND_OPTIONS))}", text)
            else:
                target = posixpath.normpath(target)
                if target == "/":
                    self.document.fault(item, path, "nothing can be bound over the whole root: name a path in it", text)
                binds[target] = Bind(source, target, "ro" in options)
        return binds

    def _sysctls(self, node: yaml.Node, path: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, (key, value) in self.document.pairs(node, path).items():
            if not name.startswith("net.") or "/" in name or ".." in name:
                problem = "only net.… belongs to a node, anything else would change this machine: remove it"
                self.document.fault(key, f"{path}.{name}", problem, value)
            found[name] = value
        return found


def _nearest(layers: list[_Definition], key: str) -> str:
    return next((str(getattr(layer, key)) for layer in reversed(layers) if getattr(layer, key)), "")


def _nearest_argv(layers: list[_Definition], key: str) -> tuple[str, ...]:
    return next((tuple(getattr(layer, key)) for layer in reversed(layers) if getattr(layer, key)), ())
