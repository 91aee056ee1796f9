"""The tunnel's address: where it comes from, when it moves, and that it is never missing meanwhile."""

from __future__ import annotations

from asks import NET, asked, claims, configured, given, idle, keeping, working
from msgspec import structs
from worlds import BLOCK, NOW, block, effects, machine, node, pool, run, synced
from worlds import applied as carried_out

from bgpnet import ipam
from bgpnet.agent import events
from bgpnet.agent.effects import JournalBlocks
from bgpnet.agent.world import World
from bgpnet.model import ip, kinds
from bgpnet.model.ipamblock import Use
from bgpnet.model.ippool import Encap
from bgpnet.model.resource import Metadata

TUNNELLED = pool("a-first", "10.244.0.0/16", Encap.ALWAYS)
NEXT = pool("b-next", "10.250.0.0/16", Encap.ALWAYS)


def tunnel(world: World) -> str:
    """What tunl0 gets."""
    kernel = machine()
    carried_out(world, kernel)
    return str(kernel.read().tunnels["tunl0"].address)


def test_the_tunnels_address_moves_when_its_pool_no_longer_permits_it_the_new_one_first() -> None:
    world = working(TUNNELLED, NEXT)
    assert tunnel(world) == "10.244.0.0/32"
    off = structs.replace(TUNNELLED, spec=structs.replace(TUNNELLED.spec, disabled=True))
    world, found = effects(world, events.Changed(kinds.IPPOOL, off))
    [claim] = claims(found)
    assert claim.pools == (NEXT,)
    assert tunnel(world) == "10.244.0.0/32"  # kept until there is another
    world, found = effects(world, events.Claimed(block("10.250.0.0/26")))
    assert tunnel(world) == "10.250.0.0/32"
    [kept] = [one for one in found if isinstance(one, JournalBlocks)]
    assert [one.spec.cidr for one in kept.blocks] == ["10.250.0.0/26", BLOCK]
    assert ipam.usage(world.blocks[NET], world.now).resting == 1
    after, found = effects(world, events.Changed(kinds.IPPOOL, TUNNELLED))
    assert (tunnel(after), found) == ("10.250.0.0/32", [])  # where it is now it may stay


def test_without_a_pool_that_takes_it_the_tunnels_address_goes_so_that_its_block_becomes_empty() -> None:
    world = working(TUNNELLED)
    kernel = machine()
    carried_out(world, kernel)
    off = structs.replace(TUNNELLED, spec=structs.replace(TUNNELLED.spec, disabled=True))
    world, found = effects(world, events.Changed(kinds.IPPOOL, off))
    assert [type(one) for one in found] == [JournalBlocks]
    assert ipam.is_empty(world.blocks[NET])
    carried_out(world, kernel)
    assert kernel.read().tunnels["tunl0"].address is None
    assert "no IP pool has Tunnel addresses for this node: pool a-first is disabled" in world.no_address
    assert tunnel(run(world, events.Changed(kinds.IPPOOL, TUNNELLED))) == "10.244.0.1/32"


def test_where_no_pool_tunnels_at_all_the_tunnel_is_left_as_it_is() -> None:
    world = working(TUNNELLED)
    never = structs.replace(TUNNELLED, spec=structs.replace(TUNNELLED.spec, ipipMode=Encap.NEVER))
    world, found = effects(world, events.Changed(kinds.IPPOOL, never))
    assert found == []
    assert not ipam.is_empty(world.blocks[NET])


def test_the_tunnels_address_stays_while_the_nodes_labels_are_not_known() -> None:
    chosen = pool("a-first", "10.244.0.0/16", Encap.ALWAYS, nodeSelector="zone == 'a'")
    me = node("node1", "192.0.2.1/24", "uuid-1")
    labelled = structs.replace(me, metadata=Metadata(name="node1", labels={"zone": "a"}))
    world = run(synced(chosen, NEXT), events.Changed(kinds.NODE, labelled), events.Claimed(block()))
    assert tunnel(world) == "10.244.0.0/32"
    assert effects(world, events.Gone(kinds.NODE, "node1"))[1] == []
    assert len(claims(effects(world, events.Changed(kinds.NODE, me))[1])) == 1


def test_a_second_tunnel_address_that_a_torn_journal_left_is_released() -> None:
    who = ipam.Claimant("", "tunl0", "", Use.TUNNEL)
    blocks = []
    for cidr in (BLOCK, "10.250.0.0/26"):
        assigned = ipam.assign(block(cidr), who, NOW)
        assert assigned is not None
        blocks.append(assigned[0])
    world = working(TUNNELLED, NEXT, blocks=tuple(blocks))
    assert tunnel(world) == "10.244.0.0/32"
    assert ipam.find(world.blocks[ip.network("10.250.0.0/26")], "", "tunl0") is None


def test_the_tunnels_address_is_no_reserved_one_and_comes_from_an_idle_block_once_it_is_taken_back() -> None:
    world = keeping(synced(TUNNELLED), "10.244.0.0/30")
    assert tunnel(run(world, events.Claimed(block()))) == "10.244.0.4/32"
    world = run(synced(TUNNELLED, blocks=(idle(),)), events.Tick(NOW + 1, 1001.0))
    assert world.taking_back == {NET}
    assert tunnel(run(world, events.TakenBack(ipam.take_back(idle(), NOW)))) == "10.244.0.0/32"


def test_a_block_that_is_to_go_does_not_count_against_the_limit() -> None:
    """With one block a node and its pool disabled, tunnel and pods move to the next pool."""
    world = configured(working(TUNNELLED, NEXT), maxBlocksPerHost=1)
    off = structs.replace(TUNNELLED, spec=structs.replace(TUNNELLED.spec, disabled=True))
    world, found = effects(world, events.Changed(kinds.IPPOOL, off))
    assert [claim.pools for claim in claims(found)] == [(NEXT,)]
    world = run(world, events.Claimed(block("10.250.0.0/26")))
    assert tunnel(world) == "10.250.0.0/32"
    assert given(effects(world, asked())[1]) == "10.250.0.1"
