"""Blocks that the datastore has as ours while the running agent does not hold them."""

from __future__ import annotations

from dataclasses import replace

from asks import asked, given, working
from msgspec import structs
from worlds import BLOCK, NOW, block, effects, fresh, node, pool, run, synced

from bgpnet import ipam, names
from bgpnet.agent import events, facts, journal
from bgpnet.agent.contents import Contents, end_overtaken, restore
from bgpnet.agent.effects import ClaimBlock, DropBlock, Effect, JournalBlocks, TakeBack
from bgpnet.agent.plan import plan
from bgpnet.agent.world import Phase, Seen, World
from bgpnet.cnispec import Attachment
from bgpnet.kernel.api import DropNeighbour, DropRoute, PutRoute
from bgpnet.kernel.fake import FakeKernel
from bgpnet.kernel.state import Hop, NeighbourKey, Route, Wiring
from bgpnet.kernel.state import Owner as Owned
from bgpnet.model import ip, kinds
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import IPAMBlock, Owner, Use
from bgpnet.model.ippool import Encap
from bgpnet.names import Alias

CIDR = "10.244.0.64/26"
NET = ip.network(CIDR)


def recorded(*containers: str, owner: str = "node1", uid: str = "uuid-1") -> IPAMBlock:
    """A block of the datastore with these pods in it."""
    one = revised(block(CIDR, owner, uid), "5")
    for container in containers:
        assigned = ipam.assign(one, ipam.Claimant(container, "eth0", f"default/{container}", Use.WORKLOAD), NOW, 30)
        assert assigned
        one = assigned[0]
    return one


def revised(one: IPAMBlock, revision: str) -> IPAMBlock:
    return structs.replace(one, metadata=structs.replace(one.metadata, resourceVersion=revision))


def tick(world: World, seconds: float = 1.0) -> tuple[World, list[Effect]]:
    return effects(world, events.Tick(world.now + seconds, world.clock + seconds))


def heard(*blocks: IPAMBlock) -> World:
    return run(working(), *(events.Changed(kinds.IPAMBLOCK, one) for one in blocks))


def test_it_is_swapped_first_and_then_held_without_its_dead() -> None:
    there = recorded("dead")
    world, [asks] = tick(heard(there))
    assert asks == TakeBack(there)
    assert NET not in world.blocks
    assert tick(world)[1] == []  # under way
    mine = revised(ipam.take_back(there, NOW), "6")
    world, done = effects(world, events.TakenBack(mine))
    [journalled] = [one for one in done if isinstance(one, JournalBlocks)]
    assert journalled.blocks == (world.blocks[NET],)
    [slot] = world.blocks[NET].spec.allocations.values()
    assert (slot.container, slot.freedAt is not None) == ("dead", True)
    assert given(effects(world, asked("new", address=str(NET[5])))[1]) == str(NET[5])


def test_a_pod_of_ours_that_lives_in_it_keeps_its_address() -> None:
    """Fenced from the block and given it back by somebody's hand, be the pod's slot there or lost."""
    address = NET[7]
    world = run(working(blocks=(recorded(),)), asked("alive", address=str(address)))
    world = run(world, events.PodWired(1, Attachment("alive", "eth0"), "1.0.0"))
    world = run(world, events.Changed(kinds.IPAMBLOCK, revised(recorded(owner="node2", uid="uuid-2"), "6"), read=True))
    assert (NET in world.blocks, len(world.pods)) == (False, 1)
    slot = ipam.Claimant("alive", "eth0", "default/alive", Use.WORKLOAD)
    for there in (ipam.take(recorded("dead"), address, slot, NOW), recorded("dead")):
        there = revised(there, "7")
        world, [asks] = tick(run(world, events.Changed(kinds.IPAMBLOCK, there)))
        assert asks == TakeBack(there)
        held = run(world, events.TakenBack(revised(ipam.take_back(there, NOW), "8"))).blocks[NET]
        alive = ipam.find(held, "alive", "eth0")
        assert alive
        assert alive[0] == address
        assert ipam.find(held, "dead", "eth0") is None
        world = replace(world, taking_back=frozenset())


def test_one_of_the_machine_that_had_our_name_becomes_ours() -> None:
    world, [asks] = tick(heard(recorded("c", uid="uuid-of-another-machine")))
    assert isinstance(asks, TakeBack)
    assert asks.block.spec.owner == Owner(name="node1", uid="uuid-1")
    assert NET in run(world, events.TakenBack(ipam.take_back(asks.block, NOW))).blocks


def test_one_of_another_owner_is_not_touched_and_an_empty_one_goes() -> None:
    assert tick(heard(recorded("c", owner="node2", uid="uuid-2")))[1] == []
    [drops] = tick(heard(recorded()))[1]
    assert isinstance(drops, DropBlock)


def test_a_tunnel_address_in_it_goes_where_there_is_another() -> None:
    there = recorded("dead")
    there = ipam.take(there, NET[9], ipam.Claimant("", "tunl0", "", Use.TUNNEL), NOW)
    tunnels = working(pool(mode=Encap.ALWAYS))
    assert ipam.find(tunnels.blocks[ip.network(BLOCK)], "", "tunl0")
    world = run(tunnels, events.Changed(kinds.IPAMBLOCK, there), events.TakenBack(ipam.take_back(there, NOW)))
    assert ipam.find(world.blocks[NET], "", "tunl0") is None
    alone = run(synced(pool(mode=Encap.ALWAYS)), events.TakenBack(ipam.take_back(there, NOW)))
    assert ipam.find(alone.blocks[NET], "", "tunl0")


def test_nothing_is_asked_without_the_datastore_or_while_something_is_under_way() -> None:
    world = heard(recorded("c"))
    assert tick(run(world, events.StoreAway("it is off")))[1] == []
    assert tick(replace(world, adopted=False))[1] == []
    assert tick(replace(world, dropping=ip.network("10.244.9.0/26")))[1] == []
    assert tick(replace(world, claiming=True))[1] == []


def test_an_owner_who_came_meanwhile_keeps_it() -> None:
    there = recorded("c")
    world, _ = tick(heard(there))
    theirs = revised(recorded("c", owner="node2", uid="uuid-2"), "9")
    world = run(world, events.Changed(kinds.IPAMBLOCK, theirs), events.TakenBack(ipam.take_back(there, NOW)))
    assert NET not in world.blocks
    failed = events.TakeBackFailed(NET, "it went to another node")
    assert NET not in run(heard(there), failed).blocks
    assert names.block(NET) in world.of_kind(kinds.IPAMBLOCK)


def kernel_only(address: str = "10.244.3.9") -> World:
    """A start without a journal: the kernel has a pod's link, with its route."""
    seen = Seen("cali1", "2026-11-21T00:00:00.000Z", 1480, ip.address(address))
    return run(fresh(), events.KernelLooked({Attachment("c1", "eth0"): seen}))


def test_a_pod_that_only_the_kernel_knows_keeps_the_mac_that_it_asked_for() -> None:
    kernel = FakeKernel()
    for number, mac in enumerate(("02:11:22:33:44:55", "0a:58:0a:f4:03:01")):
        alias = Alias(f"c{number}", "eth0", "2026-11-21T00:00:00.000Z")
        address = ip.address(f"10.244.3.{number}")
        kernel.wire(Wiring(f"cali{number}", "eth0", number, address, mac, 1480, alias))
    kernel.change([DropNeighbour(NeighbourKey("cali1", ip.address("10.244.3.1")))])
    world = synced(start=run(fresh(), events.KernelLooked(facts.seen(kernel.read()))))
    found = {pod.link: pod.mac for pod in world.pods.values()}
    assert found == {"cali0": "02:11:22:33:44:55", "cali1": "0a:58:0a:f4:03:01"}  # made from its address, where unknown
    assert sorted(plan(world).kernel.neighbours.values()) == sorted(found.values())
    kernel.change([DropRoute(Owned.LOCAL, Route(ip.network("10.244.3.0/32"), (Hop("cali0"),)))])
    there = facts.seen(kernel.read())[Attachment("c0", "eth0")]
    assert (there.address, there.mac) == (None, "02:11:22:33:44:55")  # its block may know the address


def test_of_a_pod_over_whose_link_somebody_led_others_the_own_address_is_known() -> None:
    kernel = FakeKernel()
    alias = Alias("c1", "eth0", "2026-11-21T00:00:00.000Z")
    kernel.wire(Wiring("cali1", "eth0", 1, ip.address("10.244.3.5"), "0a:58:0a:f4:03:05", 1480, alias))
    strange = [Route(ip.network(f"10.244.3.{number}/32"), (Hop("cali1"),)) for number in (1, 9)]
    kernel.change([PutRoute(Owned.LOCAL, route, new=False) for route in strange])
    there = facts.seen(kernel.read())[Attachment("c1", "eth0")]
    assert (str(there.address), there.mac) == ("10.244.3.5", "0a:58:0a:f4:03:05")


def test_a_pod_that_only_the_kernel_knows_goes_on_and_its_block_is_claimed() -> None:
    heard = (events.Listed(kinds.NODE, ()), events.Listed(kinds.IPAMBLOCK, ()))
    kept = [one for one in effects(kernel_only(), *heard)[1] if isinstance(one, JournalBlocks)]
    assert [pod.attachment.container for one in kept for pod in one.pods] == ["c1"]
    world = synced(start=kernel_only())
    [pod] = world.pods.values()
    assert (str(pod.address), pod.phase, pod.link) == ("10.244.3.9", Phase.READY, "cali1")
    wish = plan(world).kernel
    assert wish.sweep_pods
    assert "cali1" in wish.pods
    world, [claim] = tick(world)
    assert isinstance(claim, ClaimBlock)
    assert str(claim.wanted) == "10.244.3.0/26"
    world = run(world, events.Claimed(block("10.244.3.0/26")))
    alive = ipam.find(world.blocks[ip.network("10.244.3.0/26")], "c1", "eth0")
    assert alive
    assert str(alive[0]) == "10.244.3.9"


def test_it_goes_on_in_a_block_of_another_node_which_is_not_claimed() -> None:
    world = synced(start=kernel_only(), blocks=(block("10.244.3.0/26", "node2", "uuid-2"),))
    assert "cali1" in plan(world).kernel.pods
    assert "belongs to node node2 now" in world.fenced
    assert not [one for one in tick(world)[1] if isinstance(one, ClaimBlock)]


def test_without_its_pool_nothing_is_claimed_for_it() -> None:
    for other in (pool(cidr="192.168.0.0/16"), pool(disabled=True)):
        world = synced(other, start=kernel_only())
        assert "cali1" in plan(world).kernel.pods
        assert not [one for one in tick(world)[1] if isinstance(one, ClaimBlock) and one.wanted]


def test_who_asks_for_an_address_in_it_waits_until_it_is_taken() -> None:
    there = recorded("dead")
    world, found = effects(heard(there), asked("c1", address=str(NET[5])))
    assert found == [TakeBack(there)]
    assert effects(world, asked("c2", address=str(NET[6]), number=2, pod="shop/two"))[1] == []  # under way
    assert given(effects(world, events.TakenBack(ipam.take_back(there, NOW)))[1]) == str(NET[5])


def test_a_pod_whose_line_the_journal_lost_keeps_link_and_address() -> None:
    """The journal has the block, and not the pod: acknowledged lines were lost with a damaged file system."""
    journalled = replace(fresh(), blocks={ip.network("10.244.3.0/26"): block("10.244.3.0/26")})
    seen = Seen("cali1", "2026-11-21T00:00:00.000Z", 1480, ip.address("10.244.3.9"))
    start = run(journalled, events.KernelLooked({Attachment("c1", "eth0"): seen}))
    world = synced(start=start, blocks=(block("10.244.3.0/26"),))
    assert "cali1" in plan(world).kernel.pods
    [(net, mine)] = world.blocks.items()
    alive = ipam.find(mine, "c1", "eth0")
    assert alive
    assert str(alive[0]) == "10.244.3.9"
    assert given(effects(world, asked("c2"))[1]) != "10.244.3.9"
    other = ipam.take(block("10.244.3.0/26"), net[9], ipam.Claimant("c7", "eth0"), NOW)
    taken = synced(start=replace(start, blocks={net: other}), blocks=(other,))
    assert "cali1" not in plan(taken).kernel.pods  # it would be the second of that address


def test_an_old_journal_says_nothing_of_a_pod_of_which_the_kernel_has_a_later_link() -> None:
    """Its container was deleted and added again, as podman does; or it is gone, and its address is another's by now."""
    net = ip.network(BLOCK)
    came = run(working(), asked("c1", address=str(net[5])), events.PodWired(1, Attachment("c1", "eth0"), "1.0.0"))
    [before], later = came.pods.values(), stamp(NOW + 60)
    for container, address in (("c1", net[9]), ("c2", net[5])):
        links = {Attachment(container, "eth0"): Seen("cali1", later, 1480, address)}
        old = Contents("boot", dict.fromkeys([BLOCK], came.blocks[net]), {before.attachment: journal.came(before)})
        assert [pod.container for pod in end_overtaken(old, links, NOW + 90)] == ["c1"]
        blocks, pods = restore(old, "boot", NOW + 90)
        start = run(replace(fresh(), blocks=blocks, pods=pods, journalled=True), events.KernelLooked(links))
        world = synced(start=start, blocks=(came.blocks[net],))
        [pod] = world.pods.values()
        assert (pod.attachment.container, pod.address, pod.phase) == (container, address, Phase.READY)
        assert "cali1" in plan(world).kernel.pods
        assert ipam.find(world.blocks[net], container, "eth0") is not None
    itself = {before.attachment: Seen(before.link, before.since, 1480, before.address)}
    stranger = {Attachment("c3", "eth0"): Seen("cali3", before.since, 1480, before.address)}  # no later than it
    for links in (itself, stranger, {}):
        assert end_overtaken(Contents("boot", pods={before.attachment: journal.came(before)}), links, NOW) == []


def test_an_address_that_was_left_while_its_block_was_another_nodes_rests_when_the_block_is_ours_again() -> None:
    address = NET[7]
    world = run(working(blocks=(recorded(),)), asked("alive", address=str(address)))
    world = run(world, events.PodWired(1, Attachment("alive", "eth0"), "1.0.0"))
    world = run(world, events.Changed(kinds.IPAMBLOCK, revised(recorded(owner="node2", uid="uuid-2"), "6"), read=True))
    pod = world.pods[Attachment("alive", "eth0")]
    world = run(world, events.PodUnwired(0, pod.attachment), events.Reaped((pod.attachment,)))
    assert (len(world.pods), list(world.freed)) == (0, [address])
    world = run(world, events.Claimed(revised(block(CIDR), "9")))
    slot = world.blocks[NET].spec.allocations[7]
    assert (slot.container, slot.freedAt is not None) == ("alive", True)


def test_a_copy_of_a_living_machines_disk_does_not_take_its_name() -> None:
    """A copy has the UUID, too, but not the address; whoever worked here since the machine started is no copy."""

    def stops(address: str, *, new: bool = True, later: float = 0.0) -> bool:
        start = replace(fresh(), me=replace(fresh().me, new_here=new), now=NOW + later)
        told = effects(start, events.Listed(kinds.NODE, (node("node1", address, "uuid-1"),)))[1]
        return any("are those of a machine with the address 192.0.2.7, alive 0 s ago" in str(one) for one in told)

    assert stops("192.0.2.7/24")
    assert not stops("192.0.2.1/24")  # the machine itself was started anew
    assert not stops("192.0.2.7/24", new=False)  # it was given another address
    assert not stops("192.0.2.7/24", later=60.0)  # and so it was, but while it was off
