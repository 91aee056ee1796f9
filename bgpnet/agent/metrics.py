"""The agent's status as metrics (exposition.py). Pure.

A series for each peer and reason, never for a prefix or a pod: a cluster's metrics grow with its peerings alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bgpnet.exposition import Sample, family
from bgpnet.exposition import one as _one
from bgpnet.model import instant


def text(status: Mapping[str, Any], dropped: Mapping[str, int] | None = None) -> str:
    """The metrics of what the agent says of itself (agent/status.py), and of what its packet rules dropped."""
    said = "".join(family(name, about, samples) for name, about, samples in _families(status))
    counts = [({"reason": reason}, float(count)) for reason, count in sorted((dropped or {}).items())]
    about = "Packets that the node's packet rules dropped since these were written."
    return said + family("bgpnet_packets_dropped_total", about, counts, "counter") if counts else said


def _families(status: Mapping[str, Any]) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    node = {"node": status["node"], "version": status["version"], "as_number": status["asNumber"]}
    yield "bgpnet_info", "The node and the version of its agent.", [(node, 1)]
    yield "bgpnet_ready", "1: the node's own work is done.", _one(status["ready"])
    yield "bgpnet_datastore_in_sync", "1: the datastore is heard.", _one(status["datastore"] == "in sync")
    yield "bgpnet_speaker_connected", "1: the BGP speaker answers.", _one(status["speaker"] == "connected")
    yield "bgpnet_warnings", "Warnings that bgpnetctl node status shows.", _one(len(status["warnings"]))
    yield "bgpnet_pods", "Pods that are wired.", _one(status["pods"])
    yield "bgpnet_ipam_blocks", "Blocks of this node.", _one(len(status["blocks"]))
    uses = [({"state": use}, sum(block[use] for block in status["blocks"])) for use in USES]
    yield "bgpnet_ipam_addresses", "Addresses in the blocks of this node, by state.", uses
    yield from _of_peers(status["peers"])


USES = ("in_use", "resting", "reserved", "free")


def _of_peers(peers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    named = [({"peer": peer["address"], "name": peer["name"], "type": peer["type"]}, peer) for peer in peers]
    ups = [(label, peer["state"] == "up") for label, peer in named]
    yield "bgpnet_bgp_session_up", "1: the session is established.", ups
    causes = [({**label, "as_number": peer["asNumber"], "cause": peer["cause"]}, 1) for label, peer in named]
    yield "bgpnet_bgp_session_info", "Why the session is as it is.", causes
    since = [(label, instant.seconds(peer["since"])) for label, peer in named if peer["since"]]
    yield "bgpnet_bgp_session_since_seconds", "Unix time since which it is so.", since
    received = [(label, peer["received"]) for label, peer in named]
    yield "bgpnet_bgp_prefixes_received", "Prefixes that the peer announces.", received
    advertised = [(label, peer["advertised"]) for label, peer in named]
    yield "bgpnet_bgp_prefixes_advertised", "Prefixes that the peer is told.", advertised
    refused = [
        ({**label, "reason": reason}, count) for label, peer in named for reason, count in peer["refused"].items()
    ]
    yield "bgpnet_bgp_prefixes_refused", "Prefixes that the peer announces and that are not taken.", refused
