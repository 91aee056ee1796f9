"""ADD and DEL as steps: state in, events, state out. No thread, no kernel, no datastore."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bgpnet import ipam
from bgpnet.agent import events
from bgpnet.agent.effects import (
    Answer,
    CheckPod,
    ClaimBlock,
    Effect,
    ForgetBlock,
    JournalBlocks,
    Reap,
    ReapNow,
    Stop,
    UnwirePod,
    WirePod,
)
from bgpnet.agent.step import step
from bgpnet.agent.world import CLAIM_PATIENCE, Me, Phase, World
from bgpnet.cnispec import Attachment
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock, Owner
from bgpnet.model.ippool import Encap, IPPool, IPPoolSpec
from bgpnet.model.kinds import Kind, Resource
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.resource import Metadata
from bgpnet.wire import CniCall

NOW = 1_700_000_000.0
ME = Me("node1", "uuid-1", ip.interface("192.0.2.1/24"), "eth1", 1500, "0")
OWNER = Owner(name="node1", uid="uuid-1")
NET = ip.network("10.244.0.0/26")


def pool(name: str = "pods", cidr: str = "10.244.0.0/16", mode: Encap = Encap.NEVER, size: int | None = None) -> IPPool:
    return IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, ipipMode=mode, blockSize=size))


def call(command: str, container: str, ifname: str = "eth0", **config: object) -> CniCall:
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/run/netns/{container}",
        "CNI_IFNAME": ifname,
    }
    return CniCall(env, json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "bgpnet", **config}).encode())


def run(world: World, *happenings: events.Event) -> tuple[World, list[Effect]]:
    """Step them all; the effects of all."""
    effects: list[Effect] = []
    for event in happenings:
        world, more = step(world, event)
        effects += more
    return world, effects


def fresh() -> World:
    return World(me=ME, now=NOW, clock=0.0)


def listed(kind: Kind, *resources: Resource) -> events.Listed:
    return events.Listed(kind, resources)


def synced(*pools: IPPool, blocks: tuple[IPAMBlock, ...] = ()) -> World:
    """A World that has heard everything."""
    world, _ = run(
        fresh(),
        listed(kinds.NODE),
        listed(kinds.BGPCONFIGURATION),
        listed(kinds.IPAMCONFIGURATION),
        listed(kinds.IPRESERVATION),
        listed(kinds.IPPOOL, *(pools or (pool(),))),
        listed(kinds.IPAMBLOCK, *blocks),
    )
    return world


def with_block(*pools: IPPool) -> World:
    world, _ = run(synced(*pools), events.Claimed(ipam.new_block(NET, OWNER, NOW)))
    return world


def told(effects: list[Effect]) -> list[tuple[int, int, dict[str, object]]]:
    return [
        (one.number, one.status, json.loads(one.body) if one.body else {}) for one in effects if isinstance(one, Answer)
    ]


def only(effects: list[Effect], kind: type) -> Effect:
    found = [one for one in effects if isinstance(one, kind)]
    assert len(found) == 1, effects
    return found[0]


def add(world: World, container: str, number: int = 1) -> tuple[World, list[Effect]]:
    """An ADD carried through to its answer."""
    world, effects = run(world, events.CniAsked(number, call("ADD", container)))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    return run(world, events.PodWired(number, wire.pod.attachment, wire.version))


def test_an_add_takes_an_address_is_wired_and_answered() -> None:
    world, effects = run(with_block(), events.CniAsked(7, call("ADD", "c1")))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert wire.pod.address == ip.address("10.244.0.0")
    assert wire.pod.phase is Phase.WIRING
    assert world.pods[Attachment("c1", "eth0")] == wire.pod
    world, effects = run(world, events.PodWired(7, wire.pod.attachment, "1.0.0"))
    [(number, status, result)] = told(effects)
    assert (number, status) == (7, 0)
    assert result["ips"] == [{"interface": 1, "address": "10.244.0.0/32"}]
    assert world.pods[Attachment("c1", "eth0")].phase is Phase.READY


def test_the_same_container_gets_the_same_answer_and_no_second_address() -> None:
    world, first = add(with_block(), "c1")
    again, effects = run(world, events.CniAsked(2, call("ADD", "c1")))
    assert again.blocks == world.blocks
    check = only(effects, CheckPod)
    assert isinstance(check, CheckPod)
    _, second = run(again, events.PodChecked(2, check.pod.attachment, check.version, (), check.repeated))
    assert told(first)[0][2] == told(second)[0][2]


def test_a_repeated_add_of_what_is_not_as_it_was_wired_is_wired_anew() -> None:
    world, _ = add(with_block(), "c1")
    again, effects = run(world, events.CniAsked(2, call("ADD", "c1")))
    check = only(effects, CheckPod)
    assert isinstance(check, CheckPod)
    found = events.PodChecked(2, check.pod.attachment, check.version, ("link cali1 is gone",), check.repeated)
    anew, effects = run(again, found)
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert (wire.again, wire.pod.address) == (True, check.pod.address)
    assert told(run(anew, events.PodWired(2, wire.pod.attachment, wire.version))[1])[0][:2] == (2, 0)
    # Meanwhile its DEL has come: who repeats the ADD is told that, and gets no link that nobody deletes.
    leaving, _ = run(again, events.CniAsked(3, call("DEL", "c1")))
    assert told(run(leaving, found)[1])[0][2]["code"] == 11


def of_pod(name: str, container: str, ifname: str = "eth0", namespace: str = "shop") -> events.CniAsked:
    """An ADD for a pod, or for none."""
    one = call("ADD", container, ifname)
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}" if name else ""
    return events.CniAsked(5, CniCall({**one.env, "CNI_ARGS": args}, one.stdin))


def test_names_that_are_the_same_once_joined_do_not_take_each_others_link() -> None:
    world, effects = run(with_block(), of_pod("db.a", "c1"))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    world, _ = run(world, events.PodWired(5, wire.pod.attachment, wire.version))
    refused, effects = run(world, of_pod("a", "c2", namespace="shop.db"))
    [(_, _, said)] = told(effects)
    assert said["code"] == 102
    whose = "interface eth0 of shop/db.a"
    assert f"pod link {wire.pod.link} is that of {whose}, whose names joined are the same" in str(said["msg"])
    assert refused.pods == world.pods


def test_a_second_interface_has_a_link_whatever_other_pods_are_called() -> None:
    cases = (
        (of_pod("db.net1", "c1"), of_pod("db", "c2", "net1")),
        (of_pod("db", "c1", "net1"), of_pod("db.net1", "c2")),
        (of_pod("", "a.b", "c"), of_pod("", "a", "b.c")),
    )
    for pair in cases:
        world, links = with_block(), set()
        for event in pair:
            world, effects = run(world, event)
            wire = only(effects, WirePod)
            assert isinstance(wire, WirePod)
            world, _ = run(world, events.PodWired(5, wire.pod.attachment, wire.version))
            links.add(wire.pod.link)
        assert len(links) == 2


def test_a_newer_sandbox_of_what_was_recovered_without_its_pods_name_takes_the_link() -> None:
    world, effects = run(with_block(), of_pod("db", "c1"))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    world, _ = run(world, events.PodWired(5, wire.pod.attachment, wire.version))
    known = world.pods[wire.pod.attachment]
    recovered = replace(world, pods={known.attachment: replace(known, pod="")})
    for before in (world, recovered):
        newer = only(run(before, of_pod("db", "c2"))[1], WirePod)
        assert isinstance(newer, WirePod)
        assert newer.pod.link == known.link


def test_two_interfaces_of_one_container_are_two_pods() -> None:
    world, _ = add(with_block(), "c1")
    world, effects = run(world, events.CniAsked(2, call("ADD", "c1", "net1")))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert wire.pod.address == ip.address("10.244.0.1")
    assert wire.pod.link != world.pods[Attachment("c1", "eth0")].link


def test_without_a_block_it_waits_for_one_claim_whoever_asks() -> None:
    world, effects = run(synced(), events.CniAsked(1, call("ADD", "c1")), events.CniAsked(2, call("ADD", "c2")))
    assert isinstance(only(effects, ClaimBlock), ClaimBlock)
    assert set(world.waiting) == {1, 2}
    world, effects = run(world, events.Claimed(ipam.new_block(NET, OWNER, NOW)))
    assert sorted(one.number for one in effects if isinstance(one, WirePod)) == [1, 2]
    assert not world.waiting


def test_before_the_datastore_has_spoken_nothing_is_claimed_and_patience_ends_with_the_reason() -> None:
    world, effects = run(fresh(), events.StoreAway("it is down"), events.CniAsked(1, call("ADD", "c1")))
    assert effects == []
    world, effects = run(world, events.Tick(NOW + CLAIM_PATIENCE, CLAIM_PATIENCE))
    [(number, status, error)] = told(effects)
    assert (number, status, error["code"]) == (1, 1, 11)
    assert "the datastore is away (it is down)" in str(error["msg"])
    assert not world.waiting


def test_own_blocks_serve_while_the_datastore_is_away() -> None:
    world = replace(fresh(), blocks={NET: ipam.new_block(NET, OWNER, NOW)}, journalled=True)
    _, effects = run(world, events.StoreAway("down"), events.CniAsked(1, call("ADD", "c1")))
    assert isinstance(only(effects, WirePod), WirePod)


def test_an_exhausted_pool_is_one_sentence() -> None:
    world, _ = run(synced(), events.CniAsked(1, call("ADD", "c1")))
    world, effects = run(
        world, events.ClaimFailed("all blocks of pods are owned; add a pool", True, frozenset({"pods"}))
    )
    [(number, status, error)] = told(effects)
    assert (number, status, error["code"]) == (1, 1, 101)
    assert error["msg"] == "all blocks of pods are owned; add a pool"
    assert not world.waiting
    assert not world.pods


def test_under_pressure_a_resting_address_is_taken_rather_than_none() -> None:
    small = pool(cidr="10.244.0.0/32", size=32)
    net = ip.network("10.244.0.0/32")
    world, _ = run(synced(small), events.Claimed(ipam.new_block(net, OWNER, NOW)))
    world, _ = add(world, "c1")
    world, _ = remove(world, "c1")
    world, effects = run(world, events.CniAsked(5, call("ADD", "c2")))
    assert (effects, world.claiming) == ([], True)  # asked for ahead of need, when the last address was given away
    world, effects = run(world, events.ClaimFailed("none left", True, frozenset({"pods"})))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert wire.pod.address == ip.address("10.244.0.0")


def test_a_pool_that_does_not_exist_is_refused_by_name() -> None:
    _, effects = run(with_block(), events.CniAsked(1, call("ADD", "c1", ipv4_pools=["blue"])))
    [(_, status, error)] = told(effects)
    assert (status, error["code"]) == (1, 101)
    assert "blue" in str(error["msg"])


@pytest.mark.parametrize("code", [102, 11, 4])
def test_a_refused_wiring_gives_the_address_back(code: int) -> None:
    world, effects = run(with_block(), events.CniAsked(1, call("ADD", "c1")))
    refused = events.PodRefused(1, Attachment("c1", "eth0"), "1.0.0", "link caliX is a stranger's", code=code)
    world, effects = run(world, refused)
    [(_, status, error)] = told(effects)
    assert (status, error["code"], error["msg"]) == (1, code, "link caliX is a stranger's")
    assert not world.pods
    assert ipam.usage(world.blocks[NET], NOW).in_use == 0


def test_a_pod_that_lost_its_link_and_cannot_be_wired_again_keeps_its_address() -> None:
    world, _ = run(
        with_block(),
        events.CniAsked(1, call("ADD", "c1")),
        events.PodWired(1, Attachment("c1", "eth0"), "1.0.0"),
    )
    [pod] = world.pods.values()
    world = replace(world, pods={pod.attachment: replace(pod, phase=Phase.LOST)})
    world, effects = run(world, events.CniAsked(2, call("ADD", "c1")))
    [wire] = [one for one in effects if isinstance(one, WirePod)]
    assert wire.again
    refusal = events.PodRefused(2, pod.attachment, "1.0.0", "the disk is full", wire.again)
    world, effects = run(world, refusal)
    assert told(effects)[0][1] == 1
    assert world.pods[pod.attachment].phase is Phase.LOST
    assert ipam.usage(world.blocks[NET], NOW).in_use == 1


def remove(world: World, container: str, number: int = 9) -> tuple[World, list[Effect]]:
    world, effects = run(world, events.CniAsked(number, call("DEL", container)))
    attachment = Attachment(container, "eth0")
    world, more = run(world, events.PodUnwired(number, attachment), events.Reaped((attachment,)))
    return world, effects + more


def test_a_del_is_answered_when_the_pod_is_cut_off_and_the_address_rests_when_it_is_reaped() -> None:
    world, _ = add(with_block(), "c1")
    world, effects = run(world, events.CniAsked(2, call("DEL", "c1")))
    unwire = only(effects, UnwirePod)
    assert isinstance(unwire, UnwirePod)
    world, effects = run(world, events.PodUnwired(2, unwire.pod.attachment))
    assert told(effects) == [(2, 0, {})]
    assert isinstance(only(effects, Reap), Reap)
    assert ipam.usage(world.blocks[NET], NOW).in_use == 1
    world, _ = run(world, events.Reaped((unwire.pod.attachment,)))
    assert ipam.usage(world.blocks[NET], NOW).resting == 1
    assert not world.pods


def test_addresses_come_back_last() -> None:
    world, _ = add(with_block(), "c1")
    world, _ = remove(world, "c1")
    world, effects = run(replace(world, now=NOW + 60), events.CniAsked(3, call("ADD", "c2")))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert wire.pod.address == ip.address("10.244.0.1")


def test_a_del_of_nobody_looks_for_the_link_and_ends_well() -> None:
    world, effects = run(with_block(), events.CniAsked(2, call("DEL", "ghost")))
    assert isinstance(only(effects, UnwirePod), UnwirePod)
    world, effects = run(
        world, events.PodUnwired(2, Attachment("ghost", "eth0")), events.Reaped((Attachment("ghost", "eth0"),))
    )
    assert told(effects) == [(2, 0, {})]


def test_a_del_while_its_add_waits_ends_both() -> None:
    world, _ = run(synced(), events.CniAsked(1, call("ADD", "c1")))
    world, effects = run(world, events.CniAsked(2, call("DEL", "c1")))
    assert [(number, status) for number, status, _ in told(effects)] == [(1, 1)]
    assert not world.waiting


def test_a_del_that_overtakes_its_add_is_asked_again() -> None:
    world, _ = run(with_block(), events.CniAsked(1, call("ADD", "c1")))
    after, effects = run(world, events.CniAsked(2, call("DEL", "c1")))
    [(number, status, error)] = told(effects)
    assert (number, status, error["code"]) == (2, 1, 11)
    assert after.pods == world.pods


def test_a_release_that_could_not_be_made_durable_is_asked_again() -> None:
    world, _ = add(with_block(), "c1")
    world, _ = run(world, events.CniAsked(2, call("DEL", "c1")))
    world, effects = run(world, events.UnwireFailed(2, Attachment("c1", "eth0"), "1.0.0", "the disk is full"))
    [(_, status, error)] = told(effects)
    assert (status, error["code"]) == (1, 11)
    assert world.pods[Attachment("c1", "eth0")].phase is Phase.READY


def test_a_node_with_a_tunnelling_pool_takes_its_tunnel_address_first() -> None:
    world, effects = run(synced(pool(mode=Encap.ALWAYS)))
    assert world.claiming
    world, effects = run(world, events.Claimed(ipam.new_block(NET, OWNER, NOW)))
    assert isinstance(only(effects, JournalBlocks), JournalBlocks)
    world, effects = run(world, events.CniAsked(1, call("ADD", "c1")))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert wire.pod.address == ip.address("10.244.0.1")
    assert wire.pod.mtu == 1480


def test_a_lost_pod_is_wired_again_under_its_address() -> None:
    world, _ = add(with_block(), "c1")
    world, _ = run(world, events.KernelLooked({}))
    assert world.pods[Attachment("c1", "eth0")].phase is Phase.LOST
    world, effects = run(world, events.CniAsked(2, call("ADD", "c1")))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert wire.pod.address == ip.address("10.244.0.0")


def test_a_block_that_belongs_to_another_node_now_is_fenced() -> None:
    world, _ = add(with_block(), "c1")
    theirs = ipam.new_block(NET, Owner(name="node2", uid="uuid-2"), NOW)
    world, _ = run(world, events.Changed(kinds.IPAMBLOCK, theirs))
    assert not world.blocks
    assert "belongs to node node2 now" in world.fenced


def test_a_pod_whose_block_is_lost_while_it_is_wired_is_taken_down_again() -> None:
    world, _ = add(with_block(), "c1")
    theirs = ipam.new_block(NET, Owner(name="node2", uid="uuid-2"), NOW)
    world, _ = run(world, events.Changed(kinds.IPAMBLOCK, theirs))
    world, effects = run(world, events.PodWired(1, Attachment("c1", "eth0"), "1.0.0"))
    [(number, status, body)] = told(effects)
    assert (number, status, body["code"]) == (1, 1, 11)
    assert "10.244.0.0: block 10.244.0.0/26 of this node belongs to node node2 now" in str(body["msg"])
    assert isinstance(effects[-1], UnwirePod)
    world, _ = run(world, events.PodUnwired(0, Attachment("c1", "eth0")), events.Reaped((Attachment("c1", "eth0"),)))
    assert world.pods == {}


def test_a_block_that_comes_back_has_the_pods_that_stayed_in_it() -> None:
    world, _ = add(with_block(), "c1")
    theirs = ipam.new_block(NET, Owner(name="node2", uid="uuid-2"), NOW)
    ours = ipam.new_block(NET, Owner(name="node1", uid="uuid-1"), NOW + 1)
    world, effects = run(world, events.Changed(kinds.IPAMBLOCK, theirs), events.Claimed(ours))
    assert ipam.find(world.blocks[NET], "c1", "eth0") is not None
    assert JournalBlocks((world.blocks[NET],)) in effects
    world, _ = add(world, "c2")
    assert world.pods[Attachment("c2", "eth0")].address == ip.address("10.244.0.1")


def test_every_del_of_a_pod_is_answered_with_the_first() -> None:
    world, _ = add(with_block(), "c1")
    world, effects = run(world, events.CniAsked(2, call("DEL", "c1")), events.CniAsked(3, call("DEL", "c1")))
    assert told(effects) == []
    world, effects = run(world, events.PodUnwired(2, Attachment("c1", "eth0")))
    assert [(number, status) for number, status, _ in told(effects)] == [(2, 0), (3, 0)]
    _, effects = run(world, events.CniAsked(4, call("DEL", "c1")))
    assert told(effects) == [(4, 0, {})]


def test_dels_that_failed_are_all_asked_again() -> None:
    world, _ = add(with_block(), "c1")
    world, _ = run(world, events.CniAsked(2, call("DEL", "c1")), events.CniAsked(3, call("DEL", "c1")))
    _, effects = run(world, events.UnwireFailed(2, Attachment("c1", "eth0"), "1.0.0", "the disk is full"))
    assert [(number, status) for number, status, _ in told(effects)] == [(2, 1), (3, 1)]


def test_a_container_that_comes_back_in_another_namespace_is_wired_there() -> None:
    world, _ = add(with_block(), "c1")
    again = call("ADD", "c1")
    moved = CniCall({**again.env, "CNI_NETNS": "/run/netns/other"}, again.stdin)
    _, effects = run(world, events.CniAsked(2, moved))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert (wire.pod.address, wire.pod.netns) == (ip.address("10.244.0.0"), "/run/netns/other")


def test_a_pod_whose_link_went_is_lost_and_an_add_wires_it_again() -> None:
    world, _ = add(with_block(), "c1")
    link = world.pods[Attachment("c1", "eth0")].link
    world, _ = run(world, events.KernelApplied((f"{link} is gone",), frozenset({link})))
    assert world.pods[Attachment("c1", "eth0")].phase is Phase.LOST
    _, effects = run(world, events.CniAsked(2, call("ADD", "c1")))
    assert isinstance(only(effects, WirePod), WirePod)


def test_a_fenced_block_is_forgotten_for_good() -> None:
    theirs = ipam.new_block(NET, Owner(name="node2", uid="uuid-2"), NOW)
    _, effects = run(with_block(), events.Changed(kinds.IPAMBLOCK, theirs))
    assert only(effects, ForgetBlock) == ForgetBlock("10.244.0.0/26")


def test_blocks_are_not_adopted_before_it_is_known_who_has_the_name() -> None:
    block = ipam.new_block(NET, Owner(name="node1", uid="another-machine"), NOW)
    world, _ = run(fresh(), listed(kinds.IPPOOL, pool()), listed(kinds.IPAMBLOCK, block))
    assert not world.adopted
    assert not world.blocks
    alive = Identity(uuid="another-machine", heartbeat=stamp(NOW - 5))
    holder = Node(metadata=Metadata(name="node1"), status=NodeStatus(identity=alive))
    world, effects = run(world, listed(kinds.NODE, holder))
    stop = only(effects, Stop)
    assert isinstance(stop, Stop)
    assert "bgpnetctl node release node1 --yes" in stop.reason
    assert not world.blocks


def test_a_name_whose_machine_is_silent_for_long_is_taken_with_its_blocks() -> None:
    block = ipam.new_block(NET, Owner(name="node1", uid="another-machine"), NOW)
    gone = Identity(uuid="another-machine", heartbeat=stamp(NOW - 60))
    holder = Node(metadata=Metadata(name="node1"), status=NodeStatus(identity=gone))
    world, _ = run(fresh(), listed(kinds.NODE, holder), listed(kinds.IPPOOL, pool()), listed(kinds.IPAMBLOCK, block))
    assert world.blocks[NET].spec.owner == OWNER


def test_an_object_that_could_not_be_read_counts_as_heard_once_it_is_mended() -> None:
    world, _ = run(fresh(), listed(kinds.NODE), events.Listed(kinds.IPPOOL, (), ("blue",)))
    assert not world.is_synced(kinds.IPPOOL)
    mended, _ = run(world, events.Changed(kinds.IPPOOL, pool("blue")))
    assert mended.is_synced(kinds.IPPOOL)
    deleted, _ = run(world, events.Gone(kinds.IPPOOL, "blue"))
    assert deleted.is_synced(kinds.IPPOOL)


def test_before_the_pools_are_known_a_pod_gets_the_mtu_that_fits_a_tunnel() -> None:
    world = replace(fresh(), blocks={NET: ipam.new_block(NET, OWNER, NOW)}, journalled=True)
    _, effects = run(world, events.CniAsked(1, call("ADD", "c1")))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert wire.pod.mtu == 1450


def sandbox(number: int, container: str) -> events.CniAsked:
    """An ADD of one and the same pod."""
    asked = call("ADD", container)
    env = {**asked.env, "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME=web-0"}
    return events.CniAsked(number, CniCall(env, asked.stdin))


def test_a_newer_sandbox_takes_the_link_over_and_the_older_one_keeps_its_address() -> None:
    older, newer = Attachment("c1", "eth0"), Attachment("c2", "eth0")
    world, _ = run(with_block(), sandbox(1, "c1"), events.PodWired(1, older, "1.0.0"))
    world, effects = run(world, sandbox(2, "c2"))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert wire.pod.link == world.pods[older].link
    assert wire.pod.address != world.pods[older].address
    assert world.pods[older].phase is Phase.LOST
    world, effects = run(world, events.CniAsked(3, call("DEL", "c1")))
    world, _ = run(world, events.PodUnwired(3, older), events.Reaped((older,)), events.PodWired(2, newer, "1.0.0"))
    assert [one.phase for one in world.pods.values()] == [Phase.READY]
    assert ipam.usage(world.blocks[NET], NOW).in_use == 1


def test_an_older_sandbox_that_still_waits_never_takes_the_link_from_a_newer_one() -> None:
    world, _ = run(fresh(), sandbox(1, "c1"))
    world, effects = run(world, sandbox(2, "c2"))
    assert [(number, status, error["code"]) for number, status, error in told(effects)] == [(1, 1, 11)]
    assert set(world.waiting) == {2}


def test_while_one_sandbox_is_being_wired_another_of_the_same_pod_waits() -> None:
    world, _ = run(with_block(), sandbox(1, "c1"))
    after, effects = run(world, sandbox(2, "c2"))
    [(number, status, error)] = told(effects)
    assert (number, status, error["code"]) == (2, 1, 11)
    assert after.pods == world.pods


def test_a_newer_sandbox_that_is_refused_gives_the_link_back_until_the_kernel_is_looked_at() -> None:
    older, newer = Attachment("c1", "eth0"), Attachment("c2", "eth0")
    world, _ = run(with_block(), sandbox(1, "c1"), events.PodWired(1, older, "1.0.0"), sandbox(2, "c2"))
    world, _ = run(world, events.PodRefused(2, newer, "1.0.0", "the disk is full"))
    assert {key: pod.phase for key, pod in world.pods.items()} == {older: Phase.READY}
    link = world.pods[older].link
    world, _ = run(world, events.KernelApplied(("the link is gone",), frozenset({link})))
    assert world.pods[older].phase is Phase.LOST


def test_an_add_right_after_its_del_waits_for_the_link_which_is_reaped_at_once() -> None:
    attachment = Attachment("c1", "eth0")
    world, _ = add(with_block(), "c1")
    world, _ = run(world, events.CniAsked(2, call("DEL", "c1")), events.PodUnwired(2, attachment))
    world, effects = run(world, events.CniAsked(3, call("ADD", "c1")))
    assert effects == [ReapNow()]
    world, effects = run(world, events.Reaped((attachment,)))
    wire = only(effects, WirePod)
    assert isinstance(wire, WirePod)
    assert (wire.number, wire.pod.address) == (3, ip.address("10.244.0.1"))
