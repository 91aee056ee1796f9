"""What the agent says of itself."""

from __future__ import annotations

import json
from dataclasses import replace

from asks import configured
from msgspec import structs
from worlds import OTHER, PEER, block, ended, found, fresh, node, pod, pool, run, state, synced, told

from bgpnet import ipam
from bgpnet.agent import events
from bgpnet.agent.plan import plan
from bgpnet.agent.status import WARNINGS, answer, status
from bgpnet.agent.world import Phase, World
from bgpnet.bgp.talk import Away
from bgpnet.model import ip, kinds
from bgpnet.model.ippool import Encap


def of(world: World) -> dict[str, object]:
    code, body = answer(world, plan(world), {"ask": "status"})
    assert code == 0
    said = json.loads(body)
    assert isinstance(said, dict)
    return said


def test_before_the_datastore_is_heard() -> None:
    said = of(fresh())
    assert said["ready"] is False
    missing = (
        "ippools, nodes, bgpconfigurations, bgpfilters, bgppeers, ipamconfigurations, ipreservations, ipamblocks, "
        "releaserequests"
    )
    assert said["datastore"] == f"waiting for {missing}"
    assert said["speaker"] == "away: not connected yet"
    assert (said["blocks"], said["peers"], said["warnings"], said["tunnel"]) == ([], [], [], None)


def test_a_node_at_work() -> None:
    world = synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24"), node("node3", "192.0.2.3/24")])
    world = run(world, found(state(), state(OTHER, up=False)), told("10.244.0.64/26", "10.244.0.128/26"), ended())
    given = ipam.assign(world.blocks[ip.network("10.244.0.0/26")], ipam.Claimant("c1", "eth0"), world.now)
    assert given is not None
    ready, lost = pod("c1", "10.244.0.0"), pod("c2", "10.244.0.1", Phase.LOST)
    world = replace(world, blocks={given[0].network: given[0]}, pods={one.attachment: one for one in (ready, lost)})
    said = of(world)
    assert (said["ready"], said["reasons"], said["datastore"], said["speaker"]) == (True, [], "in sync", "connected")
    assert said["blocks"] == [
        {"cidr": "10.244.0.0/26", "in_use": 1, "resting": 0, "reserved": 0, "free": 63, "state": "inUse"}
    ]
    assert said["pods"] == 1
    peers = said["peers"]
    assert isinstance(peers, list)
    assert [(one["address"], one["state"], one["received"], one["advertised"]) for one in peers] == [
        (str(PEER), "up", 2, 1),
        (str(OTHER), "start", 0, 0),
    ]


def test_while_the_speaker_is_away_no_session_is_up() -> None:
    world = synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")])
    said = of(run(world, found(state()), Away("it was killed")))
    assert said["speaker"] == "away: it was killed"
    peers = said["peers"]
    assert isinstance(peers, list)
    assert [(one["state"], one["info"], one["advertised"]) for one in peers] == [("start", "the speaker is away", 0)]


def test_reasons_of_a_node_that_is_not_ready() -> None:
    nothing = run(synced(), events.Gone(kinds.IPPOOL, "pods"))
    assert of(nothing)["reasons"] == ["there is no IPPool; create one with bgpnetctl create -f pool.yaml"]
    world = synced(pool(mode=Encap.ALWAYS))
    exhausted = events.ClaimFailed("all blocks are owned", exhausted=True, pools=frozenset({"pods"}))
    assert of(run(world, exhausted))["reasons"] == ["tunl0 has no address yet: all blocks are owned"]


def test_resting_addresses_rest_as_long_as_this_agent_lets_them() -> None:
    world = synced(blocks=[block()])
    given = ipam.assign(next(iter(world.blocks.values())), ipam.Claimant("c1", "eth0"), world.now)
    assert given is not None
    resting = ipam.release(given[0], "c1", "eth0", world.now - 60)
    world = replace(world, blocks={resting.network: resting}, me=replace(world.me, rest=120))
    blocks = of(world)["blocks"]
    assert isinstance(blocks, list)
    assert (blocks[0]["resting"], blocks[0]["free"]) == (1, 63)


def test_warnings_name_what_was_refused_and_end_somewhere() -> None:
    world = synced(blocks=[block()], nodes=[node("node2", "192.0.2.2/24")])
    world = run(world, found(state()), told(*(f"10.99.{number}.0/26" for number in range(WARNINGS + 5))))
    world = replace(world, refusals=("route 10.244.0.1 is a stranger's",), fenced="block X belongs to node2 now")
    warnings = of(world)["warnings"]
    assert isinstance(warnings, list)
    assert warnings[:2] == ["block X belongs to node2 now", "route 10.244.0.1 is a stranger's"]
    assert len(warnings) == WARNINGS + 1
    assert "more" in warnings[-1]


def test_an_unknown_question_is_answered_with_what_is_known() -> None:
    code, body = answer(fresh(), plan(fresh()), {"ask": "weather"})
    assert code == 1
    assert b"'weather'" in body
    assert b"'status'" in body


def test_the_status_is_plain_data() -> None:
    world = synced(blocks=[block()])
    assert json.loads(json.dumps(status(world, plan(world)))) == status(world, plan(world))


def test_pods_outside_every_pool_are_said_and_what_to_do() -> None:
    world = synced(pool("other", "10.9.0.0/24"), blocks=[block()])
    world = replace(world, pods={one.attachment: one for one in (pod(f"c{n}", f"10.244.0.{n}") for n in range(7))})
    [warning] = of(world)["warnings"]  # type: ignore[misc]
    assert "10.244.0.0, 10.244.0.1, 10.244.0.2, 10.244.0.3, 10.244.0.4 and 2 more; create their pool" in warning


def test_a_tunnel_that_cannot_move_out_of_a_disabled_pool_says_why() -> None:
    first = pool("a", "10.1.0.0/24", Encap.ALWAYS)
    world = synced(first, pool("b", "10.2.0.0/24", Encap.ALWAYS), blocks=[block("10.1.0.0/26")])
    world = configured(world, autoAllocateBlocks=False)
    off = structs.replace(first, spec=structs.replace(first.spec, disabled=True))
    world = run(world, events.Changed(kinds.IPPOOL, off))
    [warning] = of(world)["warnings"]  # type: ignore[misc]
    assert warning.startswith("tunl0 has 10.1.0.0, whose pool does not serve this node any more, and gets no other: ")
    assert "autoAllocateBlocks" in warning
