"""World -> everything that should exist: kernel state, announcements, speaker configuration, records. Pure.

The whole wish, from scratch, every time. What is not known yet is left out, and what is left out is not swept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import structs

from bgpnet import names
from bgpnet.agent import choose, facts, leaks, orchestrated, packets, peers, policies, releases, tunnels
from bgpnet.agent.world import Phase, Session, World
from bgpnet.bgp.conf import RESTART_TIME, SpeakerConf
from bgpnet.bgp.export import Advert, Offer, Target, exports
from bgpnet.bgp.imports import Imported, Refusal
from bgpnet.bgp.peering import Peerings
from bgpnet.bgp.rib import Table
from bgpnet.kernel.packets import PacketRules
from bgpnet.kernel.state import Hop, KernelState, NeighbourKey, Owner, PodLink, Route
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.kinds import Resource
from bgpnet.model.node import Identity, Node, NodeBGP, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.pieces import Pause, never

HEARTBEAT = 20.0
"""Seconds between two heartbeats of a Node; a name is free after three that did not come."""

LOOSE, STRICT = "2", "1"


@dataclass(frozen=True, slots=True)
class Plan:
    """The wish. None: not known yet, leave it as it is.

    hold: destinations and pod links that workers are busy with, and destinations whose way has to be found out yet;
    nobody else touches them now.
    refused: learned paths that are not taken, each with its reason, for the status. peerings: None as for the others.
    unsettled: peers that are not told of everything yet: some of what was reflected to them may come back. held: where
    nothing is withdrawn yet.
    """

    kernel: KernelState
    hold: frozenset[ip.Network] = frozenset()
    hold_links: frozenset[str] = frozenset()
    announcements: Mapping[ip.Address, frozenset[Advert]] | None = None
    speaker: SpeakerConf | None = None
    records: tuple[Resource, ...] = ()
    refused: tuple[Refusal, ...] = ()
    peerings: Peerings | None = None
    unsettled: frozenset[ip.Address] = frozenset()
    held: frozenset[ip.Network] = frozenset()
    packets: PacketRules | None = None


def plan(world: World, pause: Pause = never) -> Plan:
    """Everything that should exist in this World. pause: called between pieces of what takes long."""
    found = peers.of(world)
    taken = policies.learned(world, found, pause)
    learned = policies.routes(taken, world.me.uplink, pause) if taken is not None else {}
    ways = peers.routes(world, found)
    routes: dict[Owner, Mapping[ip.Network, Route]] = {Owner.LOCAL: local_routes(world)}
    if taken is not None or ways:
        routes[Owner.LEARNED] = {**learned, **ways} if ways else learned
    busy = [pod for pod in world.pods.values() if pod.phase in (Phase.WIRING, Phase.LEAVING, Phase.CUT)]
    return Plan(
        kernel=KernelState(
            tunnels=tunnels.devices(world),
            routes=routes,
            neighbours={**neighbours(world), **tunnels.neighbours(world)},
            fdb=tunnels.fdb(world),
            sysctls=sysctls(world),
            pods=pod_links(world),
            sweep=swept(world, found),
            sweep_pods=world.adopted,
            sweep_ends=tunnels.are_known(world),
        ),
        hold=frozenset(ip.host(pod.address) for pod in busy) | tunnels.waiting(taken),
        hold_links=frozenset(pod.link for pod in busy),
        announcements=announcements(world, found, taken),
        speaker=peers.speaker(world, found),
        records=records(world),
        refused=taken.refused if taken is not None else (),
        peerings=found,
        unsettled=unsettled(world, found) | orchestrated.unsettled(world, found),
        held=orchestrated.held(world),
        packets=packets.rules(world),
    )


def swept(world: World, found: Peerings | None) -> frozenset[Owner]:
    """Whose tables are known in full: only there may something be dropped for being absent."""
    known = set()
    if world.adopted:
        known.add(Owner.LOCAL)
    if learned_is_complete(world, found):
        known.add(Owner.LEARNED)
    return frozenset(known)


def learned_is_complete(world: World, found: Peerings | None) -> bool:
    """Every peer that should speak has once ended its table (End-of-RIB), or has had its time.

    Once: what a lost peer taught us is in our table, stale, for as long as it is waited for, and is wanted.
    """
    if world.table is None or found is None or not world.is_synced(kinds.IPPOOL):
        return False
    if not policies.filters_known(world, found):
        return False
    return all(_has_spoken(world, world.sessions.get(peer.address)) for peer in found.neighbours)


def _has_spoken(world: World, session: Session | None) -> bool:
    if session is None:
        return world.clock >= world.heard + RESTART_TIME
    return session.known or (session.deadline is not None and world.clock >= session.deadline)


def local_routes(world: World) -> dict[ip.Network, Route]:
    """A blackhole for each own block, so that free addresses never loop, and a /32 for each pod.

    A block of one address needs none: it is the pod's route or nothing.
    """
    routes = {net: Route(net) for net in world.blocks if net.prefixlen < net.max_prefixlen}
    for pod in world.pods.values():
        if pod.phase is Phase.READY:
            dst = ip.host(pod.address)
            routes[dst] = Route(dst, (Hop(pod.link),))
    return routes


def neighbours(world: World) -> dict[NeighbourKey, str]:
    """The pods' MACs, so that nobody has to ask by ARP."""
    return {NeighbourKey(pod.link, pod.address): pod.mac for pod in world.pods.values() if pod.phase is Phase.READY}


def sysctls(world: World) -> dict[str, str]:
    """Forwarding, and loose reverse path filters where packets come back another way than they went.

    A pod's packet to a remote node goes out bare and its answer comes back through the tunnel; the kernel takes the
    greater of `all` and the link's own value (Documentation/networking/ip-sysctl).
    """
    wanted = {"net/ipv4/ip_forward": "1", f"net/ipv4/conf/{world.me.uplink}/rp_filter": LOOSE}
    for name in tunnels.devices(world):
        wanted[f"net/ipv4/conf/{name}/rp_filter"] = LOOSE
    return wanted


def pod_links(world: World) -> dict[str, PodLink]:
    """The links to keep; whatever else has our alias is half-made or left over.

    Of several sandboxes of a pod, whose link can only have one name, it is that of the one that has not lost it.
    """
    return {
        pod.link: PodLink(pod.link, names.Alias(pod.attachment.container, pod.attachment.ifname, pod.since), pod.mtu)
        for pod in sorted(world.pods.values(), key=lambda pod: pod.phase not in (Phase.LOST, Phase.LEAVING, Phase.CUT))
    }


def announcements(
    world: World, found: Peerings | None, taken: Imported | None = None
) -> Mapping[ip.Address, frozenset[Advert]] | None:
    """What each peer is told, by policy; None until we know what is ours and what may be told."""
    if not world.adopted or found is None or not world.is_synced(kinds.IPPOOL):
        return None
    if not policies.filters_known(world, found):
        return None
    passes_on = policies.passes_on(found)
    if world.table is None or (passes_on and taken is None):
        return None if passes_on else _told(Table(), policies.offer(world, found, None), policies.targets(world, found))
    offer = policies.offer(world, found, taken if passes_on else None)
    return _told(world.table, offer, policies.targets(world, found))


def _told(table: Table, offer: Offer, targets: list[Target]) -> Mapping[ip.Address, frozenset[Advert]]:
    """The same answer to the same question: every pod is a reason to plan, and changes nothing of this."""
    before = table.memo.get(__name__)
    if isinstance(before, _Exports) and (before.offer, before.targets) == (offer, targets):
        return before.told
    told = exports(offer, targets)
    table.memo[__name__] = _Exports(offer, targets, told)
    return told


@dataclass(frozen=True, slots=True)
class _Exports:
    offer: Offer
    targets: list[Target]
    told: Mapping[ip.Address, frozenset[Advert]]


def unsettled(world: World, found: Peerings | None) -> frozenset[ip.Address]:
    """The peers of a route reflector that must not be told yet that something is gone, nor that this is all: others,
    whose routes it reflects to them, have not ended their tables since it was started (RFC 4724, 4.1)."""
    if found is None or not found.cluster_id:
        return frozenset()
    clients = [one.address for one in found.neighbours if one.client]
    silent = {one for one in clients if not _has_spoken(world, world.sessions.get(one))}
    return frozenset(one.address for one in found.neighbours if silent - {one.address})


def records(world: World) -> tuple[Resource, ...]:
    """Our own objects as they should stand in the datastore, where they do not; each at the revision last heard."""
    wanted: list[Resource] = []
    if world.is_synced(kinds.NODE) and (node := _own_node(world)) is not None:
        wanted.append(node)
    if world.adopted:
        stored = world.of_kind(kinds.IPAMBLOCK)
        for block in world.blocks.values():
            now = stored.get(block.metadata.name)
            if choose.is_left_alone(world, block):
                continue
            if not isinstance(now, IPAMBlock) or now.spec != block.spec:
                metadata = now.metadata if now else Metadata(name=block.metadata.name)
                wanted.append(IPAMBlock(metadata=metadata, spec=block.spec))
    wanted += releases.records(world)  # after the blocks: who reads `Released` finds it so
    return tuple(wanted)


def _own_node(world: World) -> Node | None:
    """Our Node where it is not as it should be: people's fields kept, the address, tunnel and heartbeat ours."""
    stored = facts.nodes(world).get(world.me.node)
    before = orchestrated.recorded(world, stored or Node(metadata=Metadata(name=world.me.node)))
    tunnel = facts.tunnel_address(world)
    bgp = before.spec.bgp or NodeBGP()
    bgp = structs.replace(
        bgp,
        ipv4Address=str(world.me.address),
        asNumber=world.me.as_number or bgp.asNumber,
        ipv4IPIPTunnelAddr=str(tunnel) if tunnel else bgp.ipv4IPIPTunnelAddr if not world.adopted else "",
    )
    identity = before.status.identity if before.status else None
    ours = identity is not None and identity.uuid == world.me.uuid
    vxlan, mac = tunnels.published(world, before.spec)
    spec = structs.replace(before.spec, bgp=bgp, ipv4VXLANTunnelAddr=vxlan, vxlanTunnelMACAddr=mac)
    fresh = identity is not None and ours and 0 <= facts.silence(world, identity) < HEARTBEAT
    told = world.watch.published or (before.status.ipam if before.status else None)
    said = leaks.same(told, before.status.ipam if before.status else None)
    written = before.status.bgp if before.status else None
    speaks = world.watch.sessions or written
    said = said and (
        speaks is None or (written is not None and (written.sessions, written.basis) == (speaks.sessions, speaks.basis))
    )
    described = stored is not None and (before.metadata, spec) == (stored.metadata, stored.spec)
    if described and fresh and said:
        return None
    alive = identity if fresh else Identity(uuid=world.me.uuid, heartbeat=stamp(world.now))
    status = structs.replace(before.status or NodeStatus(), identity=alive, ipam=told, bgp=speaks)
    return Node(metadata=before.metadata, spec=spec, status=status)
