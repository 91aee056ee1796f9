"""A topology as values: what a `*.clab.yml` asks for, after inheritance. Pure; bgpnet.lab.parse makes one from text."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_PREFIX = "clab"
DEFAULT_MTU = 9500
"""containerlab's default for veth links (links/link.go, DefaultLinkMTU)."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of this machine seen inside a node; an empty `source` asks for an empty directory."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One node: what containerlab calls by `name`, its container by `container`."""

    name: str
    container: str
    kind: str
    group: str = ""
    image: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def process(self) -> tuple[str, ...]:
        """The main process: entrypoint and cmd in one, as a container engine joins them; empty when there is none."""
        return self.entrypoint + self.cmd


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a link; `addresses` are interface addresses with prefix length, both families."""

    node: str
    interface: str
    mac: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair between two nodes."""

    a: Endpoint
    b: Endpoint
    mtu: int = DEFAULT_MTU


@dataclass(frozen=True, slots=True)
class Topology:
    """A lab: nodes by name in the file's order, and the links between them; `file` is its absolute path."""

    name: str
    prefix: str
    file: str
    nodes: dict[str, Node]
    links: tuple[Link, ...]


def container_name(prefix: str, lab: str, node: str) -> str:
    """`clab-<lab>-<node>`; the prefix `__lab-name` leaves it out, the empty prefix leaves the lab's name out too."""
    match prefix:
        case "":
            return node
        case "__lab-name":
            return f"{lab}-{node}"
        case _:
            return f"{prefix}-{lab}-{node}"


def standard_labels(lab: str, file: str, node: str, container: str, kind: str, group: str) -> dict[str, str]:
    """The labels that containerlab gives every node; filters such as `--label clab-node-name=n1` name them."""
    return {
        "containerlab": lab,
        "clab-node-name": node,
        "clab-node-longname": container,
        "clab-node-kind": kind,
        "clab-node-group": group,
        "clab-topo-file": file,
    }
