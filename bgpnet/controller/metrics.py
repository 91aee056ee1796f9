"""What the controller sees and does, as metrics (exposition.py; names and labels of Calico's kube-controllers). Pure.

A series for each pool and node, never for an address or a pod.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bgpnet import reservations
from bgpnet.controller.actions import Leak
from bgpnet.controller.picture import Key, Picture
from bgpnet.exposition import Sample, family
from bgpnet.model import ip
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.ippool import IPPool
from bgpnet.version import VERSION

NO_POOL, NO_NODE = "no_ippool", "no_affinity"
"""What a block is called after that lies in no pool, or has no owner; Calico's words."""
Place = tuple[str, str]
"""A pool and a node."""


@dataclass(slots=True)
class Counts:
    """What has been counted since the start: addresses released at our word, and actions by what and outcome."""

    reclaimed: Counter[Place] = field(default_factory=Counter)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)


def text(picture: Picture | None, suspects: Mapping[Key, Leak], counts: Counts, missing: tuple[str, str]) -> str:
    """The metrics; of the datastore, none while it is not known. missing: why it and Kubernetes are not known."""
    families = [*_own(missing)]
    if picture is not None:
        families += _addresses(picture, suspects)
        families += _pools(picture)
    places = [({"ippool": pool, "node": node}, count) for (pool, node), count in sorted(counts.reclaimed.items())]
    said = family(
        "bgpnet_ipam_allocations_gc_reclamations", "Leaked addresses that were released.", places, kind="counter"
    )
    return "".join(family(name, about, samples) for name, about, samples in families) + said + _actions(counts)


def pool_of(address: str, pools: Iterable[IPPool]) -> str:
    """The pool that an address counts for."""
    return next((pool.metadata.name for pool in pools if ip.contains(pool.network, ip.address(address))), NO_POOL)


def place(block: IPAMBlock, pools: Iterable[IPPool]) -> Place:
    """The pool and the node that a block counts for."""
    around = next((pool.metadata.name for pool in pools if ip.contains(pool.network, block.network)), NO_POOL)
    return around, block.spec.owner.name if block.spec.owner else NO_NODE


def _own(missing: tuple[str, str]) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    yield "bgpnet_controller_info", "The version of the controller.", [({"version": VERSION}, 1)]
    sources = [({"source": name}, not why) for name, why in zip(("datastore", "kubernetes"), missing, strict=True)]
    yield "bgpnet_controller_in_sync", "1: it is heard in full, or not asked.", sources


def _actions(counts: Counts) -> str:
    done = [({"action": what, "outcome": outcome}, count) for (what, outcome), count in sorted(counts.actions.items())]
    return family("bgpnet_controller_actions_total", "Actions by what became of them.", done, kind="counter")


def _addresses(picture: Picture, suspects: Mapping[Key, Leak]) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    pools = list(picture.pools.values())
    blocks, in_use, borrowed, candidates = Counter[Place](), Counter[Place](), Counter[Place](), Counter[Place]()
    places = {name: place(block, pools) for name, block in picture.blocks.items()}
    for name, block in picture.blocks.items():
        at = places[name]
        blocks[at] += 1
        live = [slot for slot in block.spec.allocations.values() if slot.freedAt is None]
        in_use[at] += len(live)
        borrowed[at] += sum(slot.use is Use.RESERVED for slot in live)
        candidates[at] += 0
    for leak in suspects.values():
        candidates[places.get(leak.slot.block.metadata.name, (NO_POOL, NO_NODE))] += 1
    yield "bgpnet_ipam_blocks", "Blocks.", _placed(blocks)
    yield "bgpnet_ipam_allocations_in_use", "Addresses that are in use.", _placed(in_use)
    about = "Addresses that another than the block's owner has, by an import."
    yield "bgpnet_ipam_allocations_borrowed", about, _placed(borrowed)
    yield "bgpnet_ipam_allocations_gc_candidates", "Addresses that seem to be nobody's.", _placed(candidates)


def _pools(picture: Picture) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    pools = sorted(picture.pools.items())
    sizes = [({"ippool": name}, pool.network.num_addresses) for name, pool in pools]
    yield "bgpnet_ipam_ippool_size", "Addresses of the pool.", sizes
    kept = reservations.of(picture.reservations.values())
    reserved = [({"ippool": name}, _reserved(kept, pool.network)) for name, pool in pools]
    yield "bgpnet_ipam_ippool_reserved", "Addresses of the pool that IPReservations keep.", reserved


def _reserved(kept: reservations.Reservations, net: ip.Network) -> int:
    meeting = [other for other in kept.networks if ip.contains(net, other) or ip.contains(other, net)]
    return sum(min(other.num_addresses, net.num_addresses) for other in meeting)


def _placed(counts: Counter[Place]) -> list[Sample]:
    return [({"ippool": pool, "node": node}, count) for (pool, node), count in sorted(counts.items())]
