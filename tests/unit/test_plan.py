"""The plan: from a World, what `ip route` should say, what peers are told, what is recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import worlds
from worlds import OTHER, PEER, block, found, node, pod, pool, run, state, synced, told

from bgpnet.agent import events
from bgpnet.agent.plan import plan
from bgpnet.agent.world import Phase, World
from bgpnet.bgp.export import Advert
from bgpnet.kernel.state import Owner
from bgpnet.model import ip, kinds
from bgpnet.model.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from bgpnet.model.ippool import Encap
from bgpnet.model.node import Node
from bgpnet.model.resource import Metadata

UPLINK = "192.0.2.0/24 dev eth1 proto kernel scope link src 192.0.2.1"
NODES = (node("node2", "192.0.2.2/24"), node("node3", "198.51.100.3/24"))
FAR = ip.address("198.51.100.3")


def mesh(mode: Encap = Encap.NEVER, **more: object) -> World:
    """This node with one block, another on its segment, a third elsewhere; both have told of a block."""
    world = synced(pool(mode=mode, **more), blocks=[block()], nodes=NODES)
    return run(world, found(state(PEER), state(FAR)), told("10.244.0.64/26"), told("10.244.0.128/26", peer=FAR))


def with_pods(world: World, *pods: worlds.Pod) -> World:
    return replace(world, pods={one.attachment: one for one in pods})


def test_nothing_is_wished_for_before_anything_is_known() -> None:
    wish = plan(worlds.fresh())
    assert wish.kernel.routes == {Owner.LOCAL: {}}
    assert (wish.kernel.tunnels, wish.kernel.sweep, wish.kernel.sweep_pods) == ({}, frozenset(), False)
    assert (wish.announcements, wish.speaker, wish.records) == (None, None, ())


def test_own_blocks_are_black_holes_and_pods_shine_through() -> None:
    world = with_pods(synced(blocks=[block()]), pod("c1", "10.244.0.0"), pod("c2", "10.244.0.5"))
    kernel = worlds.machine()
    for one in world.pods.values():
        worlds.wire(kernel, one)
    assert worlds.routes(world, kernel) == [
        "10.244.0.0 dev calic1 proto bgpnet scope link",
        "blackhole 10.244.0.0/26 proto bgpnet",
        "10.244.0.5 dev calic2 proto bgpnet scope link",
        UPLINK,
    ]


def test_a_block_of_one_address_has_no_black_hole() -> None:
    assert worlds.routes(synced(pool(blockSize=32), blocks=[block("10.244.0.9/32")])) == [UPLINK]


@pytest.mark.parametrize(
    ("mode", "near", "far"),
    [
        (Encap.NEVER, "via 192.0.2.2 dev eth1 proto bgpnet-bgp", None),
        (Encap.CROSS_SUBNET, "via 192.0.2.2 dev eth1 proto bgpnet-bgp", "dev tunl0"),
        (Encap.ALWAYS, "via 192.0.2.2 dev tunl0 proto bgpnet-bgp onlink", "dev tunl0"),
    ],
)
def test_learned_blocks_by_the_pools_mode(mode: Encap, near: str, far: str | None) -> None:
    lines = [line for line in worlds.routes(mesh(mode)) if "bgpnet-bgp" in line]
    wanted = [f"10.244.0.64/26 {near}"]
    if far is not None:
        wanted.append(f"10.244.0.128/26 via 198.51.100.3 {far} proto bgpnet-bgp onlink")
    assert lines == wanted
    refused = plan(mesh(mode)).refused
    assert [str(one.prefix) for one in refused] == ([] if far else ["10.244.0.128/26"])
    assert all("198.51.100.3 is outside 192.0.2.0/24" in one.text for one in refused)


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (told("10.99.0.0/26"), "is in no pool"),
        (told("10.0.0.0/8"), "is in no pool"),
        (told("10.244.0.0/28"), "lies in a block of this node's own"),
        (told("10.244.0.0/24"), "covers"),
        (worlds.Update(PEER, (worlds.path("10.244.9.0/26", PEER, ip.address("192.0.2.1")),)), "this node itself"),
        (worlds.Update(PEER, (worlds.path("10.244.9.0/26", PEER, ip.address("192.0.2.250")),)), "no known node"),
    ],
)
def test_what_is_not_taken_is_said(update: worlds.Update, reason: str) -> None:
    world = run(synced(pool(mode=Encap.ALWAYS), blocks=[block()], nodes=NODES), found(state()), update)
    [refusal] = plan(world).refused
    assert refusal.prefix == update.announced[0].prefix
    assert reason in refusal.text
    assert not [line for line in worlds.routes(world) if "bgpnet-bgp" in line]


def test_a_disabled_pool_keeps_its_routes_and_a_missing_one_loses_them() -> None:
    world = mesh(disabled=True)
    assert len([line for line in worlds.routes(world) if "bgpnet-bgp" in line]) == 1
    kernel = worlds.machine()
    world = worlds.run(world, worlds.ended(PEER), worlds.ended(FAR))
    worlds.applied(world, kernel)
    before = str(kernel)
    world = run(world, events.Gone(kinds.IPPOOL, "pods"))
    worlds.applied(world, kernel)
    assert str(kernel) == before  # the datastore may be about to be emptied
    worlds.applied(worlds.later(world, 3), kernel)
    assert str(kernel).splitlines() == ["blackhole 10.244.0.0/26 proto bgpnet", UPLINK]


def test_a_pod_at_work_is_held_and_not_wished_for() -> None:
    for phase in (Phase.WIRING, Phase.LEAVING, Phase.CUT):
        wish = plan(with_pods(synced(blocks=[block()]), pod("c1", "10.244.0.1", phase)))
        assert wish.hold == {ip.network("10.244.0.1/32")}
        assert wish.hold_links == {"calic1"}
        assert list(wish.kernel.routes[Owner.LOCAL]) == [ip.network(worlds.BLOCK)]


def test_of_two_sandboxes_of_a_pod_the_one_with_the_link_is_wished_for() -> None:
    older = pod("c1", "10.244.0.1", Phase.LOST, link="cali0")
    newer = pod("c2", "10.244.0.2", link="cali0")
    for pods in ((older, newer), (newer, older)):
        wish = plan(with_pods(synced(blocks=[block()]), *pods)).kernel
        assert wish.pods["cali0"].alias.container == "c2"
        assert set(wish.routes[Owner.LOCAL]) == {ip.network(worlds.BLOCK), ip.network("10.244.0.2/32")}
        assert {str(key.address) for key in wish.neighbours} == {"10.244.0.2"}


def test_the_tunnel_has_its_address_its_mtu_and_a_loose_filter() -> None:
    world = mesh(Encap.ALWAYS)
    kernel = worlds.machine()
    worlds.applied(world, kernel)
    tunnel = kernel.read().tunnels["tunl0"]
    assert (tunnel.mtu, str(tunnel.address)) == (1480, "10.244.0.0/32")
    assert kernel.sysctls["net/ipv4/conf/tunl0/rp_filter"] == "2"
    assert kernel.sysctls["net/ipv4/conf/eth1/rp_filter"] == "2"
    assert kernel.sysctls["net/ipv4/ip_forward"] == "1"


def test_without_a_tunnelling_pool_there_is_no_tunnel() -> None:
    assert plan(mesh(Encap.NEVER)).kernel.tunnels == {}


def test_every_peer_is_told_of_own_blocks_and_of_nothing_else() -> None:
    world = mesh()
    adverts = frozenset({Advert(ip.network(worlds.BLOCK))})
    assert plan(world).announcements == {PEER: adverts, FAR: adverts}
    assert plan(mesh(disableBGPExport=True)).announcements == {PEER: frozenset(), FAR: frozenset()}


def test_the_speaker_meets_all_other_nodes_unless_the_mesh_is_off() -> None:
    conf = plan(mesh()).speaker
    assert conf is not None
    assert [(one.address, one.passive) for one in conf.neighbours] == [(PEER, True), (FAR, True)]
    off = BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(nodeToNodeMeshEnabled=False))
    conf = plan(run(mesh(), events.Changed(kinds.BGPCONFIGURATION, off))).speaker
    assert conf is not None
    assert conf.neighbours == ()


def test_only_what_differs_is_recorded() -> None:
    world = synced(blocks=[block()])
    assert plan(world).records == ()
    later = worlds.later(world, 30)
    [heartbeat] = plan(later).records
    assert isinstance(heartbeat, Node)
    assert heartbeat.metadata.resourceVersion == "1"
    world = run(later, events.Changed(kinds.NODE, heartbeat))
    assert plan(world).records == ()
    given = worlds.ipam.assign(world.blocks[ip.network(worlds.BLOCK)], worlds.ipam.Claimant("c1", "eth0"), world.now)
    assert given is not None
    changed = replace(world, blocks={given[0].network: given[0]})
    [written] = plan(changed).records
    assert written == given[0]


def test_what_people_wrote_in_our_node_stays() -> None:
    mine = node("node1", "192.0.2.99/24", "uuid-1")
    mine = worlds.Node(
        metadata=Metadata(name="node1", labels={"rack": "r1"}, resourceVersion="7"),
        spec=mine.spec,
        status=mine.status,
    )
    world = run(synced(), events.Changed(kinds.NODE, mine))
    [written] = plan(world).records
    assert isinstance(written, Node)
    assert written.metadata == mine.metadata
    assert written.spec.bgp is not None
    assert written.spec.bgp.ipv4Address == "192.0.2.1/24"


def test_a_block_that_is_ours_is_never_learned_though_the_datastore_is_slow() -> None:
    """Another node still announces what this one has claimed meanwhile."""
    world = run(synced(blocks=[block("10.244.0.64/26")], nodes=NODES), found(state()), told("10.244.0.64/26"))
    assert worlds.routes(world) == ["blackhole 10.244.0.64/26 proto bgpnet", UPLINK]


def test_routes_go_only_when_every_peer_has_spoken() -> None:
    world = run(
        synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24"), node("node3", "192.0.2.3/24")]),
        found(state(PEER), state(OTHER)),
    )
    assert plan(world).kernel.sweep == {Owner.LOCAL}
    world = run(world, worlds.ended(PEER))
    assert plan(world).kernel.sweep == {Owner.LOCAL}
    world = run(world, worlds.ended(OTHER))
    assert plan(world).kernel.sweep == {Owner.LOCAL, Owner.LEARNED}
    # From now on the table is known: who is lost, is held in it.
    assert plan(run(world, worlds.lost(OTHER))).kernel.sweep == {Owner.LOCAL, Owner.LEARNED}
