"""BGPFilters, compiled once, and what they decide of a route (reference/calico-behaviour.md 1.6 and 5.9). Pure.

The first rule whose conditions all hold decides. Where none does, the next filter is asked; where no filter decides,
there is no verdict, and what holds without filters goes on: `imports` and `export` say what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

from msgspec import structs

from bgpnet.bgp.rib import LOCAL_PREF, Path
from bgpnet.model import ip
from bgpnet.model.bgpfilter import Action, BGPFilterSpec, FilterRule, MatchOperator, Operation, PeerType
from bgpnet.model.ip import Network

NORMAL_PRIORITY = 1024
"""The metric of a route that has none (ipv4NormalRoutePriority's default): it stands for LOCAL_PREF 100."""
CALICO_TOP = 2**31 - 1
"""Calico from 3.32 on sends LOCAL_PREF as this less the metric (reference/calico-behaviour.md 5.5, step 0)."""
CALICO_LEAST = 2**30


class Direction(StrEnum):
    """Which way a route goes, seen from this node."""

    IMPORT = "import"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a rule looks at.

    interface: the link that the route leads over, empty for what leads nowhere (own blocks, service addresses).
    learned: by BGP. external: the session, not the route, is with another AS. priority: the route's metric.
    """

    prefix: Network
    interface: str = ""
    learned: bool = False
    external: bool = False
    communities: tuple[str, ...] = ()
    as_path: tuple[int | tuple[int, ...], ...] = ()
    priority: int = NORMAL_PRIORITY


@dataclass(frozen=True, slots=True)
class Changes:
    """What a rule's operations do to a route; priority None: it stays as it is."""

    communities: tuple[str, ...] = ()
    prepend: tuple[int, ...] = ()
    priority: int | None = None


NO_CHANGES = Changes()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a filter says of a route. rule: its index in the list `field`, such as importV4.

    remote: the rule is for what was learned by BGP alone (`source: RemotePeers`).
    """

    filter: str
    field: str
    rule: int
    accepted: bool
    changes: Changes = NO_CHANGES
    remote: bool = False

    def __str__(self) -> str:
        """`BGPFilter(tor) spec.importV4[2], action Reject`."""
        action = Action.ACCEPT if self.accepted else Action.REJECT
        return f"BGPFilter({self.filter}) spec.{self.field}[{self.rule}], action {action}"


Condition = Callable[[Candidate], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled: it is for a route when all of its conditions hold."""

    conditions: tuple[Condition, ...]
    verdict: Verdict

    def decides(self, route: Candidate) -> bool:
        """Whether it is for this route."""
        return all(holds(route) for holds in self.conditions)


@dataclass(frozen=True, slots=True)
class Chain:
    """The rules of a peer's filters for one direction, one filter after the other. missing: filters that do not exist.

    A filter that does not exist cannot say what it refuses: nothing goes through a chain that names one.
    """

    rules: Mapping[int, tuple[Rule, ...]]
    missing: tuple[str, ...] = ()

    def judge(self, route: Candidate) -> Verdict | None:
        """The verdict of the first rule that is for this route."""
        return next((rule.verdict for rule in self.rules[route.prefix.version] if rule.decides(route)), None)


def chain(names: Sequence[str], filters: Mapping[str, BGPFilterSpec], direction: Direction) -> Chain:
    """A peer's filters for one direction."""
    rules = {
        version: tuple(
            rule for name in names if name in filters for rule in compiled(name, filters[name], direction, version)
        )
        for version in (4, 6)
    }
    return Chain(rules, tuple(name for name in names if name not in filters))


@lru_cache(maxsize=1024)
def compiled(name: str, spec: BGPFilterSpec, direction: Direction, version: int) -> tuple[Rule, ...]:
    """The rules of one list, compiled once for as long as they stay the same."""
    listed = f"{direction}V{version}"
    rules: tuple[FilterRule, ...] = getattr(spec, listed)
    return tuple(
        Rule(
            tuple(_conditions(rule)),
            Verdict(
                filter=name,
                field=listed,
                rule=index,
                accepted=rule.action is Action.ACCEPT,
                changes=changes(rule.operations),
                remote=rule.source is not None,
            ),
        )
        for index, rule in enumerate(rules)
    )


def changes(operations: Iterable[Operation]) -> Changes:
    """Several operations as one: communities add up, each prepending goes in front of those before it, and of
    priorities the last one stands."""
    done = NO_CHANGES
    for one in operations:
        if one.addCommunity is not None:
            done = replace(done, communities=(*done.communities, community(one.addCommunity.value)))
        if one.prependASPath is not None:
            done = replace(done, prepend=(*one.prependASPath.prefix, *done.prepend))
        if one.setPriority is not None:
            done = replace(done, priority=one.setPriority.value)
    return done


def community(text: str) -> str:
    """The one way to write a community: no leading zeros."""
    return ":".join(str(int(part)) for part in text.split(":"))


def _conditions(rule: FilterRule) -> Iterable[Condition]:
    """The conditions that are said, the cheapest first."""
    if rule.source is not None:
        yield lambda route: route.learned
    if rule.peerType is not None:
        external = rule.peerType is PeerType.EBGP
        yield lambda route: route.external is external
    if rule.priority is not None:
        priority = rule.priority
        yield lambda route: route.priority == priority
    if rule.cidr and rule.matchOperator is not None:
        yield _prefix(rule, rule.matchOperator)
    if rule.interface:
        pattern = rule.interface
        yield lambda route: bool(route.interface) and fnmatchcase(route.interface, pattern)
    if rule.communities is not None:
        wanted = frozenset(map(community, rule.communities.values))
        yield lambda route: wanted.issubset(route.communities)
    if rule.asPathPrefix:
        first = rule.asPathPrefix
        yield lambda route: route.as_path[: len(first)] == first


def _prefix(rule: FilterRule, operator: MatchOperator) -> Condition:
    """Where lengths are said, they are a part of what is equal or inside, and of what is not."""
    net = ip.network(rule.cidr)
    length = rule.prefixLength
    low = max(net.prefixlen, length.min or 0) if length else net.prefixlen
    high = net.max_prefixlen if length is None or length.max is None else length.max
    wanted = operator in (MatchOperator.EQUAL, MatchOperator.IN)
    if operator in (MatchOperator.EQUAL, MatchOperator.NOT_EQUAL):
        possible = low <= net.prefixlen <= high
        return lambda route: (possible and route.prefix == net) is wanted
    base, shift = int(net.network_address) >> (net.max_prefixlen - net.prefixlen), net.max_prefixlen - net.prefixlen
    return lambda route: (
        (low <= route.prefix.prefixlen <= high and int(route.prefix.network_address) >> shift == base) is wanted
    )


def priority_of(path: Path) -> int:
    """A learned route's metric: as Calico 3.32 and later say it, else its MED, else what its LOCAL_PREF stands for."""
    if path.local_pref is not None and path.local_pref >= CALICO_LEAST:
        return CALICO_TOP - path.local_pref
    if path.med is not None:
        return path.med
    return NORMAL_PRIORITY if path.local_pref is None else max(1, NORMAL_PRIORITY + LOCAL_PREF - path.local_pref)


def preference(priority: int) -> int:
    """The LOCAL_PREF that a metric stands for: better than 100 below 1024, worse above, and never below 0."""
    return max(0, NORMAL_PRIORITY + LOCAL_PREF - priority)


def changed(path: Path, verdict: Verdict) -> Path:
    """The path after a rule's operations."""
    done = verdict.changes
    if done.communities:
        plain = [one for one in done.communities if one.count(":") == 1 and one not in path.communities]
        large = [one for one in done.communities if one.count(":") == 2 and one not in path.large_communities]
        path = structs.replace(
            path, communities=(*path.communities, *plain), large_communities=(*path.large_communities, *large)
        )
    if done.prepend:
        path = structs.replace(path, as_path=(*done.prepend, *path.as_path))
    if done.priority is not None:
        path = structs.replace(path, local_pref=preference(done.priority), med=done.priority)
    return path
