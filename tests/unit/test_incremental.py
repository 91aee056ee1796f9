"""Whatever happens in whatever order: what was worked out step by step is what would be worked out from scratch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import worlds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs
from worlds import OTHER, PEER, block, ended, found, goodbye, later, lost, machine, node, pool, run, state, synced, up

from bgpnet.agent import events, peers, policies
from bgpnet.agent.apply import apply, differences, follow
from bgpnet.agent.plan import Plan, plan
from bgpnet.agent.world import World
from bgpnet.bgp.lines import PeerUp
from bgpnet.bgp.rib import Path, Table, Update
from bgpnet.kernel.state import Owner
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, CidrBlock
from bgpnet.model.bgpfilter import Action, BGPFilter, BGPFilterSpec, FilterRule, MatchOperator, RouteSource
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.ippool import Encap
from bgpnet.model.node import NodeBGP
from bgpnet.model.resource import Metadata

TORS = tuple(ip.address(f"192.0.2.{number}") for number in (201, 202))
PEERS = (PEER, OTHER, *TORS)
MANY = [f"10.244.{number}.0/26" for number in range(10, 60)]
ALONE = {peer: f"10.244.{number}.0/26" for number, peer in enumerate(PEERS, 100)}
"""What nobody else says."""
FEW = ["alone", "alone", *MANY[:2], worlds.BLOCK, "10.244.9.0/26", "198.51.100.0/24", "10.96.0.0/12", "0.0.0.0/0"]

EVERYTHING = FilterRule(action=Action.ACCEPT)
RULES: list[dict[str, tuple[FilterRule, ...]]] = [
    {},
    {"importV4": (EVERYTHING,)},
    {"importV4": (FilterRule(action=Action.REJECT, cidr="10.244.10.0/24", matchOperator=MatchOperator.IN),)},
    {"exportV4": (FilterRule(action=Action.ACCEPT, source=RouteSource.REMOTE_PEERS),)},
]
TUNNELLED = pool("far", "10.245.0.0/16", Encap.ALWAYS)
"""There is always a tunnel, so that no route is refused for want of it."""
POOLS = [
    [TUNNELLED, pool()],
    [TUNNELLED, pool(mode=Encap.ALWAYS)],
    [TUNNELLED, pool(disabled=True, disableBGPExport=True)],
    [TUNNELLED, pool(), pool("narrow", "10.244.10.0/24", Encap.ALWAYS)],
]

Step = tuple[str, ip.Address, str, int]
"""What happens, to which peer and prefix, and one of several ways in which it may."""

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["say", "say", "say", "say", "say", "up", "end", "lost", "bye", "later", "rules", "pools", "node", "limit"]
        ),
        st.sampled_from(PEERS),
        st.sampled_from(FEW),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=4,
)
rounds = st.lists(st.tuples(steps, st.sampled_from(["", "plan", "taken"])), min_size=1, max_size=8)
"""What happens between two plans that are carried out; and what somebody looks at meanwhile, after each step."""


def path(peer: ip.Address, prefix: str, med: int = 0) -> Path:
    external = peer in TORS
    return Path(
        prefix=ip.network(prefix),
        next_hop=peer,
        peer=peer,
        med=med,
        as_path=(65001,) if external else (),
        external=external,
    )


def upped(peer: ip.Address) -> PeerUp:
    return replace(up(peer), asn=65001, external=True) if peer in TORS else up(peer)


def cluster(reflecting: bool) -> World:
    """A node with two others and two switches, all of which have said much."""
    named = [
        BGPPeer(metadata=Metadata(name=f"tor{at}"), spec=BGPPeerSpec(peerIP=str(one), asNumber=65001, filters=("f",)))
        for at, one in enumerate(TORS)
    ]
    others = [node("node2", "192.0.2.2/24"), node("node3", "192.0.2.3/24")]
    spec = BGPConfigurationSpec(serviceClusterIPs=(CidrBlock(cidr="10.96.0.0/12"),))
    made = run(
        synced(*POOLS[0], blocks=[block()], nodes=others),
        events.Listed(kinds.BGPCONFIGURATION, (BGPConfiguration(metadata=Metadata(name="default"), spec=spec),)),
        events.Listed(kinds.BGPFILTER, (rules(0),)),
        events.Listed(
            kinds.BGPPEER, (*named, BGPPeer(metadata=Metadata(name="all"), spec=BGPPeerSpec(peerSelector="all()")))
        ),
    )
    if reflecting:
        mine = made.of_kind(kinds.NODE)["node1"]
        bgp = NodeBGP(ipv4Address="192.0.2.1/24", routeReflectorClusterID="244.0.0.1")
        spec_of: Any = structs.replace(mine.spec, bgp=bgp)
        made = run(made, events.Changed(kinds.NODE, structs.replace(mine, spec=spec_of)))
    made = run(made, found(*(state(peer, up=False) for peer in PEERS)))
    for peer in PEERS:
        made = run(made, upped(peer), Update(peer, tuple(path(peer, one) for one in (*MANY, ALONE[peer]))), ended(peer))
    return made


def rules(number: int) -> BGPFilter:
    return BGPFilter(metadata=Metadata(name="f"), spec=BGPFilterSpec(**RULES[number]))


def happened(world: World, step: Step) -> World:
    what, peer, prefix, number = step
    prefix = ALONE[peer] if prefix == "alone" else prefix
    met = world.sessions.get(peer)
    match what:
        case "say" if met is not None and met.up:
            key = (ip.network(prefix), 0)
            said = Update(peer, (path(peer, prefix, number),)) if number else Update(peer, withdrawn=(key,))
            return run(world, said)
        case "up" if met is None or not met.up:
            return run(world, upped(peer))
        case "end" if met is not None and met.up:
            return run(world, ended(peer))
        case "lost":
            return run(world, lost(peer))
        case "bye":
            return run(world, goodbye(peer))
        case "later":
            return later(world, (1, 4, 40, 130)[number])
        case "rules":
            return run(world, events.Changed(kinds.BGPFILTER, rules(number)))
        case "pools":
            return run(world, events.Listed(kinds.IPPOOL, tuple(POOLS[number])))
        case "node":
            one = node("node2", "192.0.2.2/24")
            return run(world, events.Changed(kinds.NODE, one) if number % 2 else events.Gone(kinds.NODE, "node2"))
        case "limit":
            return replace(world, me=replace(world.me, prefix_limit=(100_000, 50, 20, 100_000)[number]))
        case _:
            return world


def from_scratch(world: World) -> Plan:
    """The plan of one who remembers nothing of the table."""
    table = world.table
    assert table is not None
    return plan(replace(world, table=Table(one for peer in table.peers() for one in table.of(peer).values())))


TWICE: list[Step] = [("say", PEER, "alone", 0), ("say", OTHER, "alone", 0)]
"""Two changes, each of which is worked out of what was there before it."""


@settings(deadline=None, max_examples=150)
@example([(TWICE, "")], False)
@example([(TWICE, "plan")], False)
@example([(TWICE, "taken")], True)
@given(rounds, st.booleans())
def test_the_plan_and_the_kernel_are_those_of_one_who_begins_anew(
    happenings: list[tuple[list[Step], str]], reflecting: bool
) -> None:
    kernel, world = machine(), cluster(reflecting)
    last = plan(world)
    apply(last, kernel)
    assert len(last.kernel.routes[Owner.LEARNED]) >= len(MANY)
    for between, looked in happenings:
        for step in between:
            world = happened(world, step)
            if looked == "plan":
                plan(world)
            elif looked:
                policies.learned(world, peers.of(world))
        wish, anew = plan(world), from_scratch(world)
        assert wish.kernel == anew.kernel
        assert wish.announcements == anew.announcements
        assert sorted(wish.refused, key=str) == sorted(anew.refused, key=str)
        if follow(last.kernel, wish, set(), kernel) is None:
            apply(wish, kernel)
        assert differences(wish, kernel.read(wish.kernel.sysctls)) == []
        last = wish
    assert Owner.LEARNED in last.kernel.routes
