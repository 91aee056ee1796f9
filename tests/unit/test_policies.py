"""From the World's resources to policy: filters of peers, communities, service ranges, multipath in the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import worlds
from worlds import PEER, block, found, node, run, state, synced

from bgpnet.agent import events, facts, policies
from bgpnet.agent.plan import plan
from bgpnet.agent.status import status
from bgpnet.agent.world import World
from bgpnet.bgp.conf import Neighbour, PeerKind
from bgpnet.bgp.export import Advert, exports
from bgpnet.bgp.imports import Reason
from bgpnet.bgp.peering import Peerings
from bgpnet.bgp.rib import Path, Update
from bgpnet.kernel.state import Owner
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import (
    BGPConfiguration,
    BGPConfigurationSpec,
    CidrBlock,
    Community,
    PrefixAdvertisement,
)
from bgpnet.model.bgpfilter import Action, BGPFilter, BGPFilterSpec, FilterRule, MatchOperator
from bgpnet.model.bgppeer import BGPPeer, BGPPeerSpec
from bgpnet.model.node import Node
from bgpnet.model.resource import Metadata
from bgpnet.model.service import EXCLUDED, Endpoint, Service, TrafficPolicy

TORS = tuple(ip.address(f"192.0.2.{n}") for n in (201, 202))
FILTER = BGPFilter(
    metadata=Metadata(name="tor"),
    spec=BGPFilterSpec(
        importV4=(FilterRule(action=Action.ACCEPT, cidr="0.0.0.0/0", matchOperator=MatchOperator.EQUAL),),
        exportV4=(FilterRule(action=Action.REJECT, cidr="10.244.1.0/24", matchOperator=MatchOperator.IN),),
    ),
)


def of(*neighbours: Neighbour) -> Peerings:
    return Peerings(neighbours)


def tor(address: ip.Address, *filters: str) -> Neighbour:
    return Neighbour(address, worlds.ME.address.ip, 64512, 65001, kind=PeerKind.NODE, in_cluster=False, filters=filters)


def told_by(address: ip.Address, *prefixes: str) -> Update:
    return Update(
        address,
        tuple(
            Path(prefix=ip.network(one), next_hop=address, peer=address, as_path=(65001,), external=True)
            for one in prefixes
        ),
    )


def world(*more: events.Listed, blocks: tuple[str, ...] = (worlds.BLOCK,)) -> World:
    made = synced(blocks=[block(one) for one in blocks], nodes=[node("node2", "192.0.2.2/24")])
    return run(made, *more, found(state(PEER), *map(state, TORS)))


def configured(**fields: object) -> events.Listed:
    spec = BGPConfigurationSpec(**fields)  # type: ignore[arg-type]  # the spec's own fields
    return events.Listed(kinds.BGPCONFIGURATION, (BGPConfiguration(metadata=Metadata(name="default"), spec=spec),))


def test_two_switches_with_one_default_route_are_two_next_hops() -> None:
    made = run(world(events.Listed(kinds.BGPFILTER, (FILTER,))), *(told_by(one, "0.0.0.0/0") for one in TORS))
    taken = policies.learned(made, of(*(tor(one, "tor") for one in TORS)))
    assert taken is not None
    (route,) = policies.routes(taken, "eth1").values()
    assert str(route) == "0.0.0.0/0 via 192.0.2.201 dev eth1 nexthop via 192.0.2.202 dev eth1"


def test_a_filter_that_is_not_heard_of_yet_is_waited_for() -> None:
    made = replace(world(), synced=world().synced - {kinds.BGPFILTER.plural})
    assert policies.learned(made, of(tor(TORS[0], "tor"))) is None
    assert policies.learned(made, of(tor(TORS[0]))) is not None


def test_nothing_is_swept_while_a_filter_is_not_heard_of() -> None:
    spec = BGPPeerSpec(peerIP="192.0.2.201", asNumber=65001, filters=("tor",), reachableBy="192.0.2.2")
    peer = BGPPeer(metadata=Metadata(name="tor"), spec=spec)
    made = run(world(events.Listed(kinds.BGPFILTER, (FILTER,)), events.Listed(kinds.BGPPEER, (peer,))))
    for address in (PEER, *TORS):
        made = run(made, worlds.ended(address))
    assert Owner.LEARNED in plan(made).kernel.sweep
    unheard = plan(replace(made, synced=made.synced - {kinds.BGPFILTER.plural})).kernel
    assert list(unheard.routes[Owner.LEARNED]) == [ip.network("192.0.2.201/32")]  # the way to the peer, which is known
    assert Owner.LEARNED not in unheard.sweep


def test_filters_by_peer() -> None:
    made = world(events.Listed(kinds.BGPFILTER, (FILTER,)), blocks=(worlds.BLOCK, "10.244.1.0/26"))
    neighbours = of(tor(TORS[0], "tor"), tor(TORS[1]))
    adverts = exports(policies.offer(made, neighbours, None), policies.targets(made, neighbours))
    both = {Advert(ip.network(worlds.BLOCK)), Advert(ip.network("10.244.1.0/26"))}
    assert adverts == {TORS[0]: {Advert(ip.network(worlds.BLOCK))}, TORS[1]: both}


def test_communities_by_name_and_by_value_with_the_nodes_own_before_the_clusters() -> None:
    communities = (Community(name="rack", value="65001:01"), Community(name="big", value="65001:1:2"))
    advertised = (PrefixAdvertisement(cidr="10.244.0.0/16", communities=("rack", "big", "65001:9")),)
    default = configured(communities=communities, prefixAdvertisements=advertised)
    marks = ("65001:1", "65001:1:2", "65001:9")
    told = plan(world(default)).announcements or {}
    assert told[PEER] == {Advert(ip.network(worlds.BLOCK), communities=marks)}
    own = BGPConfiguration(
        metadata=Metadata(name="node.node1"),
        spec=BGPConfigurationSpec(
            communities=(Community(name="rack", value="65001:2"),),
            prefixAdvertisements=(PrefixAdvertisement(cidr="10.244.0.0/24", communities=("rack", "big")),),
        ),
    )
    told = plan(run(world(default), events.Changed(kinds.BGPCONFIGURATION, own))).announcements or {}
    assert told[PEER] == {Advert(ip.network(worlds.BLOCK), communities=("65001:1:2", "65001:2"))}


def test_service_addresses_of_the_world_unless_the_node_is_excluded() -> None:
    made = world(configured(serviceClusterIPs=(CidrBlock(cidr="10.96.0.0/16"),)), blocks=())
    assert plan(made).announcements == {PEER: {Advert(ip.network("10.96.0.0/16"))}}
    local = Service(cluster_ips=("10.96.0.10",), policy=TrafficPolicy.LOCAL)
    served = replace(made, services={"a/b": local}, endpoints={"a/b": (Endpoint(node="node1"),)})
    assert plan(served).announcements == {PEER: {Advert(ip.network(one)) for one in ("10.96.0.0/16", "10.96.0.10/32")}}
    mine = facts.nodes(made)["node1"]
    excluded = Node(metadata=Metadata(name="node1", labels={EXCLUDED: "true"}), spec=mine.spec, status=mine.status)
    assert plan(run(served, events.Changed(kinds.NODE, excluded))).announcements == {PEER: frozenset()}


def test_the_status_lists_refusals_and_counts_them() -> None:
    made = run(world(), worlds.told("10.99.0.0/26", "10.98.0.0/26", "0.0.0.0/0"))
    said: dict[str, Any] = dict(status(made, plan(made)))
    (row,) = said["peers"]
    assert row["refused"] == {"outside the pools": 2, "default route": 1}
    assert [one["reason"] for one in said["refused"]] == ["outside the pools", "outside the pools", "default route"]
    assert said["refused"][0]["text"] in said["warnings"]


def test_a_filter_that_is_deleted_lingers_and_then_nothing_passes() -> None:
    made = run(world(events.Listed(kinds.BGPFILTER, (FILTER,))), told_by(TORS[0], "0.0.0.0/0", "10.244.9.0/26"))
    peering = of(tor(TORS[0], "tor"))
    gone = run(made, events.Gone(kinds.BGPFILTER, "tor"))
    for one in (made, gone):
        taken = policies.learned(one, peering)
        assert taken is not None
        assert len(taken.chosen) == 2
    taken = policies.learned(worlds.later(gone, 3), peering)
    assert taken is not None
    assert (taken.chosen, {one.reason for one in taken.refused}) == ({}, {Reason.MISSING})


def test_links_that_are_ignored_lead_to_no_next_hop() -> None:
    beyond, prefix = ip.address("198.51.100.7"), "10.244.5.0/26"
    subnets = {worlds.ME.address.network: "eth1", ip.network("198.51.100.0/24"): "docker0"}
    path = Path(prefix=ip.network(prefix), next_hop=beyond, peer=TORS[0], as_path=(65001,), external=True)
    made = run(world(), events.LinksLooked(subnets, 1500), Update(TORS[0], (path,)))
    named = BGPConfiguration(metadata=Metadata(name="node.node1"), spec=BGPConfigurationSpec(ignoredInterfaces=("e*",)))

    def taken(one: World) -> bool:
        found = policies.learned(one, of(tor(TORS[0])))
        assert found is not None
        return ip.network(prefix) in found.chosen

    assert taken(made)
    assert facts.out(made, beyond) == "docker0"
    assert taken(run(made, configured(ignoredInterfaces=("docker",))))
    ignoring = run(made, configured(ignoredInterfaces=("eth9", "docker*")))
    assert not taken(ignoring)
    assert facts.out(ignoring, beyond) == ""
    assert facts.out(ignoring, PEER) == "eth1"
    assert taken(run(ignoring, events.Changed(kinds.BGPCONFIGURATION, named)))
