"""From what the sessions of all nodes are made, as one short word: who says the same word has heard the same. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from bgpnet.model.bgpconfiguration import BGPConfiguration
from bgpnet.model.bgppeer import BGPPeer
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Node

_encode = msgspec.json.Encoder(order="sorted").encode


def basis(resources: Iterable[Resource]) -> str:
    """The word for these Nodes, BGPPeers and BGPConfigurations; other kinds do not count, nor does any status."""
    said = sorted(
        part
        for one in resources
        if isinstance(one, Node | BGPPeer | BGPConfiguration)
        for part in [_encode((type(one).__name__, one.metadata.name, _labels(one), _spec(one)))]
    )
    return sha256(b"\n".join(said)).hexdigest()[:12]


def _labels(one: Node | BGPPeer | BGPConfiguration) -> dict[str, str]:
    return dict(one.metadata.labels) if isinstance(one, Node) else {}


def _spec(one: Node | BGPPeer | BGPConfiguration) -> object:
    """Of a Node, what makes sessions: its tunnel's address comes and goes."""
    if not isinstance(one, Node):
        return one.spec
    bgp = one.spec.bgp
    return (bgp.ipv4Address, bgp.asNumber, bgp.routeReflectorClusterID) if bgp is not None else None
