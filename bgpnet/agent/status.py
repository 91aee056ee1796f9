"""What the agent says of itself when asked: one JSON object, made from the World. Pure."""

from __future__ import annotations

import json

from bgpnet import ipam, names
from bgpnet.agent import choose, explain, facts, ipamview, leaks, orchestrated, packets, peers, policies
from bgpnet.agent.plan import Plan
from bgpnet.agent.world import WAITING, Phase, Session, World
from bgpnet.bgp import causes
from bgpnet.bgp.conf import Neighbour
from bgpnet.bgp.imports import QUIET, Reason, counts
from bgpnet.errors import Invalid
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp

SHOWN = 5
"""How many pods a warning names before it only counts the others."""
WARNINGS = 100
"""How many warnings a status carries before it only counts the others."""

PATIENCE = 10.0
"""Seconds without any sign of a peer after which that is said; each attempt to connect takes longer to fail."""

NEEDED = (
    kinds.IPPOOL,
    kinds.NODE,
    kinds.BGPCONFIGURATION,
    kinds.BGPFILTER,
    kinds.BGPPEER,
    kinds.IPAMCONFIGURATION,
    kinds.IPRESERVATION,
    kinds.IPAMBLOCK,
    kinds.RELEASEREQUEST,
)


def answer(world: World, plan: Plan, question: dict[str, object]) -> tuple[int, bytes]:
    """Exit status and body for a question; an unknown one is refused with what is known."""
    if question.get("ask") == "status":
        return 0, json.dumps(status(world, plan)).encode()
    if question.get("ask") == "ipam":
        return 0, json.dumps(ipamview.view(world)).encode()
    if question.get("ask") == "explain":
        try:
            return 0, json.dumps(explain.explain(world, explain.question(question))).encode()
        except Invalid as refusal:
            return 1, str(refusal).encode()
    return 1, f"ask = {question.get('ask')!r}: this agent answers to 'status', 'ipam' and 'explain'".encode()


def status(world: World, plan: Plan) -> dict[str, object]:
    """The status object; its keys are what `bgpnetctl node status` prints."""
    reasons = not_ready(world)
    tunnel, vxlan = (facts.tunnel_address(world, name) for name in names.TUNNELS)
    return {
        "node": world.me.node,
        "version": world.me.version,
        "ready": not reasons,
        "reasons": reasons,
        "address": str(world.me.address),
        "asNumber": facts.own_as(world),
        "tunnel": str(tunnel) if tunnel else None,
        "vxlan": str(vxlan) if vxlan else None,
        "blocks": _blocks(world),
        "pods": sum(pod.phase is Phase.READY for pod in world.pods.values()),
        "peers": _peers(world, plan),
        "warnings": _warnings(world, plan),
        "refused": _refused(plan),
        "speaker": f"away: {world.speaker_away}" if world.speaker_away else "connected",
        "datastore": f"away: {world.store_away}" if world.store_away else _sync(world),
    }


def not_ready(world: World) -> list[str]:
    """Why this node's own work is not done; peers are reported beside it and never make a node unready."""
    reasons = []
    missing = [kind.plural for kind in NEEDED if not world.is_synced(kind)]
    if missing and not world.blocks:
        reasons.append(f"the datastore has not been heard yet: {', '.join(missing)} missing")
    if world.is_synced(kinds.IPPOOL) and not facts.pools(world):
        reasons.append(choose.NO_POOL)
    elif unserved := choose.unserved(world):
        reasons.append(f"pods cannot be added: {unserved}")
    if world.unjournalled:
        reasons.append(f"pods cannot be added: {world.unjournalled}")
    if world.no_conflist:
        reasons.append(f"runtimes know of no network: {world.no_conflist}")
    for name in facts.tunnels_used(world) if world.adopted else ():
        if facts.tunnel_address(world, name) is None:
            reasons.append(f"{name} has no address yet{': ' + world.no_address if world.no_address else ''}")
    return reasons


def _sync(world: World) -> str:
    missing = [kind.plural for kind in NEEDED if not world.is_synced(kind)]
    return f"waiting for {', '.join(missing)}" if missing else "in sync"


def _blocks(world: World) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for net in sorted(world.blocks, key=ip.order):
        kept = choose.reserved(world, world.blocks[net])
        usage = ipam.usage(world.blocks[net], world.now, choose.rest(world), kept)
        rows.append(
            {
                "cidr": str(net),
                "in_use": usage.in_use,
                "resting": usage.resting,
                "reserved": usage.reserved,
                "free": usage.free,
                "state": str(world.blocks[net].spec.state),
            }
        )
    return rows


def _peers(world: World, plan: Plan) -> list[dict[str, object]]:
    received: dict[ip.Address, int] = {}
    for path in world.table.paths() if world.table is not None else ():
        received[path.peer] = received.get(path.peer, 0) + 1
    refused = counts(plan.refused)
    rows: list[dict[str, object]] = []
    for peer in plan.peerings.neighbours if plan.peerings else ():
        session = world.sessions.get(peer.address)
        up = session is not None and session.up and not world.speaker_away
        info = session_info(world, session, peer)
        rows.append(
            {
                "address": str(peer.address),
                "type": str(peer.kind),
                "name": peer.name,
                "asNumber": peer.peer_as,
                "state": "up" if up else "start",
                "since": stamp(session.since) if session else "",
                "info": info,
                "cause": str(causes.cause(info)),
                "received": received.get(peer.address, 0),
                "refused": {str(reason): count for reason, count in refused.get(peer.address, {}).items()},
                "advertised": len((plan.announcements or {}).get(peer.address, ())) if up else 0,
            }
        )
    return rows


def session_info(world: World, session: Session | None, peer: Neighbour) -> str:
    """What a session is doing, or why it is not up."""
    if world.speaker_away:
        return causes.AWAY
    if session is not None and session.info not in ("Idle", WAITING):
        return session.info
    if peer.passive:
        return "Passive"
    silent = world.clock - world.heard if session is None else world.now - session.since
    return causes.NO_ANSWER if silent >= PATIENCE else "Connect"


def _refused(plan: Plan) -> list[dict[str, str]]:
    """The learned paths that are not taken; the peers' rows count them all."""
    shown = plan.refused[:WARNINGS]
    return [
        {"peer": str(one.peer), "prefix": str(one.prefix), "reason": str(one.reason), "text": one.text} for one in shown
    ]


def _outside(world: World) -> list[str]:
    """That own pods are in no pool: no peer takes a route to them, so nobody beyond this node reaches them."""
    pools = [pool.network for pool in facts.pools(world).values()]
    if not pools or not world.is_synced(kinds.IPPOOL):
        return []
    lost = [pod for pod in world.pods.values() if not any(ip.contains(pool, pod.address) for pool in pools)]
    if not lost:
        return []
    shown = ", ".join(str(pod.address) for pod in lost[:SHOWN])
    more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    return [
        f"pods of this node have addresses outside every IPPool, to which other nodes take no routes: {shown}{more}; "
        "create their pool again with bgpnetctl create -f pool.yaml, or delete the pods so that they start anew"
    ]


def _stuck(world: World) -> list[str]:
    """That a tunnel's address lies where it should not, and why it cannot move."""
    found = []
    for name in names.TUNNELS:
        address = facts.tunnel_address(world, name)
        block = choose.own(world, address) if address else None
        if block is None or not world.no_address or not world.is_synced(kinds.IPPOOL):
            continue
        if choose.is_unwanted(world, block.network):
            told = f"{name} has {address}, whose pool does not serve this node any more, and gets no other"
            found.append(f"{told}: {world.no_address}")
    return found


def _surplus(world: World, plan: Plan) -> list[str]:
    """One sentence for each peer that announces too much, instead of one for each prefix."""
    limit = world.me.prefix_limit
    return [
        f"peer {peer} announces {by_reason[Reason.LIMIT]} prefixes more than the {limit} that are taken of a peer: "
        "have it announce fewer, or set prefix_limit in the agent's settings"
        for peer, by_reason in counts(plan.refused).items()
        if Reason.LIMIT in by_reason
    ]


def _warnings(world: World, plan: Plan) -> list[str]:
    replaced = [world.replaced] if world.replaced else []
    broken = [
        f"{plural} {name} in the datastore cannot be read: delete it and create it again"
        for plural, names in world.broken.items()
        for name in names
    ]
    own = [
        *replaced,
        *([facts.homeless(world.me)] if world.homeless else []),
        *leaks.alarms(world),
        *_outside(world),
        *_stuck(world),
        *peers.warnings(world, plan.peerings),
        *policies.overload(world, plan.peerings, policies.learned(world, plan.peerings)),
        *orchestrated.warnings(world),
        *world.conflist,
        *packets.warnings(world),
    ]
    loud = [one.text for one in plan.refused if one.reason not in QUIET and one.reason is not Reason.LIMIT]
    loud = [*_surplus(world, plan), *loud]
    listed = [*own, *broken, *world.refusals, *loud]
    hidden = len(listed) - WARNINGS
    return [*listed[:WARNINGS], f"and {hidden} more"] if hidden > 0 else listed
