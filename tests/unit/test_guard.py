"""The guard of the packet rules: what it changes, what it leaves, and what it says."""

from __future__ import annotations

from ipaddress import IPv4Address

from bgpnet.agent.events import FirewallLooked
from bgpnet.agent.firewall import VAIN, Guard
from bgpnet.kernel.fake_firewall import FakeFirewall
from bgpnet.kernel.packets import NOTHING, Barrier, PacketRules

WISH = PacketRules(nodes=frozenset({IPv4Address("192.0.2.1")}))
NAT = PacketRules(nodes=WISH.nodes, nat=True)
DOCKER = Barrier("nft", "ip filter", "FORWARD")
ADMIN = Barrier("nft", "inet admin", "forward", ours=False)


class Watched:
    """A guard that looks whenever it works, its firewall, and what it said."""

    def __init__(self, audit: float = 0.0, pause: float = 0.0) -> None:
        self.firewall = FakeFirewall()
        self.said: list[tuple[str, ...]] = []
        self.guard = Guard(self.firewall, self._hear, audit=audit, pause=pause)

    def _hear(self, event: FirewallLooked) -> None:
        self.said.append(event.warnings)

    def work(self, wish: PacketRules | None) -> list[str]:
        """What it did to the firewall."""
        self.firewall.log.clear()
        self.guard.want(wish)
        self.guard.work()
        return list(self.firewall.log)


def test_without_a_wish_nothing_is_looked_at() -> None:
    made = Watched()
    made.firewall.rules = WISH
    assert made.work(None) == []
    assert made.firewall.rules == WISH


def test_a_wish_is_put_once() -> None:
    made = Watched()
    assert made.work(WISH) == ["read", "put"]
    assert made.work(WISH) == ["read"]
    assert made.firewall.rules == WISH


def test_between_audits_a_new_wish_is_put_without_a_look() -> None:
    made = Watched(audit=1000)
    assert made.work(WISH) == ["read", "put"]
    assert made.work(NAT) == ["put"]
    assert made.work(NAT) == []


def test_a_predecessors_rules_are_kept() -> None:
    made = Watched()
    made.firewall.rules = WISH
    assert made.work(WISH) == ["read"]


def test_address_translation_stays_once_it_was_there() -> None:
    made = Watched()
    made.firewall.rules = NAT
    assert made.work(WISH) == ["read"]
    made.firewall.rules = None
    assert made.work(WISH) == ["read", "put"]
    assert made.firewall.rules == NAT
    assert made.work(NOTHING) == ["read", "put"]
    assert made.firewall.rules == NOTHING


def test_a_strangers_change_is_repaired_and_a_quarrel_is_said() -> None:
    made = Watched()
    made.work(WISH)
    for _ in range(VAIN - 1):
        made.firewall.rules = None
        assert made.work(WISH) == ["read", "put"]
        assert made.said == []
    made.firewall.rules = None
    assert made.work(WISH) == ["read", "put"]
    assert [len(one) for one in made.said] == [1]
    assert made.said[0][0].startswith(f"packet rules are not found as they were put, {VAIN} times in a row")
    assert made.work(WISH) == ["read"]
    assert made.said[1:] == [()]


def test_docker_is_made_to_let_pods_pass_and_an_administrator_is_asked() -> None:
    made = Watched()
    made.firewall.barriers = [DOCKER, ADMIN]
    assert made.work(WISH) == ["read", "put", "accept FORWARD"]
    assert made.work(WISH) == ["read"]
    assert made.said == [(ADMIN.complaint,)]
    made.firewall.barriers = []
    made.work(WISH)
    assert made.said[1:] == [()]


def test_who_wants_nothing_opens_nothing() -> None:
    made = Watched()
    made.firewall.barriers = [DOCKER]
    assert made.work(NOTHING) == ["read"]


def test_a_refusal_is_said_once_and_tried_again() -> None:
    made = Watched()
    made.firewall.refuse = "the program nft is missing: apt-get install nftables"
    made.work(WISH)
    made.work(WISH)
    assert made.said == [(made.firewall.refuse,)]
    made.firewall.refuse = ""
    assert made.work(WISH) == ["read", "put"]
    assert made.said[1:] == [()]


def test_who_wants_nothing_misses_no_program() -> None:
    made = Watched()
    made.firewall.refuse = "the program nft is missing: apt-get install nftables"
    made.work(NOTHING)
    assert made.said == []


def test_who_may_send_by_a_tunnel_is_looked_after_while_that_may_be_up() -> None:
    """No device is taken down with the last pool that uses it: others may hear of that later."""
    used = PacketRules(nodes=WISH.nodes, nat=True, tunnels=frozenset({"tunl0"}))
    made = Watched()
    made.work(used)
    assert made.work(NAT) == ["read"]
    made.firewall.rules = None
    made.work(NAT)
    assert made.firewall.rules == used
    successor = Watched()
    successor.firewall = made.firewall
    successor.guard = Guard(made.firewall, successor._hear, audit=0, pause=0)
    made.firewall.rules = None  # as an older version put them
    successor.work(NAT)
    assert made.firewall.rules == used
    successor.work(NOTHING)
    assert made.firewall.rules == NOTHING
    successor.work(WISH)
    assert made.firewall.rules == WISH
