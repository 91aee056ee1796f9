"""What we tell ExaBGP, as lines of text. Pure.

Each command is answered by one line, `done` or `error`, in order; but `reload` and an `announce eor` that nobody can
be told are answered at once, before commands that were given earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from bgpnet.model.ip import Address, Network

NLRI_PER_LINE = 1000
"""Prefixes in one command (reference/exabgp.md 4: more gains nothing)."""

NEIGHBOURS_PER_LINE = 100

SHOW_NEIGHBOURS = "show neighbor json"
SHOW_LEARNED = "show adj-rib in json"
SHOW_TOLD = "show adj-rib out json"
RELOAD = "reload"


def announce(
    peers: Sequence[Address], prefixes: Iterable[Network], next_hop: Address | None, communities: Sequence[str] = ()
) -> list[str]:
    """The commands that announce these prefixes to these peers; no next hop means our own address."""
    attributes = f"next-hop {next_hop or 'self'}"
    plain = [one for one in communities if one.count(":") == 1]
    large = [one for one in communities if one.count(":") == 2]
    if plain:
        attributes += f" community [ {' '.join(plain)} ]"
    if large:
        attributes += f" large-community [ {' '.join(large)} ]"
    return _bulk("announce", peers, attributes, prefixes)


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
