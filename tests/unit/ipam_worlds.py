"""Pictures for `ipam check`, made from a healthy one: two nodes, three blocks, pods, tunnel addresses, words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import structs

from bgpnet import names
from bgpnet.ipamcheck.picture import Holder, Picture, Runtime, Sandbox, Source, Word
from bgpnet.model import instant, ip
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, IPAMBlockSpec, Owner, Use
from bgpnet.model.ipamconfiguration import IPAMConfigurationSpec
from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.node import Identity, Node, NodeBGP, NodeSpec, NodeStatus
from bgpnet.model.resource import Metadata

NOW = 1_800_000_000.0
SINCE = instant.stamp(NOW - 100)


def slot(container: str, sequence: int, pod: str = "", freed: float | None = None) -> Allocation:
    """Somebody's eth0."""
    return Allocation(
        container=container,
        ifname="eth0",
        pod=pod,
        since=SINCE,
        sequence=sequence,
        freedAt=None if freed is None else instant.stamp(freed),
    )


def tunnel(sequence: int = 1, name: str = names.TUNNEL) -> Allocation:
    """A node's own."""
    return Allocation(ifname=name, use=Use.TUNNEL, since=SINCE, sequence=sequence)


def block(cidr: str, owned: str | None, slots: Mapping[int, Allocation], **more: Any) -> IPAMBlock:
    """A sound block."""
    net = ip.network(cidr)
    spec = IPAMBlockSpec(
        cidr=cidr,
        owner=Owner(name=owned, uid=f"uid-{owned}") if owned else None,
        claimedAt=SINCE,
        sequence=1000,
        allocations=dict(slots),
        free=tuple(ordinal for ordinal in range(net.num_addresses) if ordinal not in slots),
    )
    return IPAMBlock(metadata=Metadata(name=names.block(net)), spec=structs.replace(spec, **more))


def pool(name: str, cidr: str, size: int = 26) -> IPPool:
    """A pool."""
    return IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, blockSize=size))


def node(name: str, tunnel_address: str = "", age: float = 5.0, vxlan: str = "") -> Node:
    """A node whose agent spoke so many seconds ago."""
    return Node(
        metadata=Metadata(name=name),
        spec=NodeSpec(
            bgp=NodeBGP(ipv4Address="192.0.2.1/24", ipv4IPIPTunnelAddr=tunnel_address), ipv4VXLANTunnelAddr=vxlan
        ),
        status=NodeStatus(identity=Identity(uuid=f"uid-{name}", heartbeat=instant.stamp(NOW - age))),
    )


def has(address: str, container: str, sequence: int = 0, pod: str = "", reason: str = "") -> Holder:
    """Somebody, as an owner says it."""
    return Holder(address, sequence, container, "eth0", pod, SINCE, reason)


N1 = block("10.0.0.0/26", "n1", {0: tunnel(), 1: slot("c1", 11, "default/a"), 9: slot("c9", 12, freed=NOW - 10)})
N1B = block("10.0.0.64/26", "n1", {})
N2 = block("10.0.0.128/26", "n2", {0: tunnel(2), 5: slot("c5", 21, "default/b")})
AGENT = Word(
    "n1",
    Source.AGENT,
    SINCE,
    blocks={
        "10.0.0.0/26": {0: Holder("10.0.0.0", 1, "", "tunl0"), 1: has("10.0.0.1", "c1", 11, "default/a")},
        "10.0.0.64/26": {},
    },
    pods=(has("10.0.0.1", "c1", 11, "default/a"),),
)
PUBLISHED = Word("n2", Source.PUBLISHED, SINCE)
SANDBOXES = (Sandbox("c1", "default/a", True), Sandbox("host", "kube-system/proxy", True, "192.0.2.1"))

HEALTHY = Picture(
    now=NOW,
    blocks=(N1, N1B, N2),
    pools=(pool("blue", "10.0.0.0/16"),),
    nodes=(node("n1", "10.0.0.0"), node("n2", "10.0.0.128")),
    reservations=(IPReservation(metadata=Metadata(name="r"), spec=IPReservationSpec(reservedCIDRs=("10.0.3.0/24",))),),
    settings=IPAMConfigurationSpec(strictAffinity=True, maxBlocksPerHost=2),
    words={"n1": AGENT, "n2": PUBLISHED},
    runtime=Runtime("n1", SANDBOXES),
)


def with_block(changed: IPAMBlock, *more: IPAMBlock) -> Picture:
    """The healthy one with this block in the place of that of its name, or beside them."""
    blocks = {one.metadata.name: one for one in (*HEALTHY.blocks, changed, *more)}
    return replace(HEALTHY, blocks=tuple(blocks.values()))


def with_word(word: Word) -> Picture:
    """The healthy one with this word of a node."""
    return replace(HEALTHY, words={**HEALTHY.words, word.node: word})


def with_sandboxes(*found: Sandbox) -> Picture:
    """The healthy one with these in its runtime."""
    return replace(HEALTHY, runtime=Runtime("n1", found))


IDLE = BlockState.IDLE
