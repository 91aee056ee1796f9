"""Packet rules as nft's table `inet bgpnet`, written as text and read as JSON (libnftables-json(5)). Pure.

What belongs to whom is in sets, so that a node or a pool more is an element more. Each rule has a comment with a digest
of its own text: nft prints a rule back in the words of its version, and the digest says whether it is this one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from typing import Any

import msgspec

from bgpnet.kernel.packets import (
    ACCEPTED,
    IPIP,
    NOTHING,
    RULE,
    Barrier,
    PacketRules,
    collapsed,
)
from bgpnet.kernel.state import VXLAN_PORT
from bgpnet.names import POD_LINK_PREFIX, TUNNEL, VXLAN

TABLE = "inet bgpnet"
PODS = f'"{POD_LINK_PREFIX}*"'
FILTER, CHAIN = "ip filter", "FORWARD"
"""Where docker and administrators drop by iptables-nft."""

_SETS = {
    "outgoing": "type ipv4_addr; flags interval;",
    "inside": "type ipv4_addr; flags interval;",
    "nodes": "type ipv4_addr;",
    "tunnels": "type ifname;",
    "services": "type ipv4_addr; flags interval;",
    "bgp": "type inet_service;",
}
_HOOKS = {
    "prerouting": ("filter", "prerouting", -300),
    "input": ("filter", "input", 0),
    "forward": ("filter", "forward", 0),
    "unserved": ("filter", "forward", 50),
    "output": ("filter", "output", -300),
    "postrouting": ("nat", "postrouting", 100),
}
"""By chain: type, hook and priority (before connection tracking; as iptables' filter; after that, so that kube-proxy
refuses what has no endpoint; as iptables' source NAT).

What VXLAN sends is not tracked, as in Calico: its source ports differ by flow and direction, so that each flow would be
two entries that nobody answers, and nobody's masquerading is to find it."""
_ERRORS = "icmp type { destination-unreachable, redirect, time-exceeded, parameter-problem }"
_UNSERVED = (
    ("ct status dnat return", "a Service's, and its answers"),
    (f"iifname != {PODS} oifname != {PODS} ct direction original ip daddr @services counter drop", "nobody's Service"),
)
_TRANSLATIONS = (
    ('oifname "lo" return', "stays here"),
    (f"oifname {PODS} return", "stays here"),
    (
        "oifname @tunnels ct status dnat fib saddr type local fib saddr . oif type != local "
        "counter masquerade fully-random",
        "this node to a Service, through the tunnel",
    ),
    ("ip daddr @nodes tcp dport @bgp return", "BGP, under its own address"),
    ("ip saddr @outgoing ip daddr != @inside counter masquerade fully-random", "natOutgoing"),
)


class _Set(msgspec.Struct):
    name: str
    elem: list[Any] = []


class _Chain(msgspec.Struct):
    name: str
    type: str = ""
    hook: str = ""
    prio: int | str = 0
    policy: str = ""


class _Rule(msgspec.Struct):
    chain: str
    handle: int
    comment: str = ""
    expr: list[Any] = []


class _Item(msgspec.Struct):
    set: _Set | None = None
    chain: _Chain | None = None
    rule: _Rule | None = None


class _Listing(msgspec.Struct):
    nftables: list[_Item]


_Elements = frozenset[IPv4Network] | frozenset[IPv4Address] | frozenset[str] | frozenset[int]
_Skeleton = dict[str, tuple[tuple[str, str, int | str], tuple[str, ...]]]
"""By chain: its hook, and its rules' comments in order."""


def script(rules: PacketRules, have: PacketRules | None) -> str:
    """What `nft -f -` takes, as one transaction: what differs in the sets, and if more does, all rules anew in place.

    In place, because a table that is deleted and added in one transaction lets packets pass in between: its rules begin
    to hold a moment before the elements of its sets do.
    """
    if rules == NOTHING:
        return f"add table {TABLE}\ndelete table {TABLE}\n"
    if have == NOTHING:
        return rebuilt(rules)
    after = _elements(rules)
    before = _elements(have) if have is not None else {}
    lines = [f"flush set {TABLE} {name}" for name in _SETS if name not in before]
    for name in _SETS:
        was = before.get(name, frozenset())
        for verb, changed in (("delete", was - after[name]), ("add", after[name] - was)):
            if changed:
                lines.append(f"{verb} element {TABLE} {name} {{ {_joined(changed)} }}")
    if have is None or _chains(have) != _chains(rules):
        lines = [*_frame(rules), *lines, *_contents(rules)]
    return "\n".join([*lines, ""])


def rebuilt(rules: PacketRules) -> str:
    """The table anew, whatever is there."""
    return f"add table {TABLE}\ndelete table {TABLE}\n{table(rules)}"


def _frame(rules: PacketRules) -> Iterator[str]:
    """Sets and chains, which may be there."""
    yield f"add table {TABLE}"
    for name, kind in _SETS.items():
        yield f"add set {TABLE} {name} {{ {kind} }}"
    for chain in {**_chains(rules), **_HOOKS}:
        yield f"add chain {TABLE} {chain}{f' {{ {_hook(chain)} }}' if chain in _HOOKS else ''}"


def _contents(rules: PacketRules) -> Iterator[str]:
    """All rules, in the place of those that are there."""
    wanted = _chains(rules)
    for chain in {**wanted, **_HOOKS}:
        yield f"flush chain {TABLE} {chain}"
        yield from (f"add rule {TABLE} {chain} {text}" for text in wanted.get(chain, ()))
        if chain not in wanted:
            yield f"delete chain {TABLE} {chain}"


def _hook(chain: str) -> str:
    kind, hook, priority = _HOOKS[chain]
    return f"type {kind} hook {hook} priority {priority}; policy accept;"


def table(rules: PacketRules) -> str:
    """The whole table, as `nft list` would print it."""
    lines = [f"table {TABLE} {{"]
    elements = _elements(rules)
    for name, kind in _SETS.items():
        has = f" elements = {{ {_joined(elements[name])} }};" if elements[name] else ""
        lines.append(f"\tset {name} {{ {kind}{has} }}")
    for chain, texts in _chains(rules).items():
        lines.append(f"\tchain {chain} {{")
        if chain in _HOOKS:
            lines.append(f"\t\t{_hook(chain)}")
        lines += [f"\t\t{text}" for text in texts]
        lines.append("\t}")
    return "\n".join([*lines, "}", ""])


def parse(listing: bytes) -> PacketRules | None:
    """The table that `nft -j list table` prints; None when it is not as it would be put. Raises msgspec's errors."""
    items = msgspec.json.decode(listing, type=_Listing).nftables
    sets = {item.set.name: item.set.elem for item in items if item.set}
    if not sets.keys() >= _SETS.keys():
        return None
    chains = {item.chain.name: item.chain for item in items if item.chain}
    try:
        found = PacketRules(
            masquerade=collapsed(_networks(sets["outgoing"])),
            inside=collapsed(_networks(sets["inside"])),
            nodes=frozenset(IPv4Address(_value(one)) for one in sets["nodes"]),
            tunnels=frozenset(str(_value(one)) for one in sets["tunnels"]),
            nat="postrouting" in chains,
            services=collapsed(_networks(sets["services"])),
            bgp=frozenset(int(_value(one)) for one in sets["bgp"]),
        )
    except ValueError:
        return None
    rules: dict[str, list[str]] = {name: [] for name in chains}
    for item in items:
        if item.rule:
            rules[item.rule.chain].append(item.rule.comment)
    return found if _skeleton(found) == {name: _shape(chains[name], rules[name]) for name in chains} else None


def dropped(listing: bytes) -> dict[str, int]:
    """What the rules that drop have counted, by their comments. Raises msgspec's errors."""
    found: dict[str, int] = {}
    for rule in _rules(msgspec.json.decode(listing, type=_Listing).nftables):
        counters = [one["counter"] for one in rule.expr if "counter" in one]
        if counters and any("drop" in one for one in rule.expr):
            reason = rule.comment.partition(": ")[2]
            found[reason] = found.get(reason, 0) + int(counters[0]["packets"])
    return found


def tunnels(listing: bytes) -> frozenset[str]:
    """The tunnels that the table is about, whatever else is in it; none where it cannot be read."""
    try:
        items = msgspec.json.decode(listing, type=_Listing).nftables
    except msgspec.MsgspecError:
        return frozenset()
    found = [item.set.elem for item in items if item.set and item.set.name == "tunnels"]
    return frozenset(str(_value(one)) for elements in found for one in elements)


def barrier(listing: bytes) -> Barrier | None:
    """The chain of iptables-nft, if it drops what is forwarded, by its policy or by a rule for everything."""
    items = msgspec.json.decode(listing, type=_Listing).nftables
    rules = _rules(items)
    wall = _wall(rules)
    if wall is None and not any(item.chain and item.chain.policy == "drop" for item in items):
        return None
    before = rules if wall is None else rules[: rules.index(wall)]
    ways = {_way(rule) for rule in before if rule.comment == ACCEPTED}
    return Barrier("nft", FILTER, CHAIN, open={"iifname", "oifname"} <= ways)


def accept(listing: bytes) -> str:
    """What `nft -f -` takes to have that chain accept pods' packets: at its end, or before what drops everything.

    What others put before it keeps its say: kube-proxy's refusals of Services without endpoints, an administrator's
    own rules.
    """
    rules = _rules(msgspec.json.decode(listing, type=_Listing).nftables)
    wall = _wall(rules)
    lines = [f"delete rule {FILTER} {CHAIN} handle {rule.handle}" for rule in rules if rule.comment == ACCEPTED]
    where = f"add rule {FILTER} {CHAIN}" if wall is None else f"insert rule {FILTER} {CHAIN} handle {wall.handle}"
    lines += [f'{where} {way} {PODS} counter accept comment "{ACCEPTED}"' for way in ("iifname", "oifname")]
    return "\n".join([*lines, ""])


def foreign(listing: str) -> tuple[tuple[str, str], ...]:
    """The other chains, with their tables, that what is forwarded passes, from the text of `nft list chains`."""
    found: list[tuple[str, str]] = []
    table_name = chain = ""
    for line in listing.splitlines():
        words = line.split()
        if line.startswith("table "):
            table_name = f"{words[1]} {words[2]}"
        elif words[:1] == ["chain"]:
            chain = words[1]
        elif "hook forward " in line and (table_name, chain) != (FILTER, CHAIN) and table_name != TABLE:
            found += [(table_name, chain)] if table_name.startswith(("ip ", "inet ")) else []
    return tuple(found)


def strangers(place: tuple[str, str], listing: bytes) -> Barrier | None:
    """A chain of another table, if it drops what is forwarded; we put nothing there."""
    items = msgspec.json.decode(listing, type=_Listing).nftables
    if any(item.chain and item.chain.policy == "drop" for item in items):
        return Barrier("nft", *place, ours=False)
    return Barrier("nft", *place, ours=False, by=RULE) if _wall(_rules(items)) else None


def knows_pods(listing: bytes) -> bool:
    """Whether a rule names pods' links: such a table is believed to let them pass, for where its chains lead to (zones
    of firewalld, say) is not followed."""
    return f"{POD_LINK_PREFIX}*".encode() in listing


def _chains(rules: PacketRules) -> dict[str, tuple[str, ...]]:
    """Every chain's rules, in their order, each with its comment."""
    vxlan = VXLAN in rules.tunnels
    pods = (
        _rule(f"meta l4proto {IPIP} counter drop", "IP in IP from a pod"),
        _rule("fib saddr . iif oif missing counter drop", "not the pod's own address"),
        _rule(f"{_ERRORS} jump errors", "ICMP errors"),
    )
    from_pods = [_rule(f"iifname {PODS} jump pods", "from pods")]
    arriving, passing, leaving = [], [], []
    if TUNNEL in rules.tunnels:
        arriving += [_rule(f"ip protocol {IPIP} ip saddr != @nodes counter drop", "IP in IP, not from a node")]
    if vxlan:
        arriving += [_rule(f"udp dport {VXLAN_PORT} ip saddr != @nodes counter drop", "VXLAN, not from a node")]
        # Behind all translation of where it goes, and wherever that is: masqueraded, it would pass for this node's.
        passing += [_rule(f"iifname {PODS} udp dport {VXLAN_PORT} counter drop", "VXLAN from a pod")]
        from_pods += [_rule(f"udp dport {VXLAN_PORT} ip saddr @nodes fib daddr type local notrack", "VXLAN")]
        leaving += [_rule(f"udp dport {VXLAN_PORT} ip daddr @nodes notrack", "VXLAN")]
    chains = {
        "errors": tuple(_errors(rules)),
        "pods": pods,
        "prerouting": tuple(from_pods),
        "input": tuple(arriving),
        "forward": tuple(passing),
        "output": tuple(leaving),
    }
    if rules.services:
        chains["unserved"] = tuple(_rule(text, why) for text, why in _UNSERVED)
    if rules.nat:
        chains["postrouting"] = tuple(_rule(text, why) for text, why in _TRANSLATIONS)
    return chains


def _errors(rules: PacketRules) -> Iterator[str]:
    """What of ICMP errors passes: those about a packet that came to a pod, by the destination in what they repeat.

    The kernel would believe others: that the way to another node, tunnels' too, takes small packets only (RFC 1191).
    nft has no name for an address in there, and so no set for it. What is too short for one is dropped: a fragment.
    """
    for one in sorted(rules.inside):
        if not _is_of_nodes(one, rules.nodes):
            bits = f"@th,192,32 & {int(one.netmask):#010x} == {int(one.network_address):#010x}"
            yield _rule(f"{bits} return", "about what came to a pod")
    yield _rule("counter drop", "ICMP error about what came to no pod")


def _is_of_nodes(network: IPv4Network, nodes: frozenset[IPv4Address]) -> bool:
    """Whether it has nothing but nodes' addresses: those are inside, too, where natOutgoing spares them."""
    return network.num_addresses <= len(nodes) and nodes.issuperset(network)


def _rule(text: str, why: str) -> str:
    return f'{text} comment "bgpnet {zlib.crc32(text.encode()):08x}: {why}"'


def _comment(rule: str) -> str:
    return rule.rpartition(' comment "')[2].rstrip('"')


def _skeleton(rules: PacketRules) -> _Skeleton:
    return {
        chain: (_HOOKS.get(chain, ("", "", 0)), tuple(_comment(text) for text in texts))
        for chain, texts in _chains(rules).items()
    }


def _shape(chain: _Chain, comments: Iterable[str]) -> tuple[tuple[str, str, int | str], tuple[str, ...]]:
    if chain.hook and chain.policy != "accept":
        return ("", "", chain.policy), ()
    return (chain.type, chain.hook, chain.prio), tuple(comments)


def _elements(rules: PacketRules) -> Mapping[str, _Elements]:
    return {
        "outgoing": rules.masquerade,
        "inside": rules.inside,
        "nodes": rules.nodes,
        "tunnels": rules.tunnels,
        "services": rules.services,
        "bgp": rules.bgp,
    }


def _joined(elements: Iterable[object]) -> str:
    texts = [f'"{one}"' if isinstance(one, str) else str(one) for one in elements]
    return ", ".join(sorted(texts))


def _value(element: Any) -> Any:
    """An element without what may hang on it (a comment, a counter)."""
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def _networks(elements: Iterable[Any]) -> Iterator[IPv4Network]:
    for one in map(_value, elements):
        if isinstance(one, str):
            yield IPv4Network(one)
        elif "prefix" in one:
            yield IPv4Network(f"{one['prefix']['addr']}/{one['prefix']['len']}")
        else:
            low, high = one["range"]
            yield from summarize_address_range(IPv4Address(low), IPv4Address(high))


def _rules(items: Iterable[_Item]) -> list[_Rule]:
    return [item.rule for item in items if item.rule]


def _wall(rules: Iterable[_Rule]) -> _Rule | None:
    """The first rule that drops or refuses everything that comes to it."""
    return next((rule for rule in rules if _drops_all(rule)), None)


def _drops_all(rule: _Rule) -> bool:
    *matches, verdict = rule.expr or [{}]
    if any(not (one.keys() <= {"counter"} or _xt(one) == ("match", "comment")) for one in matches):
        return False
    return bool(verdict.keys() & {"drop", "reject"}) or _xt(verdict) in (("target", "REJECT"), ("target", "DROP"))


def _xt(expression: Mapping[str, Any]) -> tuple[str, str]:
    """An extension of iptables that nft only knows by its name."""
    found = expression.get("xt") or {}
    return found.get("type", ""), found.get("name", "")


def _way(rule: _Rule) -> str:
    """Which link's name it looks at, if it is one that accepts."""
    accepts = any("accept" in one for one in rule.expr)
    keys = [one["match"]["left"].get("meta", {}).get("key", "") for one in rule.expr if "match" in one]
    return keys[0] if accepts and len(keys) == 1 else ""
