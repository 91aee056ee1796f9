"""Why a prefix is taken from a peer or not, and told to it or not: the same policy, asked about one route. Pure.

The agent answers from its World, bgpnetctl from one that it makes of the datastore's objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bgpnet.agent import facts, peers, policies
from bgpnet.agent.world import Me, World
from bgpnet.bgp.conf import Neighbour
from bgpnet.bgp.export import Advert, decide
from bgpnet.bgp.imports import Accepted, Ground, Judge, Outcome, Reason, Refusal
from bgpnet.bgp.peering import Peerings
from bgpnet.bgp.policy import Verdict
from bgpnet.bgp.rib import Path
from bgpnet.bgp.secret import Secret, Secrets
from bgpnet.errors import Finding, Invalid
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import Node

READ = (kinds.IPPOOL, kinds.NODE, kinds.BGPCONFIGURATION, kinds.BGPPEER, kinds.BGPFILTER, kinds.IPAMBLOCK)
"""What a World is made of that answers for a node which is not here."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prefix and a peer (an address, or the name of a BGPPeer or Node). The others describe a route that the peer
    would send, where it sends none now; next_hop None: itself, as_path None: only its own AS."""

    prefix: ip.Network
    peer: str
    communities: tuple[str, ...] = ()
    as_path: tuple[int, ...] | None = None
    next_hop: ip.Address | None = None


def question(asked: Mapping[str, object]) -> Question:
    """A question as it comes over a socket; raises Invalid."""
    try:
        as_path, next_hop, communities = asked.get("asPath"), asked.get("nextHop"), asked.get("communities")
        return Question(
            prefix=ip.network(str(asked.get("prefix"))),
            peer=str(asked.get("peer")),
            communities=tuple(map(str, communities)) if isinstance(communities, list) else (),
            as_path=tuple(map(int, as_path)) if isinstance(as_path, list) else None,
            next_hop=ip.address(str(next_hop)) if next_hop else None,
        )
    except (ValueError, TypeError) as problem:
        raise Invalid("Question", [Finding("prefix", str(asked.get("prefix")), str(problem))]) from problem


def explain(world: World, asked: Question) -> dict[str, object]:
    """Both directions, as values to be shown; raises Invalid for a peer that this node has no session with."""
    found = peers.of(world)
    if found is None:
        raise Invalid(
            "Question", [Finding("peer", asked.peer, "the peers of this node are not known yet; wait for it")]
        )
    neighbour = _neighbour(world, found, asked.peer)
    return {
        "node": world.me.node,
        "prefix": str(asked.prefix),
        "peer": _peer(neighbour),
        "import": _import(world, found, neighbour, asked),
        "export": _export(world, found, neighbour, asked.prefix),
    }


def imagined(node: Node, resources: Mapping[Kind, Sequence[Resource]]) -> World:
    """A node as the datastore knows it. Its links are not known, nor what it learned; passwords count as there."""
    if node.ipv4 is None:
        problem = "has no IPv4 address, so it speaks BGP with nobody; start its agent, which writes it"
        raise Invalid(f"Node({node.metadata.name})", [Finding("spec.bgp.ipv4Address", "", problem)])
    world = World(
        me=Me(node.metadata.name, "", node.ipv4, uplink="", uplink_mtu=0, version=""),
        now=0.0,
        clock=0.0,
        resources={kind.plural: {one.metadata.name: one for one in each} for kind, each in resources.items()},
        synced=frozenset(kind.plural for kind in resources),
        adopted=True,
    )
    own = [one for one in resources[kinds.IPAMBLOCK] if isinstance(one, IPAMBlock) and one.spec.owner]
    blocks = {one.network: one for one in own if one.spec.owner and one.spec.owner.name == node.metadata.name}
    return replace(world, blocks=blocks, secrets=_secrets(world))


def _secrets(world: World) -> Secrets:
    refs = [one.spec.password for one in facts.lingering_peers(world)]
    refs += [one.nodeMeshPassword for one in facts.configured(world).values()]
    named = [one.secretKeyRef for one in refs if one is not None]
    return Secrets("", {f"{ref.name}/{ref.key}": Secret("not known here") for ref in named})


def _neighbour(world: World, found: Peerings, name: str) -> Neighbour:
    """The session that is meant; an address goes before the name of a BGPPeer, and that before a Node's."""
    node = facts.nodes(world).get(name)
    at = str(node.ipv4.ip) if node and node.ipv4 else ""
    for text in ({name}, {at}):
        named = [one for one in found.neighbours if str(one.address) in text]
        named = named or [one for one in found.neighbours if one.name in text]
        if len(named) == 1:
            return named[0]
        if named:
            several = ", ".join(str(one.address) for one in named)
            problem = f"names several sessions of node {world.me.node}; write the address of one: {several}"
            raise Invalid("Question", [Finding("peer", name, problem)])
    known = ", ".join(f"{one.address} ({one.name})" for one in found.neighbours) or "none"
    problem = f"is no peer of node {world.me.node}; write the name or the address of one: {known}"
    raise Invalid("Question", [Finding("peer", name, problem)])


def _peer(one: Neighbour) -> dict[str, object]:
    return {
        "address": str(one.address),
        "name": one.name,
        "type": str(one.kind),
        "asNumber": one.peer_as,
        "localASNumber": one.local_as,
        "session": "iBGP" if one.local_as == one.peer_as else "eBGP",
        "inCluster": one.in_cluster,
        "filters": list(one.filters),
    }


def _import(world: World, found: Peerings, neighbour: Neighbour, asked: Question) -> dict[str, object]:
    """The paths that the peer sends, or else the one that it would send."""
    learned = world.table.of(neighbour.address) if world.table is not None else {}
    paths = [path for (prefix, _), path in learned.items() if prefix == asked.prefix]
    described = asked.communities or asked.as_path is not None or asked.next_hop is not None
    supposed = not paths or bool(described)
    ground = policies.ground(world, found)
    judge, origin = Judge(ground), policies.origins(world, found)[neighbour.address]
    judged = [(path, judge.judge(path, origin)) for path in ([_supposed(neighbour, asked)] if supposed else paths)]
    taken = policies.learned(world, found)
    surplus = [one for one in (taken.refused if taken and not supposed else ()) if one.reason is Reason.LIMIT]
    beyond = {(one.peer, one.prefix): one for one in surplus}
    judged = [(path, beyond.get((path.peer, path.prefix), one)) for path, one in judged]
    used = [way.path for way in (taken.chosen.get(asked.prefix, ()) if taken else ())]
    return {
        "learned": not supposed,
        "paths": [_outcome(world, ground, path, one, None if supposed else used) for path, one in judged],
    }


def _supposed(neighbour: Neighbour, asked: Question) -> Path:
    external = neighbour.local_as != neighbour.peer_as
    own = (neighbour.peer_as,) if external else ()
    return Path(
        prefix=asked.prefix,
        next_hop=asked.next_hop or neighbour.address,
        peer=neighbour.address,
        as_path=own if asked.as_path is None else asked.as_path,
        communities=tuple(one for one in asked.communities if one.count(":") == 1),
        large_communities=tuple(one for one in asked.communities if one.count(":") == 2),
        external=external,
    )


def _outcome(
    world: World, ground: Ground, path: Path, outcome: Outcome, used: Sequence[Path] | None
) -> dict[str, object]:
    said: dict[str, object] = {
        "accepted": isinstance(outcome, Accepted),
        "nextHop": str(path.next_hop),
        "asPath": list(path.as_path),
        "communities": [*path.communities, *path.large_communities],
    }
    if isinstance(outcome, Refusal):
        return said | {"reason": str(outcome.reason), "text": outcome.text, "rule": _rule(outcome.verdict)}
    asked = outcome.verdict is not None
    pooled = "it lies in a pool, and no filter's rule is for it" if not asked else f"decided by {outcome.verdict}"
    if isinstance(used, Sequence):
        said["used"] = any(one.peer == path.peer and one.path_id == path.path_id for one in used)
        said["with"] = [str(one.peer) for one in used if one.peer != path.peer]
    way = policies.hop(outcome, world.me.uplink)
    return said | {
        "reason": "filter" if asked else "pool",
        "text": pooled,
        "rule": _rule(outcome.verdict),
        "route": f"{path.prefix} {way}" if way.dev else f"{path.prefix} via {way.via}",
    }


def _export(world: World, found: Peerings, neighbour: Neighbour, prefix: ip.Network) -> dict[str, object]:
    target = next(one for one in policies.targets(world, found) if one.address == neighbour.address)
    decision = decide(policies.offer(world, found, policies.learned(world, found)), target, prefix)
    return {
        "told": decision.advert is not None,
        "reason": str(decision.stage),
        "text": decision.text,
        "rule": _rule(decision.verdict),
        "announcement": _announcement(decision.advert) if decision.advert is not None else None,
    }


def _rule(verdict: Verdict | None) -> dict[str, object] | None:
    if verdict is None:
        return None
    done = verdict.changes
    return {
        "filter": verdict.filter,
        "list": verdict.field,
        "index": verdict.rule,
        "action": "Accept" if verdict.accepted else "Reject",
        "addCommunity": list(done.communities),
        "prependASPath": list(done.prepend),
        "setPriority": done.priority,
    }


def _announcement(advert: Advert) -> dict[str, object]:
    return {
        "nextHop": str(advert.next_hop) if advert.next_hop else "self",
        "asPath": list(advert.as_path),
        "communities": list(advert.communities),
        "localPref": advert.local_pref,
        "med": advert.med,
        "originatorID": advert.originator_id or None,
        "clusterList": list(advert.cluster_list),
    }
