"""What is to become of packets, as values: whose sources are masqueraded, who may send tunnelled packets. Pure.

One value, `PacketRules`, has two renderings: nft's table `inet bgpnet` (kernel/nftables.py), and for kernels without
nftables chains of iptables-legacy (kernel/legacy.py). IPv4 only: pods have no other addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Protocol

from bgpnet.model import ip

IPIP = 4
"""The IP protocol number of IP in IP (RFC 2003)."""
ACCEPTED = "bgpnet: pods"
"""The comment of our rule in a chain of somebody else's."""

POLICY, RULE = "policy drop", "a rule for everything"
"""What of a chain drops."""

Networks = frozenset[IPv4Network]


@dataclass(frozen=True, slots=True)
class PacketRules:
    """The wish. Without anything in it: no rules of ours at all.

    masquerade: the pools with natOutgoing: what goes from them to elsewhere than `inside` gets the address of the link
    that it leaves by. Both are collapsed (`collapsed`): disjoint, and none the half of another. nodes: who may send
    tunnelled packets to this node. bgp: the ports on which these speak BGP; what goes there keeps its own address, so
    that no pod passes for the peer that its node is. tunnels: our devices that are in use, or were: they stay up; what
    the node itself sends over them to a Service's pod gets the device's address, so that answers come back through it.
    services: where Services' addresses are announced by BGP; what nobody has redirected from there would only go back
    to the router that sent it, and is dropped. nat: whether the kernel translates addresses at all; it is left so once
    it was, because with its last rule the kernel forgets established connections.
    """

    masquerade: Networks = frozenset()
    inside: Networks = frozenset()
    nodes: frozenset[IPv4Address] = frozenset()
    tunnels: frozenset[str] = frozenset()
    nat: bool = False
    bgp: frozenset[int] = frozenset()
    services: Networks = frozenset()


NOTHING = PacketRules()
"""No rules of ours."""


@dataclass(frozen=True, slots=True)
class Barrier:
    """A chain of somebody else's that drops forwarded packets which nobody before it accepts.

    tool: with what it is changed. open: it accepts pods' packets, by our rule. ours: the rule is ours to put; else the
    status says what to do. by: what drops, its policy or a rule of it.
    """

    tool: str
    table: str
    chain: str
    open: bool = False
    ours: bool = True
    by: str = POLICY

    @property
    def complaint(self) -> str:
        """What is wrong, and how it is put right."""
        verb = "add" if self.by == POLICY else "insert"
        adds = [
            f"{self.tool} {verb} rule {self.table} {self.chain} {way} 'cali*' accept" for way in ("iifname", "oifname")
        ]
        return (
            f"{self.tool} table {self.table} chain {self.chain} drops packets that are forwarded to and from pods "
            f"({self.by}): let it accept them: {'; '.join(adds)}"
        )


@dataclass(frozen=True, slots=True)
class PacketState:
    """What is there. rules: None when something of ours is there, but not as it would be put.

    tunnels: the devices that it is about, even then.
    """

    rules: PacketRules | None
    barriers: tuple[Barrier, ...] = ()
    tunnels: frozenset[str] = frozenset()


class Firewall(Protocol):
    """What filters and translates packets in the network namespace of the calling thread. All have deadlines."""

    def read(self) -> PacketState:
        """Our rules, and the chains that drop what is forwarded. Raises KernelRefused."""

    def put(self, rules: PacketRules, have: PacketRules | None) -> None:
        """Replace our rules in one step, so that no packet meets none; have: what was read. Raises KernelRefused."""

    def accept(self, barrier: Barrier) -> None:
        """Let the chain accept pods' packets, behind whatever others want of them. Raises KernelRefused."""

    def dropped(self) -> Mapping[str, int]:
        """How many packets our rules dropped, by the reason; counted anew when rules are. Raises KernelRefused.

        Empty where the rules are those of iptables-legacy, which counts in its own way (iptables-legacy -nvL).
        """

    def follow(self, changed: Callable[[], None], stop: Callable[[], bool]) -> None:
        """Block until stop(), at most a second longer; call changed() when our rules, or a chain FORWARD, changed.

        A hint, and it comes of our own changes, too; where the kernel tells nothing, it never comes.
        """


def collapsed(networks: Iterable[ip.Network]) -> Networks:
    """The IPv4 ones of these as few networks as possible, none overlapping another."""
    return frozenset(collapse_addresses(one for one in networks if isinstance(one, IPv4Network)))
