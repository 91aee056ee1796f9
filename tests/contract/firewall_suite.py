"""What every firewall promises (kernel/packets.py): the fake, nft and iptables-legacy pass the same tests.

A class of tests with the fixture `wall`, which test files derive from: iptables-legacy is tried where it is the only
one, inside User Mode Linux (tests/tunnel).
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from bgpnet.kernel.firewall import LinuxFirewall
from bgpnet.kernel.packets import NOTHING, Barrier, Firewall, PacketRules, collapsed
from bgpnet.model import ip
from bgpnet.names import VXLAN


def networks(*texts: str) -> frozenset[ip.Network]:
    return frozenset(ip.network(one) for one in texts)


def rules(
    outgoing: str = "",
    inside: str = "",
    nodes: str = "192.0.2.1",
    tunnels: str = "",
    bgp: tuple[int, ...] = (),
    services: str = "",
) -> PacketRules:
    """From words."""
    used = frozenset(tunnels.split())
    return PacketRules(
        masquerade=collapsed(ip.network(one) for one in outgoing.split()),
        inside=collapsed(ip.network(one) for one in inside.split()),
        nodes=frozenset(ip.address(one) for one in nodes.split()),  # type: ignore[misc]  # IPv4 ones
        tunnels=used,
        nat=bool(outgoing or used),
        bgp=frozenset(bgp),
        services=collapsed(ip.network(one) for one in services.split()),
    )


VALUES = {
    "checks alone": rules(),
    "one pool": rules("10.244.0.0/16", "10.244.0.0/16"),
    "one address": rules("10.9.0.7/32", "10.9.0.7/32 10.244.0.0/16"),
    "a pool that is not masqueraded": rules("10.244.0.0/16", "10.244.0.0/16 10.9.0.0/24"),
    "neighbouring pools": rules("10.0.1.0/24", "10.0.1.0/24 10.0.2.0/23 10.0.4.0/22"),
    "everything": rules("0.0.0.0/1", "0.0.0.0/0"),
    "nodes' addresses spared": rules("10.244.0.0/16", "10.244.0.0/16 192.0.2.1/32 192.0.2.2/32", "192.0.2.1 192.0.2.2"),
    "over tunl0": rules("", "10.244.0.0/16", "192.0.2.1 192.0.2.2", "tunl0"),
    "over vxlan": rules("10.244.0.0/16", "10.244.0.0/16", "192.0.2.1 192.0.2.2", VXLAN),
    "services": rules("10.244.0.0/16", "10.244.0.0/16", bgp=(179,), services="10.96.0.0/12 203.0.113.9/32"),
    "over both": rules("10.244.0.0/16", "10.244.0.0/16", "192.0.2.1 203.0.113.7", f"tunl0 {VXLAN}", (179, 1790)),
}
"""Rules of every shape."""


class Wall(Protocol):
    """A firewall, and what strangers do to it."""

    @property
    def firewall(self) -> Firewall:
        """What the contract is about."""

    def flush(self) -> None:
        """All rules of ours are emptied."""

    def drop_forwarded(self) -> None:
        """As docker does."""


class FirewallContract:
    """The tests."""

    steps: tuple[int, ...] = (1, 3)
    """In which orders all values follow one another."""

    def put(self, wall: Wall, wish: PacketRules) -> PacketRules | None:
        """What is read after it was put."""
        wall.firewall.put(wish, wall.firewall.read().rules)
        return wall.firewall.read().rules

    def test_rules_are_read_as_they_were_put_and_removed(self, wall: Wall) -> None:
        assert wall.firewall.read().rules == NOTHING
        for wish in (VALUES["over both"], VALUES["over both"], NOTHING, NOTHING):
            assert self.put(wall, wish) == wish

    def test_any_rules_take_the_place_of_any_others(self, wall: Wall) -> None:
        """Walks through them, each in another order."""
        values, have = [NOTHING, *VALUES.values()], NOTHING
        for step in self.steps:
            for place in range(step, step * len(values) + 1, step):
                wall.firewall.put(values[place % len(values)], have)
                have = values[place % len(values)]
                assert wall.firewall.read().rules == have

    def test_what_is_thought_to_be_there_may_be_wrong(self, wall: Wall) -> None:
        one, other = VALUES["one pool"], VALUES["over both"]
        self.put(wall, other)
        wall.firewall.put(replace(one, nodes=other.nodes), one)
        assert self.put(wall, one) == one

    def test_rules_that_a_stranger_emptied_are_not_ours(self, wall: Wall) -> None:
        wish = VALUES["over both"]
        self.put(wall, wish)
        wall.flush()
        assert wall.firewall.read().rules != wish
        assert self.put(wall, wish) == wish

    def test_a_chain_that_drops_is_found_and_opened(self, wall: Wall) -> None:
        assert wall.firewall.read().barriers == ()
        wall.drop_forwarded()
        (barrier,) = wall.firewall.read().barriers
        assert (barrier.open, barrier.ours, barrier.chain) == (False, True, "FORWARD")
        wall.firewall.accept(barrier)
        wall.firewall.accept(barrier)
        assert wall.firewall.read().barriers == (replace(barrier, open=True),)

    def test_rules_are_put_beside_a_chain_that_drops(self, wall: Wall) -> None:
        wall.drop_forwarded()
        wish = VALUES["one pool"]
        assert self.put(wall, wish) == wish
        assert self.put(wall, NOTHING) == NOTHING
        assert len(wall.firewall.read().barriers) == 1

    def test_following_ends(self, wall: Wall) -> None:
        over = threading.Event()
        thread = threading.Thread(target=wall.firewall.follow, args=(lambda: None, over.is_set))
        thread.start()
        over.set()
        thread.join(20)
        assert not thread.is_alive()


class LinuxWall:
    """The running kernel's, in the namespace of the calling thread; strangers are programs."""

    def __init__(self, flush: Callable[[], None], iptables: str) -> None:
        self.firewall = LinuxFirewall()
        self.flush = flush
        self._iptables = iptables

    def drop_forwarded(self) -> None:
        command(self._iptables, "-P", "FORWARD", "DROP")


def command(*words: str, stdin: str = "") -> str:
    """What it prints; raises AssertionError with what it complains of."""
    package = "nftables" if words[0] == "nft" else "iptables"
    assert shutil.which(words[0]), f"{words[0]} is missing: apt-get install {package}"
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


__all__ = ["VALUES", "Barrier", "FirewallContract", "LinuxWall", "Wall", "command", "rules"]
