"""Choosing an address for an ADD, step by step: wishes, limits, idle blocks, the block ahead of need, the tunnel."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from asks import NET, POD, asked, claims, configured, given, held, idle, keeping, refusal, reservation, working
from worlds import BLOCK, NOW, block, effects, fresh, later, pool, run, synced

from bgpnet import ipam, reservations
from bgpnet.agent import choose, events
from bgpnet.agent.effects import Answer, CheckPod, Effect, JournalReserved, ReapNow, TakeBack, Warn, WirePod
from bgpnet.agent.kubeevents import Namespaces
from bgpnet.agent.world import World
from bgpnet.annotations import ADDRESSES, MAC, POOLS, Meta
from bgpnet.cnispec import Attachment
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, IPAMBlock, Use
from bgpnet.model.ippool import AllowedUse, AssignmentMode, Encap


def test_reserved_addresses_are_passed_over_from_the_moment_they_are_heard_of() -> None:
    world = keeping(working(), "10.244.0.0/30", "10.244.0.5")
    addresses = []
    for number in range(3):
        world, found = effects(world, asked(f"c{number}", pod=f"shop/cart-{number}"))
        addresses.append(given(found))
    assert addresses == ["10.244.0.4", "10.244.0.6", "10.244.0.7"]
    world = run(world, events.Gone(kinds.IPRESERVATION, "kept"))
    assert given(effects(world, asked("c9", pod="shop/other"))[1]) == "10.244.0.0"


def test_reservations_are_journalled_when_they_change_and_hold_before_the_datastore_is_heard() -> None:
    world, found = effects(working(), events.Changed(kinds.IPRESERVATION, reservation("10.244.0.0/31")))
    assert found == [JournalReserved(("10.244.0.0/31",))]
    assert effects(world, events.Listed(kinds.IPRESERVATION, (reservation("10.244.0.0/31"),)))[1] == []
    started = replace(
        fresh(), blocks=world.blocks, journalled=True, reserved=reservations.of_networks(["10.244.0.0/31"])
    )
    assert given(effects(started, asked())[1]) == "10.244.0.2"


def test_a_wholly_reserved_own_block_sends_for_another() -> None:
    world, found = effects(keeping(working(), BLOCK), asked())
    [claim] = claims(found)
    assert claim.reserved.networks == (NET,)
    assert set(world.waiting) == {1}


def test_who_asks_for_a_reserved_address_by_name_gets_it() -> None:
    world = keeping(working(), "10.244.0.0/24")
    assert given(effects(world, asked(address="10.244.0.9"))[1]) == "10.244.0.9"


# wishes of pods and namespaces


def described(world: World, of_namespace: dict[str, str], **labels: str) -> World:
    return run(world, Namespaces({"shop": Meta(labels, of_namespace)}, whole=True))


BLUE = pool("blue", "10.250.0.0/16", assignmentMode=AssignmentMode.MANUAL)


@pytest.mark.parametrize(
    ("of_pod", "of_namespace", "config", "address"),
    [
        ({}, {}, {}, "10.244.0.0"),
        ({}, {}, {"ipv4_pools": ["blue"]}, "10.250.0.0"),
        ({}, {POOLS: '["blue"]'}, {}, "10.250.0.0"),
        ({POOLS: '["10.244.0.0/16"]'}, {POOLS: '["blue"]'}, {}, "10.244.0.0"),
        ({POOLS: '["blue"]'}, {POOLS: '["pods"]'}, {"ipam": {"ipv4_pools": ["pods"]}}, "10.250.0.0"),
        ({ADDRESSES: '["10.250.0.7"]'}, {POOLS: '["pods"]'}, {}, "10.250.0.7"),
    ],
)
def test_annotations_choose_the_pool(
    of_pod: dict[str, str], of_namespace: dict[str, str], config: dict[str, Any], address: str
) -> None:
    world = described(working(pool(), BLUE, blocks=(block(), block("10.250.0.0/26"))), of_namespace)
    assert given(effects(world, asked(annotations=of_pod, **config))[1]) == address


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({POOLS: "blue"}, f"annotation {POOLS} of pod {POD} = 'blue' is not JSON: write a list"),
        (
            {POOLS: '["red"]'},
            f"the pool red that annotation {POOLS} of pod {POD} asks for does not exist: create it, or",
        ),
        ({POOLS: '["off"]'}, "is disabled: set its spec.disabled to false, or ask for another"),
        ({ADDRESSES: '["172.16.0.1"]'}, f"annotation {ADDRESSES} of pod {POD} = 172.16.0.1 is outside every IP pool"),
        ({ADDRESSES: '["10.251.0.1"]'}, "= 10.251.0.1: pool off is disabled (spec.disabled: true); change that field"),
        ({ADDRESSES: '["fd00::1"]'}, "is an IPv6 address, and pods have IPv4 only: leave it out"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence(annotations: dict[str, str], words: str) -> None:
    world = described(working(pool(), pool("off", "10.251.0.0/16", disabled=True)), {})
    code, said = refusal(effects(world, asked(annotations=annotations))[1])
    assert code == 101
    assert words in said


def test_a_pool_for_some_namespaces() -> None:
    team = pool("team", "10.240.0.0/16", namespaceSelector="team == 'x'", allowedUses=(AllowedUse.WORKLOAD,))
    world = working(team, pool(), blocks=(block(), block("10.240.0.0/26")))
    theirs = described(world, {}, team="x")
    assert [one.metadata.name for one in permitted(theirs)] == ["pods", "team"]
    assert [one.metadata.name for one in permitted(described(world, {}, team="y"))] == ["pods"]
    assert [one.metadata.name for one in permitted(world)] == ["pods"]
    code, said = refusal(effects(described(working(team), {}, team="y"), asked())[1])
    assert code == 101
    assert "pool team does not select the pod's namespace (spec.namespaceSelector: team == 'x')" in said


def permitted(world: World) -> list[Any]:
    _, found = effects(replace(world, blocks={}), asked())
    [claim] = claims(found)
    return list(claim.pools)


# a MAC


def macs(found: list[Effect]) -> list[str]:
    return [one.pod.mac for one in found if isinstance(one, WirePod)]


def test_a_mac_that_is_asked_for_is_the_pods_end_and_no_other_one_later() -> None:
    ours, theirs = "02:11:22:33:44:55", "02:aa:00:00:00:01"
    assert macs(effects(working(), asked())[1]) == ["0a:58:0a:f4:00:00"]
    assert macs(effects(described(working(), {MAC: theirs}), asked(annotations={MAC: ours}))[1]) == [ours]
    world, found = effects(working(), asked(args={"cni": {"mac": ours}}))
    assert macs(found) == [ours]
    world = run(world, events.PodWired(1, Attachment("c1", "eth0"), "1.0.0"))
    again, found = effects(world, asked(args={"cni": {"mac": ours}}, number=2))
    assert [one.pod.mac for one in found if isinstance(one, CheckPod)] == [ours]
    lost = run(again, events.KernelApplied((), frozenset(pod.link for pod in again.pods.values())))
    assert macs(effects(lost, asked(number=3))[1]) == [ours]
    both = asked(args={"cni": {"mac": theirs}}, annotations={MAC: ours}, number=5)  # the pod beats its runtime
    assert [one.pod.mac for one in effects(world, both)[1] if isinstance(one, CheckPod)] == [ours]
    assert refusal(effects(world, asked(args={"cni": {"mac": theirs}}, number=4))[1]) == (
        7,
        f"args.cni.mac = {theirs}, but this container has {ours}: delete it first",
    )


# an address by name


def test_an_address_by_name_from_an_own_block_and_the_same_answer_again() -> None:
    world, found = effects(working(), asked(address="10.244.0.9"))
    assert given(found) == "10.244.0.9"
    world = run(world, events.PodWired(1, Attachment("c1", "eth0"), "1.0.0"))
    again, found = effects(world, asked(address="10.244.0.9", number=2))
    [check] = [one for one in found if isinstance(one, CheckPod)]
    [answer] = effects(again, events.PodChecked(2, check.pod.attachment, check.version, (), check.repeated))[1]
    assert isinstance(answer, Answer)
    assert (answer.status, json.loads(answer.body)["ips"][0]["address"]) == (0, "10.244.0.9/32")
    assert again.blocks == world.blocks
    assert refusal(effects(world, asked(address="10.244.0.8", number=3))[1]) == (
        101,
        "CNI_ARGS IP = 10.244.0.8, but this container has 10.244.0.9: delete it first",
    )


def test_an_address_by_name_that_is_taken_reserved_resting_or_another_nodes() -> None:
    world, _ = effects(working(blocks=(block(), block("10.244.9.0/26", "node2", "uuid-2"))), asked("c0", "10.244.0.1"))
    slot = Allocation(container="c7", ifname="eth0", pod="a/b", use=Use.RESERVED, since=stamp(NOW), sequence=1)
    mine = ipam.restore(world.blocks[NET], ip.address("10.244.0.2"), slot)
    mine = ipam.release(ipam.take(mine, ip.address("10.244.0.3"), ipam.Claimant("c8", "eth0"), NOW), "c8", "eth0", NOW)
    world = replace(world, blocks={NET: mine})
    said = {
        address: refusal(effects(world, asked(address=address, pod="shop/other"))[1])
        for address in ("10.244.0.1", "10.244.0.2", "10.244.0.3", "10.244.9.5")
    }
    since = "2023-11-14T22:13:20.000Z"
    assert said == {
        "10.244.0.1": (
            101,
            f"CNI_ARGS IP = 10.244.0.1 is taken by container c0 interface eth0 (pod {POD}) since {since}: "
            "ask for another address, or delete that one first",
        ),
        "10.244.0.2": (
            101,
            f"CNI_ARGS IP = 10.244.0.2 is reserved for container c7 interface eth0 (pod a/b) since {since}: "
            "ask for another address, or release it with bgpnetctl ipam release once its holder is gone",
        ),
        "10.244.0.3": (
            11,
            "CNI_ARGS IP = 10.244.0.3 of container c8 interface eth0 rests until 2023-11-14T22:13:50.000Z: "
            "ask again then, or for another address",
        ),
        "10.244.9.5": (
            101,
            "CNI_ARGS IP = 10.244.9.5 is in block 10.244.9.0/26 of node node2: "
            "run the pod on that node, or ask for an address of another block",
        ),
    }
    assert given(effects(later(world, 30.0), asked(address="10.244.0.3", pod="shop/other"))[1]) == "10.244.0.3"


def test_the_block_of_an_address_is_claimed_for_it_and_its_loss_to_another_node_is_told() -> None:
    world, found = effects(working(), asked(address="10.244.7.70"))
    [claim] = claims(found)
    assert (str(claim.wanted), claim.pools) == ("10.244.7.64/26", (pool(),))
    mine = block("10.244.7.64/26")
    assert given(effects(world, events.Claimed(mine))[1]) == "10.244.7.70"
    theirs = block("10.244.7.64/26", "node2", "uuid-2")
    lost = events.ClaimFailed("block 10.244.7.64/26 went to another node", exhausted=True, pools=frozenset())
    _, found = effects(world, events.Changed(kinds.IPAMBLOCK, theirs), lost)
    assert "is in block 10.244.7.64/26 of node node2" in refusal(found)[1]


def test_an_idle_block_of_another_node_is_claimed_for_an_address_in_it() -> None:
    world = synced(blocks=(idle("10.244.7.64/26", "node2"), block()))
    _, found = effects(world, asked(address="10.244.7.70"))
    assert str(claims(found)[0].wanted) == "10.244.7.64/26"


def test_an_address_by_name_waits_while_the_pools_are_not_known() -> None:
    world = replace(working(), synced=frozenset())
    world, found = effects(world, asked(address="10.244.0.9"))
    assert (found, list(world.waiting)) == ([], [1])


# limits and settings


def test_the_limit_of_blocks_is_told_and_presses_resting_addresses_first() -> None:
    full = held(BLOCK, 1)
    world = configured(working(blocks=(full,)), strictAffinity=True, maxBlocksPerHost=1)
    world, found = effects(world, asked("c0", pod="a/b"))
    assert (given(found), claims(found)) == ("10.244.0.63", [])
    assert refusal(effects(world, asked())[1]) == (
        101,
        "node node1 gets no further block because it has 1, 0 addresses in them unused: "
        "raise spec.maxBlocksPerHost (1) of IPAMConfiguration default, or delete pods",
    )
    rested = ipam.release(world.blocks[NET], "c0", "eth0", NOW)
    assert given(effects(replace(world, blocks={NET: rested}), asked())[1]) == "10.244.0.63"


def test_an_exhausted_node_waits_for_a_link_that_is_being_deleted() -> None:
    world = configured(working(blocks=(held(BLOCK, 1),)), strictAffinity=True, maxBlocksPerHost=1)
    world, _ = effects(world, asked("c0", pod="a/b"))
    attachment = Attachment("c0", "eth0")
    world = run(world, events.PodWired(1, attachment, "1.0.0"))
    assert refusal(effects(world, asked())[1])[0] == 101
    call = asked("c0", number=9).call
    gone = events.CniAsked(9, replace(call, env={**call.env, "CNI_COMMAND": "DEL"}))
    world = run(world, gone, events.PodUnwired(9, attachment))
    world, found = effects(world, asked())
    assert found == [ReapNow()]
    assert given(effects(world, events.Reaped((attachment,)))[1]) == "10.244.0.63"


def test_the_longest_resting_address_of_all_blocks_is_pressed() -> None:
    def resting(cidr: str, freed: float) -> IPAMBlock:
        one = ipam.assign(held(cidr, 1), ipam.Claimant("gone", "eth0"), NOW)
        assert one is not None
        return ipam.release(one[0], "gone", "eth0", freed)

    older = (resting(BLOCK, NOW - 1), resting("10.244.0.64/26", NOW - 2))
    world = configured(working(blocks=older), strictAffinity=True, maxBlocksPerHost=2)
    assert given(effects(world, asked())[1]) == "10.244.0.127"


def test_a_rest_that_is_cut_short_is_said_once_a_minute() -> None:
    full = held(BLOCK, 0)
    gone = range(3)
    for number in gone:
        full = ipam.release(full, f"t{number}", "x", NOW - 4)
    world = configured(working(blocks=(full,)), strictAffinity=True, maxBlocksPerHost=1)
    said = []
    for number in gone:
        world, found = effects(world, asked(f"n{number}", number=number + 1, pod=f"a/n{number}"))
        assert given(found)
        said += [one.sentence for one in found if isinstance(one, Warn)]
        world = replace(world, clock=world.clock + 59 * number)  # 0, then 59 s, then 118 s later
    assert said[:1] == [
        "10.244.0.0 is given away 4 s after its release, although addresses rest 30 s, because node node1 has no "
        "other: node node1 gets no further block because it has 1, 3 addresses in them unused: raise "
        "spec.maxBlocksPerHost (1) of IPAMConfiguration default, or delete pods"
    ]
    assert len(said) == 1
    world = replace(world, blocks={NET: ipam.release(world.blocks[NET], "n0", "eth0", NOW)})
    world, found = effects(world, asked("n9", number=9, pod="a/n9"))
    assert [one.sentence.partition(",")[0] for one in found if isinstance(one, Warn)] == [
        "10.244.0.0 is given away 0 s after its release"
    ]


def test_an_address_that_has_rested_is_given_away_without_a_word() -> None:
    full = ipam.release(held(BLOCK, 0), "t0", "x", NOW - 31)
    _, found = effects(configured(working(blocks=(full,)), strictAffinity=True, maxBlocksPerHost=1), asked())
    assert given(found)
    assert not [one for one in found if isinstance(one, Warn)]


def test_twenty_blocks_where_nothing_is_set() -> None:
    blocks = tuple(held(f"10.244.{n}.0/26", 0) for n in range(20))
    assert claims(effects(working(blocks=blocks[:19]), asked())[1])
    code, said = refusal(effects(working(blocks=blocks), asked())[1])
    assert code == 101
    assert "because it has 20, 0 addresses in them unused: raise spec.maxBlocksPerHost (0, which means 20)" in said


def test_without_auto_allocation_no_block_is_claimed_for_anybody() -> None:
    world = configured(synced(pool(mode=Encap.ALWAYS)), strictAffinity=True, autoAllocateBlocks=False)
    world = replace(world, claiming=False)
    words = "node node1 gets no further block because IPAMConfiguration default says spec.autoAllocateBlocks: false"
    for address in ("", "10.244.7.70"):
        code, said = refusal(effects(world, asked(address=address))[1])
        assert code == 101
        assert words in said
    world, found = effects(world, events.Tick(NOW + 1, world.clock + 1))
    assert claims(found) == []
    assert words in run(replace(world, no_address=""), events.Tick(NOW + 2, world.clock + 1)).no_address


def test_the_clusters_cool_down_beats_the_agents_own() -> None:
    assert choose.rest(working()) == 30.0
    assert choose.rest(configured(working(), ipCooldownSeconds=0)) == 0.0
    assert choose.rest(configured(working(), ipCooldownSeconds=600)) == 600.0


def test_nothing_is_claimed_before_limits_and_reservations_are_heard() -> None:
    for plural in ("ipamconfigurations", "ipreservations"):
        world = synced()
        world, found = effects(replace(world, synced=world.synced - {plural}), asked())
        assert (found, list(world.waiting)) == ([], [1])


# idle blocks


def test_an_idle_own_block_gives_nothing_away_before_the_datastore_says_that_it_is_in_use() -> None:
    world, found = effects(working(blocks=(idle(),)), asked("c1"), asked("c2", number=2, pod="shop/cart-2"))
    [back] = found
    assert back == TakeBack(idle())
    assert (set(world.waiting), world.taking_back) == ({1, 2}, {NET})
    mine = ipam.take_back(idle(), NOW)
    world, found = effects(world, events.TakenBack(mine))
    assert [one.pod.address for one in found if isinstance(one, WirePod)] == [NET[0], NET[1]]
    assert (dict(world.waiting), world.taking_back) == ({}, frozenset())
    assert world.of_kind(kinds.IPAMBLOCK)[mine.metadata.name] == mine


def test_an_address_by_name_in_an_idle_own_block_takes_it_back() -> None:
    world, found = effects(working(blocks=(idle(),)), asked(address="10.244.0.9"))
    assert found == [TakeBack(idle())]
    assert given(effects(world, events.TakenBack(ipam.take_back(idle(), NOW)))[1]) == "10.244.0.9"


def test_a_take_back_that_the_datastore_did_not_answer_is_tried_again_with_time() -> None:
    world, _ = effects(working(blocks=(idle(),)), asked())
    world, found = effects(world, events.TakeBackFailed(NET, "it is down"))
    assert (found, world.waiting[1].reason, world.taking_back) == ([], "it is down", frozenset())
    assert effects(world, events.Tick(NOW + 1, world.clock + 1))[1] == [TakeBack(idle())]


def test_a_block_that_another_node_took_is_not_ours_and_another_is_claimed() -> None:
    world, _ = effects(working(blocks=(idle(),)), asked())
    theirs = block(BLOCK, "node2", "uuid-2")
    lost = events.TakeBackFailed(NET, f"block {BLOCK} of this node went to another node")
    world, found = effects(world, events.Changed(kinds.IPAMBLOCK, theirs), lost)
    assert not world.blocks
    assert len(claims(found)) == 1
    late, found = effects(world, events.TakenBack(ipam.take_back(idle(), NOW)))
    assert not late.blocks


# ahead of need


def test_the_next_block_is_claimed_before_the_last_addresses_are_given_away() -> None:
    world, found = effects(working(blocks=(held(BLOCK, 9),)), asked("c1"))
    assert claims(found) == []
    world, found = effects(world, asked("c2", number=2, pod="shop/cart-2"))
    assert given(found) == "10.244.0.56"
    assert len(claims(found)) == 1
    world, found = effects(world, asked("c3", number=3, pod="shop/cart-3"))
    assert claims(found) == []  # under way
    world, found = effects(world, events.Claimed(block("10.244.0.64/26")), asked("c4", number=4, pod="shop/cart-4"))
    assert (given(found), claims(found)) == ("10.244.0.58", [])


def test_an_idle_own_block_comes_back_ahead_of_need_and_no_other_is_claimed() -> None:
    spare = idle("10.244.0.64/26")
    _, found = effects(working(blocks=(held(BLOCK, 8), spare)), asked())
    assert [one for one in found if not isinstance(one, WirePod)] == [TakeBack(spare)]


def test_reserved_addresses_are_not_free_ones() -> None:
    world = keeping(working(blocks=(held(BLOCK, 12),)), "10.244.0.60/30")
    assert len(claims(effects(world, asked())[1])) == 1


def test_nothing_is_claimed_ahead_where_it_failed_a_moment_ago_or_the_datastore_is_away_or_a_limit_is_met() -> None:
    world, _ = effects(working(blocks=(held(BLOCK, 8),)), asked())
    none = events.ClaimFailed("all are owned", exhausted=True, pools=frozenset({"pods"}))
    failed = run(world, none)
    soon = effects(failed, asked("c2", number=2, pod="shop/cart-2"))[1]
    assert claims(soon) == []
    assert len(claims(effects(failed, events.Tick(NOW + 31, failed.clock + 31))[1])) == 1
    away = run(working(blocks=(held(BLOCK, 8),)), events.StoreAway("it is down"))
    assert claims(effects(away, asked())[1]) == []
    limited = configured(working(blocks=(held(BLOCK, 8),)), strictAffinity=True, maxBlocksPerHost=1)
    assert claims(effects(limited, asked())[1]) == []


def test_with_time_a_node_with_pods_gets_the_block_that_it_could_not_claim() -> None:
    world = run(working(blocks=(held(BLOCK, 8),)), events.StoreAway("it is down"), asked())
    world = run(world, events.PodWired(1, Attachment("c1", "eth0"), "1.0.0"))
    back = run(world, events.Listed(kinds.IPPOOL, (pool(),)))
    assert len(claims(effects(back, events.Tick(NOW + 1, back.clock + 1))[1])) == 1
    bare = working(blocks=(held(BLOCK, 0),))
    assert effects(bare, events.Tick(NOW + 1, bare.clock + 1))[1] == []


@pytest.mark.parametrize(
    ("size", "free", "enough"),
    [(26, 8, True), (26, 7, False), (24, 32, True), (24, 31, False), (29, 4, True), (29, 3, False), (32, 1, True)],
)
def test_the_mark_is_an_eighth_of_a_large_block_and_half_of_a_small_one(size: int, free: int, enough: bool) -> None:
    assert choose.plenty(working(), [held(f"10.244.0.0/{size}", free)]) is enough


def test_an_empty_block_is_needed_while_the_others_are_nearly_full() -> None:
    spare = block("10.244.0.64/26")
    for free, needed in ((15, True), (16, False)):
        world = working(blocks=(held(BLOCK, free), spare))
        assert choose.is_needed(world, spare.network) is needed
    assert not choose.is_needed(working(blocks=(spare,)), spare.network)


def test_with_the_datastore_away_a_resting_address_is_better_than_none() -> None:
    small = "10.244.0.0/31"
    world = working(pool(cidr="10.244.0.0/24", blockSize=31), blocks=(block(small),))
    for container in ("c1", "c2"):
        world = run(
            world, asked(container, pod=f"shop/{container}"), events.PodWired(1, Attachment(container, "eth0"), "1.0.0")
        )
    first = Attachment("c1", "eth0")
    world = run(world, events.StoreAway("it is off"))
    world = run(replace(world, claiming=False), events.PodUnwired(0, first), events.Reaped((first,)))
    served = effects(world, asked("c3", pod="shop/c3"))[1]
    assert given(served) == "10.244.0.0"
    assert [one.sentence.rpartition(" has no other: ")[2] for one in served if isinstance(one, Warn)] == [
        "the datastore is away (it is off)"
    ]
    held_all, found = effects(run(world, asked("c3", pod="shop/c3")), asked("c4", pod="shop/c4", number=4))
    assert not [one for one in found if isinstance(one, WirePod | Answer)]
    assert held_all.waiting  # until the datastore is back, or the runtime's patience ends
