"""UPDATEs of all sorts, in any pieces, sent by hand to a real ExaBGP: the agent has what they say and nothing else."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bgp_sender import KEEPALIVE, UPDATE, Sender, message
from speaker_lab import Lab, Node, until

from bgpnet.bgp.lines import PeerDown
from bgpnet.bgp.speaker import Synced
from bgpnet.model import ip
from bgpnet.model.ip import Network

ORIGIN, AS_PATH, HOP, LOCAL_PREF = "40010100", "400200", "4003047f3c0909", "40050400000064"
PLAIN = ORIGIN + AS_PATH + HOP + LOCAL_PREF
END_OF_RIB = message(UPDATE, bytes(4))
NETS = [ip.network(f"10.{n // 256}.{n % 256}.64/26") for n in range(600)]


class Hand(Sender):
    """A session of which every byte is said here."""

    def say(self, *said: bytes) -> None:
        for one in said:
            self._socket.sendall(one)


@dataclass(frozen=True, slots=True)
class Pair:
    """A node of ours, and who speaks to it."""

    near: Node
    hand: Hand

    @property
    def prefixes(self) -> set[Network]:
        """What the agent has of it."""
        return self.near.agent.prefixes(self.hand.address)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A session that has just come up."""
    lab = Lab(tmp_path)
    try:
        near, far = lab.node("127.60.1.1"), lab.node("127.60.1.2")
        near.configure(near.neighbour(far, passive=True))
        near.start()
        near.connect()
        until(lambda: near.agent.of(Synced), "the agent has read the speaker")
        hand = Hand(far.address, far.as_number, (near.address, near.port), far.address)
        try:
            near.await_up(far)
            yield Pair(near, hand)
            assert near.agent.of(PeerDown) == []
        finally:
            hand.end()
    finally:
        lab.end()


def nlri(nets: Iterable[Network]) -> bytes:
    return b"".join(bytes([net.prefixlen]) + net.network_address.packed[: (net.prefixlen + 7) // 8] for net in nets)


def update(come: bytes = b"", gone: bytes = b"", attributes: str = PLAIN) -> bytes:
    told = bytes.fromhex(attributes) if come else b""
    return message(UPDATE, struct.pack("!H", len(gone)) + gone + struct.pack("!H", len(told)) + told + come)


@pytest.mark.parametrize("seed", range(3))
def test_in_whatever_pieces_they_come(pair: Pair, seed: int) -> None:
    choice = random.Random(seed)  # noqa: S311 - it has to repeat, not to be secret
    wanted: dict[Network, int] = {}
    stream = b""
    for number in range(400):
        some, preference = choice.sample(NETS, choice.randint(1, 5)), choice.choice((100, 200, 300))
        if choice.random() < 0.3:
            stream += update(gone=nlri(some))
            wanted = {net: one for net, one in wanted.items() if net not in some}
        else:
            stream += update(nlri(some), attributes=f"{ORIGIN}{AS_PATH}{HOP}400504{preference:08x}")
            wanted |= dict.fromkeys(some, preference)
        stream += message(KEEPALIVE) if number % 7 == 0 else b""
    while stream:
        size = choice.choice((1, 18, 19, 20, 50, 400, 3000))
        pair.hand.say(stream[:size])
        stream = stream[size:]

    def learned() -> dict[Network, int | None]:
        return {path.prefix: path.local_pref for path in pair.near.agent.table.of(pair.hand.address).values()}

    until(lambda: learned() == wanted, "the last word on every prefix")
    pair.near.disconnect()
    pair.near.connect()
    until(lambda: pair.near.agent.of(Synced), "a successor reads the speaker")
    assert learned() == wanted


def test_what_an_update_withdraws_and_announces_is_announced(pair: Pair) -> None:
    both = nlri(NETS[:1])
    pair.hand.say(update(both), update(both, gone=nlri(NETS[:2])), update(nlri(NETS[2:3])))
    until(lambda: pair.prefixes == {NETS[0], NETS[2]}, "both")


def test_bits_behind_a_prefix_mean_nothing(pair: Pair) -> None:
    pair.hand.say(update(b"\x1a\x0a\x00\x00\x7f" + b"\x0c\xac\x1f"))
    until(lambda: pair.prefixes == {NETS[0], ip.network("172.16.0.0/12")}, "they are made 0")
    pair.hand.say(update(gone=b"\x0c\xac\x10"))
    until(lambda: pair.prefixes == {NETS[0]}, "and the prefix is the same one")


@pytest.mark.parametrize(
    "wrong",
    [
        ORIGIN + AS_PATH + "400303007f3c" + LOCAL_PREF,  # a NEXT_HOP of three bytes
        ORIGIN + "40020302ff00" + HOP + LOCAL_PREF,  # an AS_PATH that ends too early
    ],
)
def test_wrong_attributes_withdraw_what_they_come_with(pair: Pair, wrong: str) -> None:
    """RFC 7606: the session lives, and what came before and after counts."""
    pair.hand.say(update(nlri(NETS[:2])))
    until(lambda: pair.prefixes == set(NETS[:2]), "both")
    pair.hand.say(update(nlri(NETS[:1]), attributes=wrong), update(nlri(NETS[2:3])))
    until(lambda: pair.prefixes == {NETS[1], NETS[2]}, "the one is treated as withdrawn")


def test_end_of_rib_comes_after_what_came_before_it(pair: Pair) -> None:
    pair.hand.say(b"".join(update(nlri([net])) for net in NETS) + END_OF_RIB)
    until(lambda: pair.hand.address in pair.near.agent.ended, "End-of-RIB")
    assert pair.prefixes == set(NETS)
