"""What each peer is told: this node's own blocks and service addresses, as pools and filters permit. Pure.

The order is Calico's (reference/calico-behaviour.md 5.5): a filter's rule decides first, then what the pools permit.
Some things hold whatever a filter says: pods are in blocks and are never told one by one, nothing outside the pools
is told but service addresses, and what was learned is passed on by a rule that says `source: RemotePeers` and no other
(Calico passes on all that lies in the pools: with a mesh and a switch, every node tells the switch every block). A
route reflector passes on what its clients are to have (reflection.py), unless a rule refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypedDict

from bgpnet.bgp.policy import NORMAL_PRIORITY, Candidate, Chain, Changes, Verdict, preference, priority_of
from bgpnet.bgp.reflection import Reflection
from bgpnet.bgp.rib import LOCAL_PREF, Path
from bgpnet.model import ip
from bgpnet.model.bgppeer import NextHopMode
from bgpnet.model.ip import Address, Network

NO_ADVERTISE = "65535:65282"
"""A well-known community (RFC 1997): to be told to nobody."""
NO_EXPORT = frozenset({"65535:65281", "65535:65283"})
"""To be told to nobody outside the AS: NO_EXPORT, NO_EXPORT_SUBCONFED."""

Attributes = tuple[
    Address | None,
    tuple[str, ...],
    tuple[int | tuple[int, ...], ...],
    int | None,
    int | None,
    str,
    str,
    tuple[str, ...],
    tuple[str, ...],
]
"""What announcements that go out in one UPDATE have in common."""


@dataclass(frozen=True, slots=True)
class Advert:
    """One announcement. next_hop None: our address in that session. communities: as `Path` has them, large ones too.

    as_path empty: as it begins at this node, which ExaBGP knows how to say; else the whole of it, our own AS included.
    local_pref None: 100. The others are left out where there are none. extended: communities of RFC 4360, as text.
    """

    prefix: Network
    next_hop: Address | None = None
    communities: tuple[str, ...] = ()
    as_path: tuple[int | tuple[int, ...], ...] = ()
    local_pref: int | None = None
    med: int | None = None
    origin: str = "igp"
    originator_id: str = ""
    cluster_list: tuple[str, ...] = ()
    extended: tuple[str, ...] = ()

    @property
    def attributes(self) -> Attributes:
        """All but the prefix."""
        return (
            self.next_hop,
            self.communities,
            self.as_path,
            self.local_pref,
            self.med,
            self.origin,
            self.originator_id,
            self.cluster_list,
            self.extended,
        )


UNCHANGED = Changes()
_SPEAKABLE = re.compile(r"(target|origin):[0-9.]+:[0-9]+")
"""Extended communities that ExaBGP reads as it writes them; a command with another kind would be refused whole."""


class _Signature(TypedDict, total=False):
    originator_id: str
    cluster_list: tuple[str, ...]


class Stage(StrEnum):
    """What decided an export."""

    FILTER = "filter"
    MISSING = "missing filter"
    POOL = "disableBGPExport"
    BLOCK = "own block"
    SERVICE = "service addresses"
    LEARNED = "learned"
    REFLECTED = "reflected"
    OUTSIDE = "outside the pools"
    NOTHING = "not here"
    FAMILY = "address family"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a route is told, what decided it, and the sentence for it. advert: only where it is told."""

    stage: Stage
    text: str
    advert: Advert | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What export asks of a session. versions: the address families that it carries. client: of us, a reflector."""

    address: Address
    local_as: int
    external: bool
    next_hop_mode: NextHopMode = NextHopMode.AUTO
    keep_next_hop: bool = False
    versions: tuple[int, ...] = (4, 6)
    chain: Chain = Chain({4: (), 6: ()})  # noqa: RUF009 - it never changes
    client: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """All that this node could tell. pools: their network and whether they may be told, the narrowest first.

    marked: prefixAdvertisements, with communities by value. learned: what is used of the learned, with the link.
    reflection: None where this node is no route reflector. ranges: where service addresses of other nodes may lie that
    a reflector passes on.
    """

    blocks: frozenset[Network]
    pools: tuple[tuple[Network, bool], ...]
    services: frozenset[Network] = frozenset()
    marked: tuple[tuple[Network, tuple[str, ...]], ...] = ()
    learned: Mapping[Network, tuple[Path, str]] = field(default_factory=dict)
    reflection: Reflection | None = None
    ranges: tuple[Network, ...] = ()


NOBODY = ip.address("0.0.0.0")  # noqa: S104  # the address of no peer


def exports(offer: Offer, targets: Iterable[Target]) -> Mapping[Address, frozenset[Advert]]:
    """For every peer the whole of what it should know from us.

    Peers of one kind are told one and the same set, less what they taught us: a hundred clients are no more work than
    one.
    """
    told: dict[tuple[object, ...], _Told] = {}
    found: dict[Address, frozenset[Advert]] = {}
    for one in targets:
        how = (one.local_as, one.external, one.next_hop_mode, one.keep_next_hop, one.versions, one.client)
        key = (*how, _identity(one.chain))
        if key not in told:
            told[key] = _adverts(offer, replace(one, address=NOBODY))
        own = told[key].by_source.get(one.address)
        found[one.address] = told[key].adverts - own if own else told[key].adverts
    return found


@dataclass(frozen=True, slots=True)
class _Told:
    """What peers of one kind are told. by_source: those of it that were learned, by whom they are from."""

    adverts: frozenset[Advert]
    by_source: Mapping[Address, set[Advert]]


def _identity(chain: Chain) -> tuple[object, ...]:
    return (*(tuple(map(id, rules)) for rules in chain.rules.values()), chain.missing)


def _adverts(offer: Offer, target: Target) -> _Told:
    prefixes = offer.blocks | offer.services
    if any(target.chain.rules.values()) or (offer.reflection and not target.external):
        prefixes = prefixes | offer.learned.keys()
    adverts = [one.advert for one in (decide(offer, target, prefix) for prefix in prefixes) if one.advert is not None]
    by_source: dict[Address, set[Advert]] = {}
    for advert in adverts:
        if advert.prefix in offer.learned and advert.prefix not in offer.blocks | offer.services:
            by_source.setdefault(offer.learned[advert.prefix][0].peer, set()).add(advert)
    return _Told(frozenset(adverts), by_source)


def decide(offer: Offer, target: Target, prefix: Network) -> Decision:
    """Whether one peer is told of one prefix."""
    known = prefix in offer.blocks or prefix in offer.services
    path, link = offer.learned.get(prefix, (None, "")) if not known else (None, "")
    if not known and path is None:
        return Decision(Stage.NOTHING, _absent(offer, prefix))
    if prefix.version not in target.versions:
        return Decision(Stage.FAMILY, f"the session carries no IPv{prefix.version} routes")
    if target.chain.missing:
        names = ", ".join(target.chain.missing)
        return Decision(Stage.MISSING, f"the peer's BGPFilter {names} does not exist: create it, or remove its name")
    pool = next((permits for net, permits in offer.pools if ip.contains(net, prefix)), None)
    reflected = path is not None and not target.external and _reflects(offer, path, target)
    if reflected and pool is None and any(ip.contains(net, prefix) for net in offer.ranges):
        pool = True
    if prefix not in offer.services and pool is None:
        return Decision(Stage.OUTSIDE, f"{prefix} is in no pool: nothing outside the pools is told to anybody")
    if path is not None and (problem := _kept_in(path, target, reflected)):
        return Decision(Stage.LEARNED, problem)
    route = _candidate(offer, target, prefix, path, link, reflected)
    verdict = target.chain.judge(route)
    if path is not None and not reflected and not (verdict and verdict.remote):
        problem = "what was learned is passed on only where a filter's rule with source: RemotePeers accepts it"
        return Decision(Stage.LEARNED, problem, None, verdict)
    if verdict is not None:
        advert = _advert(offer, route, path, target, verdict.changes) if verdict.accepted else None
        return Decision(Stage.FILTER, f"decided by {verdict}", advert, verdict)
    if prefix in offer.services:
        return Decision(Stage.SERVICE, "a service address of this node", _advert(offer, route, None, target))
    if not pool:
        return Decision(Stage.POOL, f"{prefix} is in a pool with disableBGPExport: true, and no filter's rule asks")
    if path is not None:
        text = f"learned from {path.peer}, and this node is a route reflector"
        return Decision(Stage.REFLECTED, text, _advert(offer, route, path, target))
    return Decision(Stage.BLOCK, "a block of this node", _advert(offer, route, None, target))


def _reflects(offer: Offer, path: Path, target: Target) -> bool:
    return offer.reflection is not None and offer.reflection.passes(path, target.client)


def _absent(offer: Offer, prefix: Network) -> str:
    block = next((net for net in offer.blocks if ip.contains(net, prefix)), None)
    if block is not None:
        return f"{prefix} lies in {block}, which is told as a whole: single pods are never told"
    return f"{prefix} is no block and no service address of this node, and none of its routes"


def _kept_in(path: Path, target: Target, reflected: bool) -> str:
    """Why BGP itself does not pass a path on to this peer; nothing where it does."""
    if path.peer == target.address:
        return f"{path.prefix} was learned from this peer"
    if not path.external and not target.external and not reflected:
        return f"{path.prefix} was learned inside the AS from {path.peer}: such a route goes to other ASes only"
    if NO_ADVERTISE in path.communities or (target.external and not NO_EXPORT.isdisjoint(path.communities)):
        return f"{path.prefix} is not to be passed on, its communities say: {', '.join(path.communities)}"
    return ""


def _candidate(
    offer: Offer, target: Target, prefix: Network, path: Path | None, link: str, reflected: bool
) -> Candidate:
    """What is reflected is marked by the node that it is from, and by nobody on the way."""
    own = path.communities + path.large_communities if path else ()
    marked = () if reflected else offer.marked
    marks = tuple(one for net, values in marked if ip.contains(net, prefix) for one in values)
    return Candidate(
        prefix=prefix,
        interface=link,
        learned=path is not None,
        external=target.external,
        communities=tuple(dict.fromkeys(own + marks)),
        as_path=path.as_path if path else (),
        priority=priority_of(path) if path else NORMAL_PRIORITY,
    )


def _advert(offer: Offer, route: Candidate, path: Path | None, target: Target, done: Changes = UNCHANGED) -> Advert:
    """The announcement, after a rule's operations. Where we say the path, our own AS is said, too, to other ASes."""
    as_path = (*done.prepend, *route.as_path)
    if as_path and target.external:
        as_path = (target.local_as, *as_path)
    local_pref = path.local_pref if path else None
    med = path.med if path and not target.external else None
    if done.priority is not None:
        local_pref, med = preference(done.priority), done.priority
    return Advert(
        prefix=route.prefix,
        next_hop=_next_hop(path, target),
        communities=tuple(sorted({*route.communities, *done.communities})),
        as_path=as_path,
        local_pref=None if target.external or local_pref == LOCAL_PREF else local_pref,
        med=med,
        origin=path.origin if path else "igp",
        extended=tuple(sorted(filter(_SPEAKABLE.fullmatch, path.extended_communities))) if path else (),
        **_signed(offer, path, target),
    )


def _signed(offer: Offer, path: Path | None, target: Target) -> _Signature:
    """What a reflector adds."""
    if path is None or offer.reflection is None or target.external or not _reflects(offer, path, target):
        return {}
    return {"originator_id": offer.reflection.originator(path), "cluster_list": offer.reflection.clusters(path)}


def _next_hop(path: Path | None, target: Target) -> Address | None:
    """Ours for what begins here; inside the AS, what is passed on keeps its own (RFC 4271, 5.1.3) by default."""
    if path is None or target.next_hop_mode is NextHopMode.SELF:
        return None
    keep = target.next_hop_mode is NextHopMode.KEEP or (target.keep_next_hop and target.external)
    return path.next_hop if keep or not target.external else None
