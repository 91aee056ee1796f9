"""Whom this node speaks BGP with, from the World; and how its speaker is set. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from bgpnet.agent import facts
from bgpnet.agent.same import Same
from bgpnet.agent.world import Me, Session, World
from bgpnet.bgp.conf import SpeakerConf
from bgpnet.bgp.member import Member, members
from bgpnet.bgp.peering import Net, Peerings, needs_secrets, peerings, references
from bgpnet.bgp.secret import Secret, Secrets, is_local
from bgpnet.kernel.state import Hop, Route
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BindMode, LogSeverity
from bgpnet.model.kinds import Resource
from bgpnet.model.resource import SecretKeyRef

KINDS = (kinds.NODE, kinds.BGPCONFIGURATION, kinds.BGPPEER)
"""What the sessions are made from."""

LOG_LEVELS = {
    LogSeverity.DEBUG: "DEBUG",
    LogSeverity.INFO: "INFO",
    LogSeverity.WARNING: "WARNING",
    LogSeverity.ERROR: "ERROR",
    LogSeverity.FATAL: "CRITICAL",
}
"""ExaBGP's own."""


def of(world: World) -> Peerings | None:
    """The sessions; None while it is not known which they are, or with which password.

    Those that the speaker does not have yet wait for their passwords alone, and no other session waits for them: a peer
    whose Secret cannot be read must not keep a node from what all others tell.
    """
    if not world.is_synced(*KINDS):
        return None
    heard = tuple(Same(world.of_kind(kind)) for kind in KINDS)
    known = _of(world.me, heard, Same(world.departed), Same(world.secrets))
    if known is not None or world.secrets is None or world.speaker_away:
        return known
    return _meanwhile(world.me, heard, Same(world.departed), Same(world.secrets), Same(world.sessions))


def secrets_wanted(world: World) -> frozenset[str]:
    """The Kubernetes Secrets that this node's sessions refer to and that are in no file, by name."""
    if world.kubernetes is None or not world.is_synced(*KINDS):
        return frozenset()
    heard = tuple(Same(world.of_kind(kind)) for kind in KINDS)
    return _wanted(world.me, heard, Same(world.departed), Same(world.secrets))


_Heard = tuple[Same[Mapping[str, Resource]], ...]
_Departed = Same[Mapping[str, Mapping[str, tuple[Resource, float]]]]


@lru_cache(maxsize=4)
def _of(me: Me, heard: _Heard, departed: _Departed, secrets: Same[Secrets | None]) -> Peerings | None:
    """Computed when something of this changed, not for every pod."""
    net = _net(me, heard, departed, secrets)
    if secrets.value is None and needs_secrets(net.peers, net.configured):
        return None
    return None if _unheard(net) else peerings(net)


@lru_cache(maxsize=1)
def _meanwhile(
    me: Me,
    heard: _Heard,
    departed: _Departed,
    secrets: Same[Secrets | None],
    sessions: Same[Mapping[ip.Address, Session]],
) -> Peerings | None:
    """The sessions without those whose Secrets were not heard of; None where the speaker has one of these."""
    net = _net(me, heard, departed, secrets)
    unheard, known = _unheard(net), net.secrets
    supposed = {f"{ref.name}/{ref.key}": Secret(_SUPPOSED) for ref in unheard}
    names = {ref.name: "" for ref in unheard}
    all_heard = replace(known, found={**known.found, **supposed}, heard={**known.heard, **names})
    with_all = peerings(replace(net, secrets=all_heard)).neighbours
    if any(one.password == _SUPPOSED and one.address in sessions.value for one in with_all):
        return None
    why = {name: f"Secret {known.namespace}/{name} has not been heard of yet" for name in names}
    return peerings(replace(net, secrets=replace(known, heard={**known.heard, **why})))


_SUPPOSED = "\0"
"""A password that none is."""


def _unheard(net: Net) -> list[SecretKeyRef]:
    """The passwords that sessions refer to and of which it is not known whether they are there."""
    return [ref for ref in references(net) if ref.name not in net.secrets.heard and not is_local(ref, net.secrets)]


@lru_cache(maxsize=4)
def _wanted(me: Me, heard: _Heard, departed: _Departed, secrets: Same[Secrets | None]) -> frozenset[str]:
    net = _net(me, heard, departed, secrets)
    if secrets.value is None:
        return frozenset()
    return frozenset(ref.name for ref in references(net) if not is_local(ref, net.secrets))


def _net(me: Me, heard: _Heard, departed: _Departed, secrets: Same[Secrets | None]) -> Net:
    known = {kind.plural: one.value for kind, one in zip(KINDS, heard, strict=True)}
    world = World(me=me, now=0, clock=0, resources=known, departed=departed.value)
    configured, listed = facts.configured(world), facts.lingering_peers(world)
    others = members(facts.lingering_nodes(world), configured)
    return Net(_me(world), others, configured, listed, secrets.value or Secrets(""))


def _me(world: World) -> Member:
    node = facts.nodes(world).get(world.me.node)
    return Member(
        name=world.me.node,
        address=world.me.address.ip,
        as_number=facts.own_as(world),
        port=facts.listen_port(world),
        labels=facts.labels(world),
        cluster=node.spec.bgp.routeReflectorClusterID if node and node.spec.bgp else "",
    )


def speaker(world: World, found: Peerings | None) -> SpeakerConf | None:
    """The speaker's configuration; None until the sessions are known, or known again."""
    if world.replaced or found is None:
        return None
    chosen = any(one.local_address is None for one in found.neighbours)
    severity = facts.setting(world, "logSeverityScreen")
    return SpeakerConf(
        router_id=world.me.address.ip,
        local_address=world.me.address.ip,
        listen_port=facts.listen_port(world),
        neighbours=found.neighbours,
        anywhere=chosen and facts.setting(world, "bindMode") is not BindMode.NODE_IP,
        log_level=LOG_LEVELS.get(severity, "WARNING") if isinstance(severity, LogSeverity) else "WARNING",
    )


def routes(world: World, found: Peerings | None) -> dict[ip.Network, Route]:
    """The way to peers that are reached by another machine of this node's subnet (`reachableBy`)."""
    return {
        ip.host(peer): Route(ip.host(peer), (Hop(link, gateway),))
        for peer, gateway in (found.gateways if found else {}).items()
        if (link := facts.out(world, gateway))
    }


def warnings(world: World, found: Peerings | None) -> list[str]:
    """What is wrong with the peerings, a sentence each."""
    if found is None:
        return []
    nets = " and ".join(map(str, dict.fromkeys([world.me.address.network, *facts.near(world)])))
    unreachable = [
        f"peer {peer}: spec.reachableBy = {gateway} is outside {nets}, so no route is made; "
        "write the address of a gateway in the node's subnet"
        for peer, gateway in found.gateways.items()
        if not facts.out(world, gateway)
    ]
    return [*found.warnings, *unreachable]
