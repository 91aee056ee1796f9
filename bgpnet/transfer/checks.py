"""Everything that can be wrong in a datastore, object by object and between them. Pure.

`broken` is what no datastore should be given: an object that breaks its own rules. `findings` are contradictions that
may come about by and by, and that somebody should look at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from bgpnet import admission, derived, integrity
from bgpnet.model import ip
from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.bgpfilter import BGPFilter
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.ipamblock import IPAMBlock, Use
from bgpnet.model.ippool import IPPool
from bgpnet.model.kinds import Resource, subject
from bgpnet.model.node import Node
from bgpnet.rules import table
from bgpnet.transfer.contents import Problem


def broken(resources: Iterable[Resource]) -> Iterator[Problem]:
    """Every rule that an object breaks by itself, and every name that is there twice."""
    seen: set[str] = set()
    for resource in resources:
        name = subject(resource)
        if name in seen:
            yield Problem(name, "occurs twice; keep one of the two")
        seen.add(name)
        for finding in table.check(resource):
            yield Problem(name, str(finding))


def findings(resources: Sequence[Resource]) -> Iterator[Problem]:
    """Every contradiction between objects that obey their own rules."""
    pools = [each for each in resources if isinstance(each, IPPool)]
    blocks = [each for each in resources if isinstance(each, IPAMBlock)]
    nodes = {each.metadata.name: each for each in resources if isinstance(each, Node)}
    yield from _pools(pools, blocks)
    yield from _blocks(blocks, pools, nodes)
    yield from _claimants(blocks)
    yield from _nodes(nodes.values(), blocks, pools)
    yield from _references(resources, nodes)


def _pools(pools: Sequence[IPPool], blocks: Sequence[IPAMBlock]) -> Iterator[Problem]:
    for index, pool in enumerate(pools):
        for finding in admission.on_create(pool, pools[:index], blocks):
            yield Problem(subject(pool), str(finding))


def _blocks(blocks: Sequence[IPAMBlock], pools: Sequence[IPPool], nodes: dict[str, Node]) -> Iterator[Problem]:
    last: IPAMBlock | None = None
    for block in sorted(blocks, key=lambda each: ip.order(each.network)):
        name, owner = subject(block), block.spec.owner
        for sentence in integrity.check(block):
            yield Problem(name, sentence.removeprefix(f"block {block.spec.cidr}: "))
        if last is not None and ip.contains(last.network, block.network):
            yield Problem(name, f"lies inside {subject(last)}: each of its addresses is there twice")
        else:
            last = block
        if not any(ip.contains(pool.network, block.network) for pool in pools):
            yield Problem(name, f"{block.spec.cidr} lies in no IPPool; create one around it, or delete its pods")
        if owner is not None and owner.name not in nodes:
            yield Problem(name, f"is owned by node {owner.name}, which does not exist")


def _claimants(blocks: Iterable[IPAMBlock]) -> Iterator[Problem]:
    """One interface with addresses of one family in several blocks."""
    held: dict[tuple[str, str, str, int], list[str]] = defaultdict(list)
    for block in blocks:
        owner = block.spec.owner.name if block.spec.owner else ""
        mine = {
            (owner, slot.container, slot.ifname, block.network.version): str(block.network[ordinal])
            for ordinal, slot in block.spec.allocations.items()
            if slot.freedAt is None and slot.use is not Use.RESERVED and 0 <= ordinal < block.network.num_addresses
        }
        for key, address in mine.items():
            held[key].append(address)
    for (owner, container, ifname, _), addresses in held.items():
        if len(addresses) > 1:
            who = f"container {container}" if container else f"node {owner}"
            yield Problem(f"Node({owner})" if owner else who, f"{who} has {', '.join(addresses)} for {ifname}")


def _nodes(nodes: Iterable[Node], blocks: Sequence[IPAMBlock], pools: Sequence[IPPool]) -> Iterator[Problem]:
    used: dict[str, str] = {}
    kept = dict(_kept_for_tunnels(blocks))
    for node in nodes:
        name = subject(node)
        addresses = [each.ip for each in (node.ipv4, node.ipv6) if each is not None]
        tunnels = [(device, ip.address(address)) for device, address in derived.tunnels(node)]
        for address in map(str, [*addresses, *(tunnel for _, tunnel in tunnels)]):
            if address in used:
                yield Problem(name, f"has {address}, and so has {used[address]}")
            used.setdefault(address, name)
        for device, tunnel in tunnels:
            inside = any(ip.contains(pool.network, tunnel) for pool in pools)
            if inside and kept.get(tunnel) not in ("", node.metadata.name):
                yield Problem(name, f"has the {device} address {tunnel}, which is not allocated to it in any block")


def _kept_for_tunnels(blocks: Iterable[IPAMBlock]) -> Iterator[tuple[ip.Address, str]]:
    """Every tunnel's address with its node, and every reserved one with an empty name: whose it is stands nowhere."""
    for block in blocks:
        owner = block.spec.owner.name if block.spec.owner else ""
        for ordinal, slot in block.spec.allocations.items():
            if slot.use is not Use.WORKLOAD and slot.freedAt is None and 0 <= ordinal < block.network.num_addresses:
                yield block.network[ordinal], owner if slot.use is Use.TUNNEL else ""


def _references(resources: Sequence[Resource], nodes: dict[str, Node]) -> Iterator[Problem]:
    filters = {each.metadata.name for each in resources if isinstance(each, BGPFilter)}
    for resource in resources:
        for finding in admission.missing(resource, filters):
            yield Problem(subject(resource), str(finding))
        if isinstance(resource, BGPPeer) and resource.spec.node and resource.spec.node not in nodes:
            yield Problem(subject(resource), f"spec.node = {resource.spec.node!r}: there is no such Node")
        own = resource.metadata.name.removeprefix("node.")
        if isinstance(resource, BGPConfiguration) and own != resource.metadata.name and own not in nodes:
            yield Problem(subject(resource), f"is for node {own}, which does not exist")
