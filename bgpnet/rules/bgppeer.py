"""What a BGPPeer must obey by itself, and what of it is stored but not acted on yet."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import structs

from bgpnet import names
from bgpnet.errors import Finding
from bgpnet.model import ip
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.rules import common

_PEER = re.compile(r"\[(?P<v6>[^\]]*)\]:(?P<v6_port>[0-9]+)|(?P<v4>[0-9.]+):(?P<v4_port>[0-9]+)", re.ASCII)

EXCLUSIVE = (
    ("node", "nodeSelector", "name the node or select nodes, not both"),
    ("peerIP", "peerSelector", "the selected nodes are the peers; remove one of the two"),
    ("asNumber", "peerSelector", "the selected nodes have AS numbers of their own; remove spec.asNumber"),
    ("peerIP", "localWorkloadSelector", "the selected workloads are the peers; remove one of the two"),
    ("peerSelector", "localWorkloadSelector", "peers are nodes or workloads; remove one of the two"),
    ("keepOriginalNextHop", "nextHopMode", "write nextHopMode: Keep alone; keepOriginalNextHop is its old name"),
)
PEERS = ("peerIP", "peerSelector", "localWorkloadSelector")
COUNT_LIMIT = 2**31 - 1


def peer_address(text: str) -> tuple[ip.Address, int | None] | None:
    """`a.b.c.d`, `a.b.c.d:port`, `v6` or `[v6]:port` as address and port; None for anything else."""
    match = _PEER.fullmatch(text)
    host = (match["v6"] or match["v4"]) if match else text
    port = int((match["v6_port"] or match["v4_port"])[:6]) if match else None
    addr = common.address("", host or "", 6 if match and match["v6"] else None)
    if isinstance(addr, Finding) or (port is not None and not 1 <= port <= 65535):
        return None
    return addr, port


def check(peer: BGPPeer) -> Iterator[Finding]:
    """Every rule of BGPPeer that needs no datastore."""
    spec = peer.spec
    yield from _exclusive(spec)
    yield from _peer(spec)
    if spec.node and not names.is_subdomain(spec.node):
        yield Finding("spec.node", spec.node, "is not the name of a node; write one that `bgpnetctl get nodes` shows")
    yield from common.node_selector("spec.nodeSelector", spec.nodeSelector)
    yield from common.node_selector("spec.peerSelector", spec.peerSelector)
    yield from common.label_selector("spec.localWorkloadSelector", spec.localWorkloadSelector)
    yield from common.as_number("spec.asNumber", spec.asNumber)
    yield from common.as_number("spec.localASNumber", spec.localASNumber)
    yield from common.password("spec.password", spec.password)
    yield from common.duration("spec.maxRestartTime", spec.maxRestartTime, common.RESTART_LIMIT)
    yield from common.duration("spec.keepaliveTime", spec.keepaliveTime, common.HOLD_LIMIT // 3, 1)
    yield from common.between("spec.numAllowedLocalASNumbers", spec.numAllowedLocalASNumbers, 0, COUNT_LIMIT)
    yield from common.between("spec.ttlSecurity", spec.ttlSecurity, 0, 255)
    for index, name in enumerate(spec.filters):
        if not names.is_subdomain(name):
            yield Finding(f"spec.filters[{index}]", name, "is not the name of a BGPFilter; write the name of one")


def _exclusive(spec: BGPPeerSpec) -> Iterator[Finding]:
    for one, other, remedy in EXCLUSIVE:
        value = getattr(spec, one)
        if value and getattr(spec, other):
            yield Finding(f"spec.{one}", value, f"cannot go with spec.{other}: {remedy}")
    if not any(getattr(spec, name) for name in PEERS):
        yield Finding(
            "spec.peerIP", None, "is missing: set peerIP, peerSelector or localWorkloadSelector to say who the peer is"
        )
    if spec.localWorkloadSelector and not spec.asNumber:
        yield Finding(
            "spec.asNumber", spec.asNumber, "is required with spec.localWorkloadSelector; write the workloads' AS"
        )


def _peer(spec: BGPPeerSpec) -> Iterator[Finding]:
    parsed = peer_address(spec.peerIP)
    if spec.peerIP and parsed is None:
        forms = "192.0.2.1, 192.0.2.1:1179, 2001:db8::1 or [2001:db8::1]:1179"
        yield Finding("spec.peerIP", spec.peerIP, f"is not a peer's address; write it like {forms}")
    if not spec.reachableBy:
        return
    gateway = common.address("spec.reachableBy", spec.reachableBy)
    if isinstance(gateway, Finding):
        yield gateway
    elif not spec.peerIP:
        yield Finding(
            "spec.reachableBy", spec.reachableBy, "is the way to spec.peerIP, which is empty; set it or remove this"
        )
    elif parsed is not None and parsed[0].version != gateway.version:
        problem = f"must be of the family of spec.peerIP; write an IPv{parsed[0].version} address"
        yield Finding("spec.reachableBy", spec.reachableBy, problem)


def not_built(peer: BGPPeer) -> Iterator[tuple[str, object, str]]:
    """(path, value, what happens instead) of each value that is kept but not acted on."""
    selected, parsed = peer.spec.localWorkloadSelector, peer_address(peer.spec.peerIP)
    if selected:
        yield "spec.localWorkloadSelector", selected, "no session is made from it yet"
    if parsed is not None and parsed[0].version == 6:
        yield "spec.peerIP", peer.spec.peerIP, "the nodes speak BGP over IPv4 only, so no session is made from it"


def normalise(peer: BGPPeer) -> BGPPeer:
    """AS 0 means "not said" here, as in v3."""
    spec = structs.replace(
        peer.spec, asNumber=peer.spec.asNumber or None, localASNumber=peer.spec.localASNumber or None
    )
    return structs.replace(peer, spec=spec)
