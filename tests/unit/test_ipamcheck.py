"""`ipam check`'s engine: for each code a picture that has it; the neighbouring one that has not; and confirmation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipam_worlds import (
    AGENT,
    HEALTHY,
    IDLE,
    N1,
    N1B,
    N2,
    NOW,
    PUBLISHED,
    block,
    has,
    node,
    pool,
    slot,
    tunnel,
    with_block,
    with_sandboxes,
    with_word,
)
from msgspec import structs

from bgpnet import ipam, names
from bgpnet.ipamcheck import check, words
from bgpnet.ipamcheck.picture import Holder, Picture, Runtime, Sandbox, Source, Word
from bgpnet.model import instant, ip
from bgpnet.model.ipamblock import IPAMBlock, Owner, Use
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.node import NodeBGP, NodeSpec
from bgpnet.model.resource import Metadata

Expected = list[tuple[str, str]]


def found(picture: Picture) -> Expected:
    return [(problem.code, problem.subject) for problem in check.problems(picture)]


def reserving(cidr: str) -> Picture:
    kept = IPReservation(metadata=Metadata(name="r"), spec=IPReservationSpec(reservedCIDRs=(cidr,)))
    return replace(HEALTHY, reservations=(kept,))


def without_tunnel(name: str) -> Picture:
    return replace(HEALTHY, nodes=tuple(one if one.metadata.name != name else node(name) for one in HEALTHY.nodes))


UNKNOWN = Word("n2", Source.UNKNOWN, leaked=(has("10.0.0.133", "c5", 21),), reason="silent")
HELD = AGENT.blocks or {}
FREED = block("10.0.0.128/26", "n2", {0: tunnel(2), 5: slot("c5", 21, freed=NOW - 1)})

VXLAN = tunnel(3, names.VXLAN)

CASES: dict[str, tuple[Picture, Expected]] = {
    "healthy": (HEALTHY, []),
    "nothing at all": (Picture(now=NOW), []),
    # malformed
    "an ordinal nowhere": (
        with_block(structs.replace(N1B, spec=structs.replace(N1B.spec, free=N1B.spec.free[1:]))),
        [("malformed-block", "IPAMBlock(10-0-0-64-26)")],
    ),
    "a block that cannot be read": (
        replace(HEALTHY, broken={"/bgpnet/v1/ipamblocks/10-0-1-0-26": "is not JSON"}),
        [("malformed-block", "/bgpnet/v1/ipamblocks/10-0-1-0-26")],
    ),
    "idle and in use": (
        with_block(structs.replace(N2, spec=structs.replace(N2.spec, state=IDLE))),
        [("idle-in-use", "IPAMBlock(10-0-0-128-26)")],
    ),
    "idle and empty": (with_block(block("10.0.0.64/26", "n1", {}, state=IDLE)), []),
    # overlapping
    "a block inside another": (
        with_block(block("10.0.0.192/26", "n2", {}), block("10.0.0.192/27", "n3", {})),
        [
            ("overlapping-blocks", "IPAMBlock(10-0-0-192-27)"),
            ("node-gone", "IPAMBlock(10-0-0-192-27)"),
            ("block-size", "IPAMBlock(10-0-0-192-27)"),
        ],
    ),
    "an address in two blocks": (
        with_block(block("10.0.0.128/27", "n2", {5: slot("c7", 30)})),
        [
            ("overlapping-blocks", "IPAMBlock(10-0-0-128-27)"),
            ("address-twice", "10.0.0.133"),
            ("block-size", "IPAMBlock(10-0-0-128-27)"),
        ],
    ),
    "a pod with two addresses": (
        with_block(block("10.0.0.192/26", "n2", {1: slot("c5", 22, "default/b")})),
        [("two-addresses", "c5/eth0")],
    ),
    "a pod whose first address rests": (with_block(FREED, block("10.0.0.192/26", "n2", {1: slot("c5", 22)})), []),
    # ownership
    "a node that is gone": (with_block(block("10.0.1.0/26", "n9", {})), [("node-gone", "IPAMBlock(10-0-1-0-26)")]),
    "an empty block of nobody": (with_block(block("10.0.1.0/26", None, {})), []),
    "a block of nobody": (
        with_block(block("10.0.1.0/26", None, {1: slot("c", 1)})),
        [("ownerless-block", "IPAMBlock(10-0-1-0-26)")],
    ),
    "a machine of the past": (
        with_block(block("10.0.0.192/26", "n2", {}, owner=Owner(name="n2", uid="older"))),
        [("other-machine", "IPAMBlock(10-0-0-192-26)")],
    ),
    # pools
    "outside every pool": (with_block(block("10.9.0.0/26", "n2", {})), [("outside-pools", "IPAMBlock(10-9-0-0-26)")]),
    "in the second pool": (
        replace(with_block(block("10.9.0.0/28", "n2", {})), pools=(*HEALTHY.pools, pool("red", "10.9.0.0/24", 28))),
        [],
    ),
    "of another size": (
        with_block(block("10.0.1.0/28", "n2", {})),
        [("block-size", "IPAMBlock(10-0-1-0-28)")],
    ),
    # tunnel addresses
    "a tunnel address in no block": (
        replace(HEALTHY, nodes=(node("n1", "10.0.0.0"), node("n2", "10.0.0.140"))),
        [("tunnel-unallocated", "10.0.0.140"), ("tunnel-unused", "10.0.0.128")],
    ),
    "a tunnel address that a pod has": (
        replace(HEALTHY, nodes=(node("n1", "10.0.0.0"), node("n2", "10.0.0.133"))),
        [("tunnel-elsewhere", "10.0.0.133"), ("tunnel-unused", "10.0.0.128")],
    ),
    "a tunnel address of another node": (
        replace(HEALTHY, nodes=(node("n1", "10.0.0.0"), node("n2", "10.0.0.0"))),
        [("tunnel-elsewhere", "10.0.0.0"), ("tunnel-unused", "10.0.0.128")],
    ),
    "both tunnels of a node": (
        replace(
            with_block(block("10.0.0.128/26", "n2", {0: tunnel(2), 5: slot("c5", 21, "default/b"), 6: VXLAN})),
            nodes=(node("n1", "10.0.0.0"), node("n2", "10.0.0.128", vxlan="10.0.0.134")),
        ),
        [],
    ),
    "a VXLAN address that is another one's": (
        replace(
            with_block(block("10.0.0.128/26", "n2", {0: tunnel(2), 5: slot("c5", 21, "default/b"), 6: VXLAN})),
            nodes=(node("n1", "10.0.0.0"), node("n2", "10.0.0.128", vxlan="10.0.0.133")),
        ),
        [("tunnel-elsewhere", "10.0.0.133"), ("tunnel-unused", "10.0.0.134")],
    ),
    "a tunnel address that its Node does not say yet": (without_tunnel("n2"), []),
    "a node without BGP": (
        replace(HEALTHY, nodes=(HEALTHY.nodes[0], structs.replace(node("n2"), spec=NodeSpec(bgp=NodeBGP())))),
        [],
    ),
    # limits
    "more blocks than allowed": (
        with_block(block("10.0.1.0/26", "n1", {})),
        [("too-many-blocks", "Node(n1)"), ("journal-differs", "10.0.1.0/26")],
    ),
    # resting
    "rests since the future": (
        with_block(block("10.0.0.192/26", "n2", {3: slot("c", 5, freed=NOW + 61)})),
        [("rests-too-long", "10.0.0.195")],
    ),
    "rests since a clock a little ahead": (
        with_block(block("10.0.0.192/26", "n2", {3: slot("c", 5, freed=NOW + 59)})),
        [],
    ),
    "rests since yesterday, as nobody came": (
        with_block(block("10.0.0.192/26", "n2", {3: slot("c", 5, freed=NOW - 86_400)})),
        [],
    ),
    "rests since never": (
        with_block(block("10.0.0.192/26", "n2", {3: structs.replace(slot("c", 5), freedAt="soon")})),
        [("rests-too-long", "10.0.0.195")],
    ),
    # reserved
    "reserved and in use": (reserving("10.0.0.133/32"), [("reserved-in-use", "10.0.0.133")]),
    "reserved and resting": (reserving("10.0.0.9/32"), []),
    # leaks
    "a leak by the agent's word": (
        with_word(replace(AGENT, leaked=(has("10.0.0.1", "c1", 11),))),
        [("leaked-address", "10.0.0.1")],
    ),
    "a leak by a published word": (
        with_word(replace(PUBLISHED, leaked=(has("10.0.0.133", "c5", 21),))),
        [("leaked-address", "10.0.0.133")],
    ),
    "a leak of an older allocation": (with_word(replace(PUBLISHED, leaked=(has("10.0.0.133", "c5", 20),))), []),
    "a leak that rests by now": (
        replace(
            with_word(replace(PUBLISHED, leaked=(has("10.0.0.133", "c5", 21),))),
            blocks=(N1, N1B, FREED),
        ),
        [],
    ),
    "a leak that another node claims to know": (
        with_word(replace(PUBLISHED, leaked=(has("10.0.0.1", "c1", 11),))),
        [],
    ),
    "a silent node": (with_word(UNKNOWN), [("node-silent", "Node(n2)")]),
    "a node that no agent was ever on, with addresses": (
        with_word(Word("n2", Source.UNKNOWN, reason="no agent holds its name")),
        [("node-silent", "Node(n2)")],
    ),
    "a silent node that owns nothing": (with_word(Word("n3", Source.UNKNOWN, reason="silent")), []),
    "a silent node with an empty block": (
        replace(
            with_block(block("10.0.1.0/26", "n3", {1: slot("c", 5, freed=NOW - 1)})),
            nodes=(*HEALTHY.nodes, node("n3")),
            words={**HEALTHY.words, "n3": Word("n3", Source.UNKNOWN, reason="silent")},
        ),
        [],
    ),
    "a silent node with what an import reserved": (
        replace(
            with_block(block("10.0.1.0/26", "n3", {1: structs.replace(slot("c", 5), use=Use.RESERVED)})),
            nodes=(*HEALTHY.nodes, node("n3")),
            words={**HEALTHY.words, "n3": Word("n3", Source.UNKNOWN, reason="silent")},
        ),
        [],
    ),
    "a deleted node with addresses": (
        replace(HEALTHY, nodes=HEALTHY.nodes[:1], words={"n1": AGENT}),
        [("node-gone", "IPAMBlock(10-0-0-128-26)")],
    ),
    # pods without allocation
    "a pod without allocation, published": (
        with_word(replace(PUBLISHED, unrecorded=(has("10.0.0.150", "c8"),))),
        [("unrecorded-pod", "10.0.0.150")],
    ),
    "a pod that is recorded meanwhile": (
        with_word(replace(PUBLISHED, unrecorded=(has("10.0.0.133", "c5"),))),
        [],
    ),
    "a pod that is recorded in another node's block": (
        with_word(replace(PUBLISHED, unrecorded=(has("10.0.0.1", "c1"),))),
        [],
    ),
    "a pod with another node's address": (
        with_word(replace(PUBLISHED, unrecorded=(has("10.0.0.1", "c8"),))),
        [("address-twice", "10.0.0.1")],
    ),
    "a pod of the agent in none of its blocks": (
        with_word(replace(AGENT, pods=(*AGENT.pods, has("10.0.0.70", "c8")))),
        [("unrecorded-pod", "10.0.0.70")],
    ),
    "two pods of the agent with one address": (
        with_word(replace(AGENT, pods=(*AGENT.pods, has("10.0.0.1", "c8")))),
        [("address-twice", "10.0.0.1"), ("address-twice", "10.0.0.1")],
    ),
    # journal
    "the journal is ahead": (
        with_word(replace(AGENT, blocks={**HELD, "10.0.0.64/26": {2: has("10.0.0.66", "c3", 40)}})),
        [("journal-differs", "10.0.0.66")],
    ),
    "the journal is behind": (
        with_word(replace(AGENT, blocks={**HELD, "10.0.0.0/26": {0: Holder("10.0.0.0", 1, "", "tunl0")}}, pods=())),
        [("journal-differs", "10.0.0.1")],
    ),
    "the datastore is away from the agent": (
        with_word(replace(AGENT, away="no route", blocks={**HELD, "10.0.0.64/26": {2: has("10.0.0.66", "c3", 40)}})),
        [],
    ),
    "a block that only the agent has": (
        with_word(replace(AGENT, blocks={**HELD, "10.0.1.0/26": {}})),
        [("journal-differs", "10.0.1.0/26")],
    ),
    "a block that both think their own": (
        with_word(replace(AGENT, blocks={**HELD, "10.0.0.128/26": {}})),
        [("journal-differs", "10.0.0.128/26")],
    ),
    "a block that the agent does not know": (
        with_word(replace(AGENT, blocks={"10.0.0.0/26": HELD["10.0.0.0/26"]})),
        [("journal-differs", "10.0.0.64/26")],
    ),
    "an agent that does not know its blocks yet": (with_word(replace(AGENT, blocks=None)), []),
    # the runtime
    "a sandbox that is gone": (
        replace(
            with_block(block("10.0.0.64/26", "n1", {1: slot("c2", 50, "default/c")})),
            words={"n2": PUBLISHED},
        ),
        [("sandbox-gone", "10.0.0.65")],
    ),
    "what did not come from the runtime": (
        replace(with_block(block("10.0.0.64/26", "n1", {1: slot("c2", 50)})), words={"n2": PUBLISHED}),
        [],
    ),
    "a runtime of somebody else": (with_sandboxes(Sandbox("other", "default/x", True)), []),
    "no runtime": (replace(HEALTHY, runtime=Runtime("n1", None, "no crictl")), []),
    "a sandbox that nobody recorded": (
        with_sandboxes(Sandbox("c1", "default/a", True), Sandbox("c4", "default/d", True, "10.0.0.99")),
        [("unrecorded-pod", "10.0.0.99")],
    ),
    "a sandbox with another's address": (
        with_sandboxes(Sandbox("c1", "default/a", True), Sandbox("c4", "default/d", True, "10.0.0.133")),
        [("address-twice", "10.0.0.133")],
    ),
    "a dead sandbox with another's address": (
        with_sandboxes(Sandbox("c1", "default/a", True), Sandbox("c4", "default/d", False, "10.0.0.133")),
        [],
    ),
    # alarms
    "an alarm": (with_word(replace(PUBLISHED, alarms=("block x is heard from n3",))), [("alarm", "Node(n2)")]),
    "an alarm of a silent node": (
        with_word(replace(UNKNOWN, alarms=("block x is heard from n3",))),
        [("node-silent", "Node(n2)")],
    ),
}


@pytest.mark.parametrize(("picture", "expected"), CASES.values(), ids=CASES.keys())
def test_each_code(picture: Picture, expected: Expected) -> None:
    assert found(picture) == expected


CODES = (
    "address-twice alarm block-size idle-in-use journal-differs leaked-address malformed-block node-gone node-silent",
    "other-machine outside-pools overlapping-blocks ownerless-block reserved-in-use rests-too-long sandbox-gone",
    "too-many-blocks tunnel-elsewhere tunnel-unallocated tunnel-unused two-addresses unrecorded-pod",
)


def test_the_codes_are_these_and_each_has_a_case() -> None:
    assert {code for _, expected in CASES.values() for code, _ in expected} == set(" ".join(CODES).split())


@pytest.mark.parametrize("picture", [picture for picture, _ in CASES.values()], ids=CASES.keys())
def test_each_is_a_sentence_with_a_remedy_and_the_worst_comes_first(picture: Picture) -> None:
    problems = check.problems(picture)
    assert all(one.sentence and one.remedy and "\n" not in one.sentence for one in problems)
    ranks = [check.ORDER[one.severity] for one in problems]
    assert ranks == sorted(ranks)


def test_a_second_look_confirms_only_the_very_same() -> None:
    leak = with_word(replace(PUBLISHED, leaked=(has("10.0.0.133", "c5", 21),)))
    again = block("10.0.0.128/26", "n2", {0: tunnel(2), 5: slot("c6", 22)})
    later = replace(
        leak, blocks=(N1, N1B, again), words={"n2": replace(PUBLISHED, leaked=(has("10.0.0.133", "c6", 22),))}
    )
    first, second = check.problems(leak), check.problems(later)
    assert [one.code for one in second] == ["leaked-address"]
    assert check.confirmed(first, second) == []
    assert check.confirmed(first, check.problems(leak)) == first
    assert check.confirmed(first, check.problems(HEALTHY)) == []


def test_a_silent_node_is_named_with_its_last_sign_of_life_and_what_nobody_vouches_for() -> None:
    dead = node("n2", "10.0.0.128", age=70.0)
    heard = dead.status.identity.heartbeat if dead.status and dead.status.identity else ""
    (one,) = check.problems(with_word(words.of_node(dead, NOW)))
    assert one.sentence == (
        f"node n2 says nothing of its addresses since {heard} (its agent was last heard of 70 s ago), and nobody else "
        "vouches for those in use there: 2"
    )
    assert "start or restart the agent of node n2" in one.remedy
    assert "bgpnetctl delete node n2, then bgpnetctl node release n2" in one.remedy
    assert check.is_wrong([one])
    # The second look finds the same silence, a little longer; a node that was heard meanwhile and fell silent is new.
    later = check.problems(with_word(words.of_node(dead, NOW + 2)))
    assert check.confirmed([one], later) == later
    assert check.confirmed([one], check.problems(with_word(words.of_node(node("n2", age=60.0), NOW)))) == []


def test_an_agent_that_lives_and_has_published_nothing_yet_is_not_silent() -> None:
    starting = words.of_node(node("n2", age=59.9), NOW)
    assert "its agent publishes nothing about its addresses" in starting.reason
    assert found(with_word(starting)) == []
    assert found(with_word(words.of_node(node("n2", age=60.0), NOW))) == [("node-silent", "Node(n2)")]


def test_worth_knowing_is_not_wrong() -> None:
    assert not check.is_wrong(check.problems(reserving("10.0.0.133/32")))
    assert check.is_wrong(check.problems(with_word(replace(PUBLISHED, alarms=("x",)))))


def test_only_leaks_are_repaired() -> None:
    leak = with_word(replace(PUBLISHED, leaked=(has("10.0.0.133", "c5", 21),), alarms=("x",)))
    silent = Word("n1", Source.UNKNOWN, leaked=(has("10.0.0.1", "c1", 11),), reason="silent")
    leak = replace(leak, words={**leak.words, "n1": silent})
    (one,) = check.repairable(check.problems(leak))
    assert (one.node, one.holder and one.holder.sequence) == ("n2", 21)


def test_every_address_has_a_verdict() -> None:
    silent = with_word(UNKNOWN)
    leak = replace(silent, words={**silent.words, "n1": replace(AGENT, leaked=(has("10.0.0.1", "c1", 11),))})
    states = {str(one.slot.address): one.state for one in check.verdicts(leak, check.problems(leak))}
    assert states == {
        "10.0.0.0": "in use",
        "10.0.0.1": "leaked-address",
        "10.0.0.128": "unknown",
        "10.0.0.133": "unknown",
    }


HERE = ip.network("10.0.0.64/26")


def half_way(behind: IPAMBlock, ahead: IPAMBlock) -> Picture:
    """The agent and the runtime are a step ahead of the datastore."""
    held = {
        at: Holder(str(HERE[at]), one.sequence, one.container, one.ifname, one.pod)
        for at, one in ahead.spec.allocations.items()
        if one.freedAt is None
    }
    word = replace(AGENT, blocks={**HELD, str(HERE): held}, pods=(*AGENT.pods, *held.values()))
    known = (Sandbox("c1", "default/a", True), *(Sandbox(one.container, one.pod, True) for one in held.values()))
    return replace(with_block(behind), words={"n1": word, "n2": PUBLISHED}, runtime=Runtime("n1", known))


@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=2, max_size=20), st.data())
def test_churn_that_is_seen_half_way_is_nothing(steps: list[int | None], data: st.DataObject) -> None:
    """None: a pod comes; a number: that one of the living goes. Two looks, each a step before the datastore follows."""
    history = [N1B]
    for number, step in enumerate(steps):
        now, last = NOW + number, history[-1]
        live = [one.container for one in last.spec.allocations.values() if one.freedAt is None]
        if step is None or not live:
            assigned = ipam.assign(last, ipam.Claimant(f"c{number + 100}", "eth0", f"default/p{number}"), now)
            assert assigned is not None
            history.append(assigned[0])
        else:
            history.append(ipam.release(last, live[step % len(live)], "eth0", now))
    first = data.draw(st.integers(1, len(history) - 2))
    second = data.draw(st.integers(first + 1, len(history) - 1))
    looks = [check.problems(half_way(history[at - 1], history[at])) for at in (first, second)]
    assert all(looks)
    assert check.confirmed(*looks) == []
    assert check.problems(half_way(history[-1], history[-1])) == []


def test_instants_are_compared_with_the_looks_own_time() -> None:
    assert (
        found(replace(with_block(block("10.0.0.192/26", "n2", {3: slot("c", 5, freed=NOW + 61)})), now=NOW + 2)) == []
    )
    assert instant.seconds(instant.stamp(NOW)) == NOW
