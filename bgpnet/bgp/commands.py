"""What we tell ExaBGP, as lines of text. Pure.

Each command is answered by one line, `done` or `error`, in order; but `reload` and an `announce eor` that nobody can
be told are answered at once, before commands that were given earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

from bgpnet.bgp.export import Advert
from bgpnet.model.ip import Address, Network

NLRI_PER_LINE = 1000
"""Prefixes in one command (reference/exabgp.md 4: more gains nothing)."""

NEIGHBOURS_PER_LINE = 100

SHOW_NEIGHBOURS = "show neighbor json"
SHOW_LEARNED = "show adj-rib in json"
SHOW_TOLD = "show adj-rib out json"
RELOAD = "reload"


def announce(peers: Sequence[Address], prefixes: Iterable[Network], like: Advert) -> list[str]:
    """The commands that announce these prefixes to these peers, with the attributes of `like`, whatever its prefix."""
    return _bulk("announce", peers, " ".join(_attributes(like)), prefixes)


def _attributes(like: Advert) -> Iterator[str]:
    """What is left out, ExaBGP adds by itself: LOCAL_PREF 100 inside the AS, and the path that begins here."""
    yield f"next-hop {like.next_hop or 'self'}"
    if like.origin != "igp":
        yield f"origin {like.origin}"
    if like.as_path:
        yield f"as-path {_as_path(like.as_path)}"
    if like.local_pref is not None:
        yield f"local-preference {like.local_pref}"
    if like.med is not None:
        yield f"med {like.med}"
    if plain := [one for one in like.communities if one.count(":") == 1]:
        yield f"community [ {' '.join(plain)} ]"
    if large := [one for one in like.communities if one.count(":") == 2]:
        yield f"large-community [ {' '.join(large)} ]"
    if like.extended:
        yield f"extended-community [ {' '.join(like.extended)} ]"
    if like.originator_id:
        yield f"originator-id {like.originator_id}"
    if like.cluster_list:
        yield f"cluster-list [ {' '.join(like.cluster_list)} ]"


def _as_path(path: Sequence[int | tuple[int, ...]]) -> str:
    """Sequences in brackets, sets in parentheses, in order: `[ 1 2 ] ( 3 4 ) [ 5 ]`."""
    parts = []
    for is_set, numbers in groupby(path, lambda one: isinstance(one, tuple)):
        if is_set:
            parts += [f"( {' '.join(map(str, one))} )" for one in numbers if isinstance(one, tuple)]
        else:
            parts.append(f"[ {' '.join(map(str, numbers))} ]")
    return " ".join(parts)


def withdraw(peers: Sequence[Address], prefixes: Iterable[Network]) -> list[str]:
    """The commands that withdraw these prefixes from these peers."""
    return _bulk("withdraw", peers, "next-hop self", prefixes)


def end_of_rib(peers: Sequence[Address], family: str) -> list[str]:
    """The commands that tell these peers that this family's table has ended. Those not established hear nothing."""
    return [f"{chosen} announce eor {family}" for chosen in _selectors(peers)]


def _bulk(verb: str, peers: Sequence[Address], attributes: str, prefixes: Iterable[Network]) -> list[str]:
    rest = iter(prefixes)
    commands = []
    while some := list(islice(rest, NLRI_PER_LINE)):
        told = f"{verb} attributes {attributes} nlri {' '.join(map(str, some))}"
        commands += [f"{chosen} {told}" for chosen in _selectors(peers)]
    return commands


def _selectors(peers: Sequence[Address]) -> list[str]:
    return [
        " , ".join(f"neighbor {peer}" for peer in peers[start : start + NEIGHBOURS_PER_LINE])
        for start in range(0, len(peers), NEIGHBOURS_PER_LINE)
    ]
