"""What of the learned is taken: default-deny, filters, and the choice among what is left. Pure.

Policy comes before the decision (RFC 4271, 9.1.1): a path that is refused does not hide another one.

Whatever a filter says, nobody sends us our own blocks, what went through our AS already, or next hops that lead
nowhere. Beyond that a filter's rule decides; without one, everybody may send what lies in a pool and nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from enum import StrEnum

from bgpnet.bgp.policy import Candidate, Chain, Verdict, changed, priority_of
from bgpnet.bgp.rib import Identifiers, Key, Path, Table, equals
from bgpnet.model import ip
from bgpnet.model.ip import Address, Interface, Network
from bgpnet.model.ippool import Encap
from bgpnet.names import VXLAN
from bgpnet.pieces import Pause, never, pieces

PREFIX_LIMIT = 100_000
"""Prefixes that are taken of one peer; the first ones stay."""

FEW = 4
"""So many times as much as all is what choosing for a few must not cost."""

NO_CHAIN = Chain({4: (), 6: ()})
_BARE = (Encap.NEVER, "")
_SILENT = (
    "has not said yet where its VXLAN tunnel ends (spec.vxlanTunnelMACAddr of its Node): "
    "the route waits for its agent, which writes that"
)


class Reason(StrEnum):
    """Why a path is not taken, to be counted by."""

    LIMIT = "too many prefixes"
    MISSING = "missing filter"
    MALFORMED = "no AS path"
    LOOP = "AS loop"
    REFLECTED = "reflection loop"
    OWN = "own block"
    LINK = "own link"
    FILTER = "filter"
    DEFAULT = "default route"
    SERVICE = "service addresses"
    OUTSIDE = "outside the pools"
    WAITING = "waiting for the other end of the tunnel"
    NEXT_HOP = "impossible next hop"


QUIET = frozenset({Reason.SERVICE, Reason.REFLECTED, Reason.LINK, Reason.LOOP, Reason.FILTER})
"""What is refused every day and worth no warning: every node announces the same service addresses, every reflector
and every switch sends some routes back, switches announce their links, and a filter's rule is somebody's wish."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One path that is not taken; `text` is the whole sentence. verdict: the filter's, if one decided."""

    peer: Address
    prefix: Network
    reason: Reason
    text: str
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """One path that is taken, as operations left it. tunnelled: to a node. verdict: the filter's, if one decided.

    via: the machine that its next hop is reached by, where that is another one, or the other end of the tunnel. link:
    where the way begins, unless that is the node's uplink or, tunnelled, tunl0.
    """

    path: Path
    tunnelled: bool = False
    verdict: Verdict | None = None
    via: Address | None = None
    link: str = ""


Outcome = Accepted | Refusal


@dataclass(frozen=True, slots=True)
class Origin:
    """What import asks of a session. local_as: ours in it. allowed_own_as: how often that may be in a path.

    router_id: the peer's BGP identifier, where it is known.
    """

    local_as: int
    in_cluster: bool = True
    allowed_own_as: int = 0
    chain: Chain = NO_CHAIN
    router_id: Address | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """What import asks of this node. address: its own, with its subnet. pools: the narrowest first, disabled ones too.
    nodes: where the other nodes are. services: the configured ranges. gateways: the peers that are reached by another
    machine, and its address. cluster_id: as a route reflector. subnets: on other links, each with its link. vxlan: the
    pools that are tunnelled so. ends: where VXLAN ends at the nodes that have said so, by their addresses."""

    address: Interface
    uplink: str
    tunnel: str
    own: frozenset[Network]
    pools: tuple[tuple[Network, Encap], ...]
    nodes: frozenset[Address]
    services: tuple[Network, ...] = ()
    gateways: Mapping[Address, Address] = field(default_factory=dict)
    cluster_id: str = ""
    limit: int = PREFIX_LIMIT
    subnets: tuple[tuple[Network, str], ...] = ()
    vxlan: frozenset[Network] = frozenset()
    ends: Mapping[Address, Address] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Imported:
    """chosen: for each prefix the path to use, and after it those that share its traffic. refused: all the others
    that were not taken. mark: this one's own; basis: that of the one that it was made of, by choosing for `again`.
    memo: what was worked out of this one or of those that it was made of, by who worked it out."""

    chosen: Mapping[Network, tuple[Accepted, ...]] = field(default_factory=dict)
    refused: tuple[Refusal, ...] = ()
    mark: object = field(default_factory=object, compare=False, repr=False)
    basis: object = field(default=None, compare=False, repr=False)
    again: frozenset[Network] = field(default=frozenset(), compare=False, repr=False)
    memo: dict[str, object] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Judged:
    """One peer's paths and what became of them. touched: the prefixes of those that are not as before. several:
    there may be more than one path for a prefix (ADD-PATH)."""

    origin: Origin
    paths: Mapping[Key, Path]
    outcomes: Mapping[Key, tuple[Path, Outcome]]
    refused: tuple[Refusal, ...]
    touched: frozenset[Network]
    several: bool


@dataclass(frozen=True, slots=True)
class _Memory:
    ground: Ground
    judged: Mapping[Address, _Judged]
    imported: Imported


def imported(
    table: Table, ground: Ground, origins: Mapping[Address, Origin], stranger: Origin, pause: Pause = never
) -> Imported:
    """All that is taken of the table. stranger: how peers count that are not in `origins` any more.

    Only what changed since the last time is judged anew: 10,000 paths are judged once, not with every plan. And where
    few prefixes changed, only those are chosen for again. pause: called between pieces of the work.
    """
    memory = table.memo.get(__name__)
    before = memory if isinstance(memory, _Memory) and memory.ground == ground else None
    judge, judged = Judge(ground), dict[Address, _Judged]()
    for peer in table.peers():
        had = before.judged.get(peer) if before else None
        judged[peer] = _judged(judge, table.of(peer), origins.get(peer, stranger), had, pause)
    if before is not None and len(judged) == len(before.judged):
        changed = [one for peer, one in judged.items() if one is not before.judged.get(peer)]
        if not changed:
            return before.imported
        if (again := _touched(changed, before, judged)) is not None:
            found = _rechosen(judged, again, before.imported, pause)
            table.memo[__name__] = _Memory(ground, judged, found)
            return found
    found = _chosen(judged, pause)
    table.memo[__name__] = _Memory(ground, judged, found)
    return found


def _judged(judge: Judge, paths: Mapping[Key, Path], origin: Origin, had: _Judged | None, pause: Pause) -> _Judged:
    known: Mapping[Key, tuple[Path, Outcome]] = {}
    if had is not None and had.origin == origin:
        if had.paths is paths:
            return had
        known = had.outcomes
    outcomes: dict[Key, tuple[Path, Outcome]] = {}
    touched: list[Network] = []
    several = False
    for number, (key, path) in enumerate(pieces(paths.items(), pause)):
        one = known.get(key)
        if one is None or one[0] is not path or (number >= judge.limit) is not _is_surplus(one[1]):
            one = (path, judge.judge(path, origin) if number < judge.limit else _surplus(path, judge.limit))
            touched.append(path.prefix)
            several = several or key[1] != 0
        outcomes[key] = one
    if len(outcomes) < len(known) + len(touched):
        touched += [key[0] for key in known.keys() - outcomes.keys()]
    refused = tuple(outcome for _, outcome in outcomes.values() if isinstance(outcome, Refusal))
    return _Judged(origin, paths, outcomes, refused, frozenset(touched), several or (had is not None and had.several))


def _touched(
    changed: Iterable[_Judged], before: _Memory, judged: Mapping[Address, _Judged]
) -> frozenset[Network] | None:
    """The prefixes to choose for again; None where that is no less work than for all, or something else changed."""
    for peer, one in judged.items():
        had = before.judged.get(peer)
        if had is None or (had is not one and had.origin != one.origin) or one.several:
            return None
    again = frozenset(net for one in changed for net in one.touched)
    return again if len(again) * len(judged) * FEW < len(before.imported.chosen) else None


def _chosen(judged: Mapping[Address, _Judged], pause: Pause) -> Imported:
    rivals: dict[Network, list[Accepted]] = {}
    for each in judged.values():
        for path, outcome in pieces(each.outcomes.values(), pause):
            if not isinstance(outcome, Refusal):
                rivals.setdefault(path.prefix, []).append(outcome)
    choose = _Choice(judged).of
    return Imported({prefix: choose(some) for prefix, some in pieces(rivals.items(), pause)}, _refused(judged))


def _refused(judged: Mapping[Address, _Judged]) -> tuple[Refusal, ...]:
    return tuple(refusal for each in judged.values() for refusal in each.refused)


def _rechosen(judged: Mapping[Address, _Judged], again: frozenset[Network], before: Imported, pause: Pause) -> Imported:
    """As before, but for these prefixes."""
    chosen, choice = dict(before.chosen), _Choice(judged)
    for prefix in pieces(again, pause):
        rivals = [
            one[1]
            for each in judged.values()
            if (one := each.outcomes.get((prefix, 0))) is not None and not isinstance(one[1], Refusal)
        ]
        if rivals:
            chosen[prefix] = choice.of(rivals)
        else:
            chosen.pop(prefix, None)
    return Imported(chosen, _refused(judged), basis=before.mark, again=again, memo=before.memo)


class _Choice:
    """What choosing needs to know of the sessions, worked out once."""

    def __init__(self, judged: Mapping[Address, _Judged]) -> None:
        self._outside = {peer for peer, each in judged.items() if not each.origin.in_cluster}
        self._identifiers = {peer: each.origin.router_id for peer, each in judged.items() if each.origin.router_id}

    def of(self, rivals: list[Accepted]) -> tuple[Accepted, ...]:
        """The best, and those that share its traffic."""
        return _choose(rivals, self._outside, self._identifiers)


def _choose(rivals: list[Accepted], outside: set[Address], identifiers: Identifiers) -> tuple[Accepted, ...]:
    """The best, and those of equal rank where all are from outside the cluster: in it, a block has one owner."""
    if len(rivals) == 1:
        return (rivals[0],)
    by_path = {(one.path.peer, one.path.path_id): one for one in rivals}
    best, *others = [by_path[path.peer, path.path_id] for path in equals((one.path for one in rivals), identifiers)]
    if best.path.peer not in outside:
        return (best,)
    return (best, *(one for one in others if one.path.peer in outside))


def _surplus(path: Path, limit: int) -> Refusal:
    text = f"{path.prefix} from {path.peer} is one more than the {limit} prefixes that are taken of a peer"
    return Refusal(path.peer, path.prefix, Reason.LIMIT, text)


def _is_surplus(outcome: Outcome) -> bool:
    return isinstance(outcome, Refusal) and outcome.reason is Reason.LIMIT


class Judge:
    """Import on one ground; what it works out of the ground is worked out once."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.limit = ground.limit
        own = sorted(ground.own, key=ip.order)
        self._own = {version: [net for net in own if net.version == version] for version in (4, 6)}
        self._starts = {version: [int(net.network_address) for net in nets] for version, nets in self._own.items()}
        self._near: dict[Address, bool] = {}
        self._other_links: dict[Address, str] = {}
        self._me = str(ground.address.ip)
        self._pools = [
            (
                net.version,
                net.prefixlen,
                int(net.network_address),
                int(net.broadcast_address),
                (mode, VXLAN if net in ground.vxlan else ground.tunnel),
            )
            for net, mode in ground.pools
        ]
        link = ground.address.network
        self._link = link.version, int(link.network_address), int(link.broadcast_address)

    def judge(self, path: Path, origin: Origin) -> Outcome:
        """Whether a path is taken; the prefix limit is not its business."""
        pool = self._pool(path.prefix)
        way = self._way(path, *(pool or _BARE))
        if refusal := self._never(path, origin):
            return refusal
        verdict = origin.chain.judge(self._candidate(path, way)) if origin.chain.rules[path.prefix.version] else None
        if verdict is not None and not verdict.accepted:
            return replaced(_no(path, Reason.FILTER, f"is refused by {verdict}"), verdict=verdict)
        if verdict is None and (refusal := self._unasked(path, pool is not None)):
            return refusal
        if isinstance(way, Refusal):
            return way
        path = path if verdict is None else changed(path, verdict)
        if way:
            vxlan = way == VXLAN
            via = self._ground.ends[path.next_hop] if vxlan else None
            return Accepted(path, True, verdict, via, VXLAN if vxlan else "")
        return Accepted(path, False, verdict, self._ground.gateways.get(path.next_hop), self._other_link(path.next_hop))

    def _pool(self, prefix: Network) -> tuple[Encap, str] | None:
        """How the pool that the prefix lies in tunnels; by numbers, because this is asked of every path."""
        version, length, first = prefix.version, prefix.prefixlen, int(prefix.network_address)
        for family, least, low, high, mode in self._pools:
            if family == version and least <= length and low <= first <= high:
                return mode
        return None

    def _never(self, path: Path, origin: Origin) -> Refusal | None:
        """What no filter can ask for."""
        if origin.chain.missing:
            names = ", ".join(origin.chain.missing)
            problem = (
                f"is not taken, because its peer's BGPFilter {names} does not exist: create it, or remove its name"
            )
            return _no(path, Reason.MISSING, problem)
        if path.external and not path.as_path:
            return _no(path, Reason.MALFORMED, "has no AS path, although its peer is in another AS: see to the peer")
        if origin.local_as in path.as_path or any(isinstance(one, tuple) for one in path.as_path):
            times = sum(origin.local_as in (one if isinstance(one, tuple) else (one,)) for one in path.as_path)
            if times > origin.allowed_own_as:
                problem = f"has been in AS {origin.local_as} already: numAllowedLocalASNumbers permits it"
                return _no(path, Reason.LOOP, problem)
        if path.originator_id == self._me:
            return _no(path, Reason.REFLECTED, "is this node's own, reflected")
        if self._ground.cluster_id and self._ground.cluster_id in path.cluster_list:
            return _no(path, Reason.REFLECTED, f"has been reflected in cluster {self._ground.cluster_id} already")
        net = self._overlapped(path.prefix)
        if net is not None and net.prefixlen <= path.prefix.prefixlen:
            return _no(path, Reason.OWN, f"lies in a block of this node's own, {net}: it is not taken")
        if any(ip.contains(net, path.prefix) and path.next_hop in path.prefix for net, _ in self._ground.subnets):
            return _no(path, Reason.LINK, "is of a link of this node's own: it is not taken")
        version, low, high = self._link
        if version != path.prefix.version or not low <= int(path.prefix.network_address) <= high:
            return None
        link = self._ground.address
        if ip.contains(link.network, path.prefix) and (link.ip in path.prefix or path.next_hop in path.prefix):
            return _no(path, Reason.LINK, f"is of this node's own link, {link.network}: it is not taken")
        return None

    def _unasked(self, path: Path, pooled: bool) -> Refusal | None:
        """What is not taken unless a filter's rule asks for it."""
        remedy = "a BGPFilter that accepts it must say so"
        if path.prefix.prefixlen == 0:
            return _no(path, Reason.DEFAULT, f"is a default route: {remedy}")
        if not pooled and any(ip.contains(net, path.prefix) for net in self._ground.services):
            return _no(path, Reason.SERVICE, "is of services, which every node serves by itself")
        if not pooled:
            return _no(path, Reason.OUTSIDE, f"is in no pool: {remedy}")
        if (net := self._overlapped(path.prefix)) is not None:
            return _no(path, Reason.OWN, f"covers a block of this node's own, {net}: {remedy}")
        return None

    def _candidate(self, path: Path, way: str | Refusal) -> Candidate:
        link = ""
        if not isinstance(way, Refusal):
            link = way or self._other_link(path.next_hop) or self._ground.uplink
        return Candidate(
            prefix=path.prefix,
            interface=link,
            learned=True,
            external=path.external,
            communities=path.communities + path.large_communities,
            as_path=path.as_path,
            priority=priority_of(path),
        )

    def _way(self, path: Path, mode: Encap, tunnel: str) -> str | Refusal:
        """The tunnel that the route takes, empty for none; or why its next hop leads nowhere.

        A route is tunnelled only to a node: whoever else is the next hop would not know what to do with the packets.
        """
        hop = path.next_hop
        near = self._near.get(hop)
        if near is None:
            link, gateway = self._ground.address.network, self._ground.gateways.get(hop)
            near = self._near[hop] = ip.contains(link, hop if gateway is None else gateway)
        if hop == self._ground.address.ip:
            return _no(path, Reason.NEXT_HOP, "has this node itself as its next hop")
        if mode is Encap.ALWAYS or (mode is Encap.CROSS_SUBNET and not near):
            if hop not in self._ground.nodes:
                return _no(path, Reason.NEXT_HOP, f"its next hop {hop} is no known node, so no tunnel leads there", ":")
            if tunnel == VXLAN and hop not in self._ground.ends:
                return _no(path, Reason.WAITING, f"its next hop {hop} {_SILENT}", ":")
            return tunnel
        if not near and not self._other_link(hop):
            nets = [self._ground.address.network, *(net for net, _ in self._ground.subnets)]
            return _no(path, Reason.NEXT_HOP, f"its next hop {hop} is outside {' and '.join(map(str, nets))}", ":")
        return ""

    def _other_link(self, hop: Address) -> str:
        """The other link that a next hop, or the gateway to it, is on; empty where it is in the node's own subnet."""
        link = self._other_links.get(hop)
        if link is None:
            first = self._ground.gateways.get(hop, hop)
            own = ip.contains(self._ground.address.network, first)
            of_others = (link for net, link in self._ground.subnets if ip.contains(net, first))
            link = self._other_links[hop] = "" if own else next(of_others, "")
        return link

    def _overlapped(self, prefix: Network) -> Network | None:
        """An own block that the prefix lies in or covers; own blocks do not overlap."""
        nets, starts = self._own[prefix.version], self._starts[prefix.version]
        first = int(prefix.network_address)
        at = bisect_right(starts, first) - 1
        if at >= 0 and ip.contains(nets[at], prefix):
            return nets[at]
        at = at if at >= 0 and starts[at] == first else at + 1
        return nets[at] if at < len(nets) and ip.contains(prefix, nets[at]) else None


def _no(path: Path, reason: Reason, problem: str, joint: str = "") -> Refusal:
    return Refusal(path.peer, path.prefix, reason, f"{path.prefix} from {path.peer}{joint} {problem}")


def counts(refused: Iterable[Refusal]) -> dict[Address, dict[Reason, int]]:
    """How many paths are not taken, by peer and reason."""
    found: dict[Address, dict[Reason, int]] = {}
    for one in refused:
        by_reason = found.setdefault(one.peer, {})
        by_reason[one.reason] = by_reason.get(one.reason, 0) + 1
    return found
