"""One table: each kind's columns. A new kind is one new row.

The columns and their order are calicoctl's (resourcemgr); IPAMBlock, which calicoctl does not show, is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bgpnet.model import kinds
from bgpnet.model.bgpconfiguration import DEFAULT_AS, BGPConfiguration
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import Node

if TYPE_CHECKING:
    from bgpnet.store.repo import Repo

R = TypeVar("R", bound=Resource)


class Around:
    """What a cell may need beside its own resource, looked up once and only if asked for."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    @cached_property
    def cluster_as(self) -> int:
        """The AS number of nodes that say none."""
        default = self._repo.find(kinds.BGPCONFIGURATION, "default")
        told = default.spec.asNumber if isinstance(default, BGPConfiguration) else None
        return DEFAULT_AS if told is None else told


Cell = Callable[[R, Around], object]


@dataclass(frozen=True)
class View(Generic[R]):
    """How a kind is shown: heading and cell of each column; without `wide`, both are the same."""

    kind: Kind
    type: type[R]
    narrow: dict[str, Cell[R]]
    wide: dict[str, Cell[R]] | None = None

    def table(self, resources: list[R], around: Around, wide: bool) -> tuple[list[str], list[list[str]]]:
        """The header and the rows."""
        columns = self.wide if wide and self.wide is not None else self.narrow
        return list(columns), [[shown(cell(item, around)) for cell in columns.values()] for item in resources]


def shown(value: object) -> str:
    """A value as a cell: true and false as YAML has them, `-` for what is not said."""
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None or value == "" else str(value)


def _as_number(number: int | None, around: Around) -> str:
    """In brackets when it is the cluster's."""
    return str(number) if number is not None else f"({around.cluster_as})"


def _resting(block: IPAMBlock) -> int:
    return sum(allocation.freedAt is not None for allocation in block.spec.allocations.values())


POOL_NAME: dict[str, Cell[IPPool]] = {
    "NAME": lambda pool, _: pool.metadata.name,
    "CIDR": lambda pool, _: pool.spec.cidr,
}
BLOCK: dict[str, Cell[IPAMBlock]] = {
    "NAME": lambda block, _: block.metadata.name,
    "CIDR": lambda block, _: block.spec.cidr,
    "OWNER": lambda block, _: block.spec.owner and block.spec.owner.name,
    "STATE": lambda block, _: block.spec.state,
}

VIEWS: tuple[View[Any], ...] = (
    View[IPPool](
        kinds.IPPOOL,
        IPPool,
        narrow={**POOL_NAME, "SELECTOR": lambda pool, _: pool.spec.nodeSelector},
        wide={
            **POOL_NAME,
            "NAT": lambda pool, _: pool.spec.natOutgoing,
            "IPIPMODE": lambda pool, _: pool.spec.ipipMode,
            "VXLANMODE": lambda pool, _: pool.spec.vxlanMode,
            "DISABLED": lambda pool, _: pool.spec.disabled,
            "DISABLEBGPEXPORT": lambda pool, _: pool.spec.disableBGPExport,
            "SELECTOR": lambda pool, _: pool.spec.nodeSelector,
            "ASSIGNMENTMODE": lambda pool, _: pool.spec.assignmentMode,
        },
    ),
    View[BGPPeer](
        kinds.BGPPEER,
        BGPPeer,
        narrow={
            "NAME": lambda peer, _: peer.metadata.name,
            "PEERIP": lambda peer, _: peer.spec.peerIP,
            "NODE": lambda peer, _: peer.spec.node or peer.spec.nodeSelector or "(global)",
            "ASN": lambda peer, around: _as_number(peer.spec.asNumber, around),
        },
    ),
    View[BGPConfiguration](
        kinds.BGPCONFIGURATION,
        BGPConfiguration,
        narrow={
            "NAME": lambda conf, _: conf.metadata.name,
            "LOGSEVERITY": lambda conf, _: conf.spec.logSeverityScreen,
            "MESHENABLED": lambda conf, _: conf.spec.nodeToNodeMeshEnabled,
            "ASNUMBER": lambda conf, _: conf.spec.asNumber,
        },
    ),
    View[Node](
        kinds.NODE,
        Node,
        narrow={"NAME": lambda node, _: node.metadata.name},
        wide={
            "NAME": lambda node, _: node.metadata.name,
            "ASN": lambda node, around: _as_number(node.spec.bgp.asNumber if node.spec.bgp else None, around),
            "IPV4": lambda node, _: node.spec.bgp and node.spec.bgp.ipv4Address,
            "IPV6": lambda node, _: node.spec.bgp and node.spec.bgp.ipv6Address,
        },
    ),
    View[IPAMBlock](
        kinds.IPAMBLOCK,
        IPAMBlock,
        narrow=BLOCK,
        wide={
            **BLOCK,
            "INUSE": lambda block, _: len(block.spec.allocations) - _resting(block),
            "RESTING": lambda block, _: _resting(block),
            "FREE": lambda block, _: len(block.spec.free),
        },
    ),
)
OF_KIND = {view.kind: view for view in VIEWS}
