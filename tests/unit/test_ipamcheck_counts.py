"""Counting addresses, held against counting them one by one; and nodes' words, whatever they say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipam_worlds import NOW, block, slot

from bgpnet.ipamcheck import counts, words
from bgpnet.ipamcheck.picture import Source, Word
from bgpnet.model import instant, ip
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.node import Identity, Node, NodeStatus
from bgpnet.model.resource import Metadata

POOL = ip.network("10.0.0.0/26")
NETS = st.builds(
    lambda at, length: str(ip.interface(f"10.0.{at // 256}.{at % 256}/{length}").network),
    st.integers(0, 300),
    st.integers(22, 32),
)


@given(
    st.lists(NETS, max_size=4),
    st.dictionaries(st.integers(0, 15), st.sampled_from(["live", "resting", "rested"]), max_size=16),
    st.lists(st.sampled_from([0, 16, 32, 48]), unique=True),
)
def test_the_counts_are_those_of_counting_one_by_one(kept: list[str], slots: dict[int, str], starts: list[int]) -> None:
    freed = {"live": None, "resting": NOW - 5, "rested": NOW - 50}
    held = {at: slot(f"c{at}", at, freed=freed[state]) for at, state in slots.items()}
    blocks = [block(f"10.0.0.{start}/28", "n1", held) for start in starts]
    reservation = IPReservation(metadata=Metadata(name="r"), spec=IPReservationSpec(reservedCIDRs=tuple(kept)))
    state = {block_.network[at]: said for block_ in blocks for at, said in slots.items()}
    tally = {"live": 0, "resting": 0, "reserved": 0, "free": 0}
    for address in POOL:
        is_kept = any(ip.contains(ip.network(cidr), address) for cidr in kept)
        said = state.get(address, "rested")
        tally[said if said != "rested" else "reserved" if is_kept else "free"] += 1
    found = counts.count(POOL, blocks, counts.reservations([reservation]), NOW, 30.0)
    assert structs_of(found) == (64, *tally.values())


def structs_of(found: counts.Counts) -> tuple[int, ...]:
    return (found.total, found.in_use, found.resting, found.reserved, found.free)


def test_both_families_are_counted() -> None:
    six = ip.network("fd00::/122")
    cidrs = ("fd00::/124", "10.0.0.0/30", "fd00::/125")
    kept = counts.reservations([IPReservation(spec=IPReservationSpec(reservedCIDRs=cidrs))])
    assert structs_of(counts.count(six, [block(str(six), "n1", {0: slot("c", 1)})], kept, NOW, 30.0)) == (
        64,
        1,
        0,
        15,
        48,
    )


def alive(age: float = 5.0) -> Node:
    identity = Identity(uuid="u", heartbeat=instant.stamp(NOW - age))
    return Node(metadata=Metadata(name="n1"), status=NodeStatus(identity=identity))


NOBODY = alive(600.0)
UNHEARD: dict[str, tuple[Node, str]] = {
    "no status": (Node(metadata=Metadata(name="n1")), "no agent holds its name"),
    "silent": (NOBODY, "its agent was last heard of 600 s ago"),
    "a heartbeat of no time": (
        Node(metadata=Metadata(name="n1"), status=NodeStatus(identity=Identity(uuid="u", heartbeat="soon"))),
        "its heartbeat 'soon' is no instant",
    ),
    "nothing published": (alive(), "its agent publishes nothing about its addresses"),
}


@pytest.mark.parametrize(("node", "reason"), UNHEARD.values(), ids=UNHEARD.keys())
def test_a_node_that_says_nothing_is_unknown_and_why(node: Node, reason: str) -> None:
    word = words.of_node(node, NOW)
    assert (word.source, word.reason, word.leaked) == (Source.UNKNOWN, reason, ())
    assert words.told(word, NOW) == f"Node n1: unknown, so nothing there counts as a leak: {reason}."


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"node": "n1"},
        {"node": "n1", "ipam": {"leaked": [{"address": "nowhere"}]}},
        {"node": "n1", "ipam": {}, "blocks": {"10.0.0.1/26": []}},
        {"node": "n1", "ipam": {}, "pods": [{"address": 7}]},
        {"node": 1, "ipam": {}},
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        words.of_agent(answer, NOW)


def test_the_age_of_a_published_word_is_said() -> None:
    assert (
        words.told(Word("n2", Source.PUBLISHED, instant.stamp(NOW - 12)), NOW)
        == "Node n2: by what it published 12 s ago."
    )


class Telling(NodeStatus, frozen=True, kw_only=True):
    """A status that tells of addresses, with more than we know."""

    ipam: dict[str, Any]


def telling(**said: Any) -> Node:
    identity = Identity(uuid="u", heartbeat=instant.stamp(NOW - 5))
    return Node(metadata=Metadata(name="n1"), status=Telling(identity=identity, ipam=said))


def test_a_published_word_is_read() -> None:
    leak = {"address": "10.0.0.1", "sequence": 3, "container": "c", "reason": "gone", "colour": "blue"}
    word = words.of_node(telling(checkedAt=instant.stamp(NOW - 9), leaked=[leak], alarms=["x"], more=1), NOW)
    assert (word.source, word.at, word.alarms) == (Source.PUBLISHED, instant.stamp(NOW - 9), ("x",))
    assert [(one.address, one.sequence, one.reason) for one in word.leaked] == [("10.0.0.1", 3, "gone")]
    assert (word.blocks, word.pods, word.unrecorded) == (None, (), ())


@pytest.mark.parametrize("said", [{"leaked": 3}, {"leaked": [{"address": "nowhere"}]}, {"alarms": [7]}])
def test_a_published_word_that_makes_no_sense_is_unknown(said: dict[str, Any]) -> None:
    word = words.of_node(telling(**said), NOW)
    assert word.source is Source.UNKNOWN
    assert word.reason.startswith("what its agent publishes cannot be read (")
