"""What each peer is told: this node's own blocks, as the pools permit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bgpnet.model import ip
from bgpnet.model.ip import Address, Network
from bgpnet.model.ippool import IPPool


@dataclass(frozen=True, slots=True)
class Advert:
    """One announcement. next_hop None: our address in that session. communities: as `Path` has them, large ones too."""

    prefix: Network
    next_hop: Address | None = None
    communities: tuple[str, ...] = ()


def exports(
    own_blocks: Iterable[Network], pools: Iterable[IPPool], peers: Iterable[Address]
) -> Mapping[Address, frozenset[Advert]]:
    """For every peer the whole of what it should know from us (reference/calico-behaviour.md 5.5).

    A block is told when it lies in a pool that permits it, disabled or not, of several pools the narrowest deciding.
    Pods are inside blocks and are never told one by one (a block of one address is a block); what lies in no pool is
    told to nobody.
    """
    known = sorted(pools, key=lambda pool: -pool.network.prefixlen)
    adverts = frozenset(Advert(block) for block in own_blocks if _permitted(block, known))
    return dict.fromkeys(peers, adverts)


def _permitted(block: Network, pools: Iterable[IPPool]) -> bool:
    pool = next((one for one in pools if ip.contains(one.network, block)), None)
    return pool is not None and not pool.spec.disableBGPExport
