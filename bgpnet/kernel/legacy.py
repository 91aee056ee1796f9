"""Packet rules as chains of iptables-legacy, for kernels without nftables (User Mode Linux). Pure.

Written for `iptables-legacy-restore --noflush`, which replaces each table in one step; read from
`iptables-legacy-save`. The same value as kernel/nftables.py, with a rule for each node and pool instead of sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from bgpnet.kernel.packets import (
    ACCEPTED,
    IPIP,
    NOTHING,
    Barrier,
    PacketRules,
    collapsed,
)
from bgpnet.kernel.state import VXLAN_PORT
from bgpnet.names import POD_LINK_PREFIX, TUNNEL, VXLAN

TOOL = "iptables-legacy"
TABLES = ("raw", "filter", "nat")
PODS = f"{POD_LINK_PREFIX}+"
MARK = "-m comment --comment bgpnet"
PODS_CHAIN, INPUT, NODES, NAT = "BGPNET-PODS", "BGPNET-INPUT", "BGPNET-NODES", "BGPNET-NAT"
SERVICES, PASSING = "BGPNET-SERVICES", "BGPNET-FORWARD"
_MASQUERADE = "-j MASQUERADE --random-fully"
_TO_BGP = "-p tcp -m tcp --dport "
_SERVICE = (
    f"-m conntrack --ctstate DNAT -m addrtype --src-type LOCAL -m addrtype ! --src-type LOCAL --limit-iface-out"
    f" {_MASQUERADE}"
)
_UNSERVED = "-m conntrack --ctdir ORIGINAL -j DROP"
_JUMPS = {
    PODS_CHAIN: ("raw", f"PREROUTING -i {PODS} {MARK} -j {PODS_CHAIN}"),
    INPUT: ("filter", f"INPUT {MARK} -j {INPUT}"),
    SERVICES: ("filter", f"FORWARD ! -i {PODS} ! -o {PODS} {MARK} -j {SERVICES}"),
    PASSING: ("filter", f"FORWARD {MARK} -j {PASSING}"),
    NAT: ("nat", f"POSTROUTING {MARK} -j {NAT}"),
}
"""By chain of ours: in which table it is, and who leads there."""
_FILTER = dict.fromkeys((NODES, INPUT, SERVICES, PASSING), "filter")
_TABLE_OF = {PODS_CHAIN: "raw", **_FILTER, NAT: "nat"}
_PROTOCOL = re.compile(r"-p (ipencap|ipip)\b")
"""What the machine's /etc/protocols calls it, where there is one."""

Tables = Mapping[str, tuple[str, ...]]
"""By table: the lines of iptables-save that begin with `:` or `-A`, without counters."""


def tables(saved: str) -> dict[str, tuple[str, ...]]:
    """What `iptables-legacy-save` prints, by table."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            lines = found.setdefault(line[1:], [])
        elif line.startswith((":", "-A ")):
            lines.append(_PROTOCOL.sub(f"-p {IPIP}", line))
    return {name: tuple(lines) for name, lines in found.items()}


def script(rules: PacketRules, have: Tables) -> str:
    """What `iptables-legacy-restore --noflush` takes to make it so."""
    wish = _chains(rules)
    texts = []
    for table in TABLES:
        lines = list(have.get(table, ()))
        ours = [chain for chain, place in _TABLE_OF.items() if place == table]
        there = [chain for chain in ours if any(line.startswith(f":{chain} ") for line in lines)]
        if not there and not any(chain in wish for chain in ours):
            continue
        body = [f":{chain} - [0:0]" for chain in ours if chain in wish or chain in there]
        leading = [line for line in lines if any(line.endswith(f" -j {chain}") for chain in ours) and MARK in line]
        leading = [line for line in leading if not line.startswith(tuple(f"-A {chain} " for chain in ours))]
        wanted = [f"-A {_JUMPS[chain][1]}" for chain in ours if chain in wish and chain in _JUMPS]
        body += [f"-D{line[2:]}" for line in leading if line not in wanted or leading.count(line) > 1]
        kept = [line for line in wanted if leading.count(line) == 1]
        body += [f"-I{line[2:]}" for line in wanted if line not in kept]
        body += [f"-A {chain} {line}" for chain in ours for line in wish.get(chain, ())]
        body += [f"-X {chain}" for chain in there if chain not in wish]
        texts += [f"*{table}", *body, "COMMIT"]
    return "\n".join([*texts, ""]) if texts else ""


def parse(have: Tables) -> PacketRules | None:
    """The value that is there; None when it is not as it would be put."""
    lines = [line for table in have.values() for line in table]
    chains = {line.split()[0][1:] for line in lines if line.startswith(":BGPNET-")}
    marked = [line for line in lines if MARK in line]
    if not chains and not marked:
        return NOTHING
    nat = list(_of(NAT, lines))
    found = PacketRules(
        masquerade=collapsed(IPv4Network(one) for one in _found(rf"(?:-s (\S+) )?{_MASQUERADE}", nat)),
        inside=collapsed(IPv4Network(one) for one in _found(r"(?:-d (\S+) )?-j RETURN", nat)),
        nodes=frozenset(IPv4Address(one) for one in _found(r"-s (\S+)/32 -j RETURN", _of(NODES, lines))),
        tunnels=tunnels(have),
        nat=NAT in chains,
        services=collapsed(IPv4Network(one) for one in _found(rf"(?:-d (\S+) )?{_UNSERVED}", _of(SERVICES, lines))),
        bgp=frozenset(int(one) for one in _found(rf"-d \S+ {_TO_BGP}(\d+) -j RETURN", nat)),
    )
    wish = _chains(found)
    same = wish == {chain: tuple(_of(chain, lines)) for chain in chains}
    jumps = sorted(f"-A {_JUMPS[chain][1]}" for chain in wish if chain in _JUMPS)
    return found if same and sorted(marked) == jumps else None


def tunnels(have: Tables) -> frozenset[str]:
    """The tunnels that the chains are about, whatever else is in them."""
    return frozenset(_found(rf"-o (\S+) {re.escape(_SERVICE)}", list(_of(NAT, have.get("nat", ())))))


def barrier(have: Tables) -> Barrier | None:
    """The chain FORWARD, if it drops what is forwarded, by its policy or by a rule for everything."""
    lines = have.get("filter", ())
    before, wall = _forward(lines)
    if not wall and not any(line.startswith(":FORWARD DROP ") for line in lines):
        return None
    return Barrier(TOOL, "filter", "FORWARD", open=all(f"-A FORWARD {one}" in before for one in _ways()))


def accept(have: Tables) -> str:
    """What `iptables-legacy-restore --noflush` takes: see `nftables.accept`."""
    lines = have.get("filter", ())
    before, wall = _forward(lines)
    ours = [line for line in lines if line in {f"-A FORWARD {one}" for one in _ways()}]
    place = 1 + sum(line not in ours for line in before)
    verbs = [f"-I FORWARD {place + count}" if wall else "-A FORWARD" for count in range(2)]
    puts = [f"{verb} {way}" for verb, way in zip(verbs, _ways(), strict=True)]
    return "\n".join(["*filter", *(f"-D{line[2:]}" for line in ours), *puts, "COMMIT", ""])


def _chains(rules: PacketRules) -> dict[str, tuple[str, ...]]:
    """Our chains with their rules, as iptables-save prints them."""
    if rules == NOTHING:
        return {}
    vxlan = VXLAN in rules.tunnels
    nodes = sorted(rules.nodes)
    udp = f"-p udp -m udp --dport {VXLAN_PORT}"
    arriving = [f"-p {IPIP} -j {NODES}"] if TUNNEL in rules.tunnels else []
    arriving += [f"{udp} -j {NODES}"] if vxlan else []
    chains = {
        PODS_CHAIN: (f"-p {IPIP} -j DROP", "-m rpfilter --invert -j DROP"),
        NODES: (*(f"-s {node}/32 -j RETURN" for node in nodes), "-j DROP"),
        INPUT: tuple(arriving),
        PASSING: (f"-i {PODS} {udp} -j DROP",) if vxlan else (),
    }
    if rules.services:
        unserved = (f"{_match('-d', net)}{_UNSERVED}" for net in sorted(rules.services))
        chains[SERVICES] = ("-m conntrack --ctstate DNAT -j RETURN", *unserved)
    if rules.nat:
        chains[NAT] = (
            "-o lo -j RETURN",
            f"-o {PODS} -j RETURN",
            *(f"-o {tunnel} {_SERVICE}" for tunnel in sorted(rules.tunnels)),
            *(f"-d {node}/32 {_TO_BGP}{port} -j RETURN" for node in nodes for port in sorted(rules.bgp)),
            *(f"{_match('-d', net)}-j RETURN" for net in sorted(rules.inside)),
            *(f"{_match('-s', net)}{_MASQUERADE}" for net in sorted(rules.masquerade)),
        )
    return chains


def _match(flag: str, net: IPv4Network) -> str:
    """As iptables prints it, which says nothing of what matches everything."""
    return f"{flag} {net} " if net.prefixlen else ""


def _of(chain: str, lines: Iterable[str]) -> Iterator[str]:
    start = f"-A {chain} "
    return (line.removeprefix(start) for line in lines if line.startswith(start))


def _found(pattern: str, lines: Iterable[str]) -> list[str]:
    return [found[1] or "0.0.0.0/0" for line in lines if (found := re.fullmatch(pattern, line))]


def _forward(lines: Iterable[str]) -> tuple[list[str], bool]:
    """The rules of FORWARD before the first that drops or refuses everything, and whether there is such a one."""
    before: list[str] = []
    for line in lines:
        if not line.startswith("-A FORWARD "):
            continue
        if re.fullmatch(r"-A FORWARD( -m comment --comment (\S+|\"[^\"]*\"))? -j (DROP|REJECT\b.*)", line):
            return before, True
        before.append(line)
    return before, False


def _ways() -> tuple[str, str]:
    comment = f'-m comment --comment "{ACCEPTED}"'
    return f"-i {PODS} {comment} -j ACCEPT", f"-o {PODS} {comment} -j ACCEPT"
