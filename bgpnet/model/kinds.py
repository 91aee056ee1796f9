"""The table of kinds: a new kind is one new row here and one new file beside this one."""

from __future__ import annotations

from dataclasses import dataclass

from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.node import Node

Resource = IPPool | BGPConfiguration | BGPPeer | Node | IPAMBlock


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind's name, its plural in keys, what people may type for it, its type, and whether people may write it."""

    name: str
    plural: str
    aliases: tuple[str, ...]
    type: type[Resource]
    derived: bool = False


IPPOOL = Kind("IPPool", "ippools", ("ippool", "ippools", "ipp", "ipps", "pool", "pools"), IPPool)
BGPCONFIGURATION = Kind(
    "BGPConfiguration",
    "bgpconfigurations",
    ("bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"),
    BGPConfiguration,
)
BGPPEER = Kind("BGPPeer", "bgppeers", ("bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"), BGPPeer)
NODE = Kind("Node", "nodes", ("node", "nodes", "no", "nos"), Node)
IPAMBLOCK = Kind("IPAMBlock", "ipamblocks", ("ipamblock", "ipamblocks", "block", "blocks"), IPAMBlock, derived=True)

KINDS: tuple[Kind, ...] = (IPPOOL, BGPCONFIGURATION, BGPPEER, NODE, IPAMBLOCK)
BY_NAME = {kind.name: kind for kind in KINDS}
BY_ALIAS = {alias: kind for kind in KINDS for alias in kind.aliases}
BY_TYPE: dict[type, Kind] = {kind.type: kind for kind in KINDS}


def kind_of(resource: Resource) -> Kind:
    """The row of a resource."""
    return BY_TYPE[type(resource)]


def subject(resource: Resource) -> str:
    """How messages call a resource: `IPPool(blue)`."""
    return f"{kind_of(resource).name}({resource.metadata.name})"
