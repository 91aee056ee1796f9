"""Lines that ExaBGP could say, made from a meaning that is known; and how they are spoilt."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Peer:
    """A neighbour."""

    address: str
    asn: int


PEERS = [Peer("192.0.2.2", 64512), Peer("192.0.2.3", 65001), Peer("2001:db8::3", 64512), Peer("192.0.2.4", 4200000000)]
NEXT_HOPS = ["192.0.2.2", "192.0.2.3", "192.0.2.77", "2001:db8::9"]
LOCAL = 64512
WORDS = ["closing connection", "notification sent (4,0)", "stop, message [removed]", "", "graceful restarted", "\u2028"]
ODD = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e999,
    2**40,
    "",
    "x",
    [],
    {},
    [[]],
    {"a": 1},
    "0",
    "1",
    "\u0661",
    "192.0.2.1",
    [1],
    "1/0",
]


def envelope(peer: Peer, kind: str, more: dict[str, Any]) -> dict[str, Any]:
    """What is around every message."""
    neighbour = {
        "address": {"local": "192.0.2.1", "peer": peer.address},
        "asn": {"local": LOCAL, "peer": peer.asn},
        "router-id": "192.0.2.1",
    }
    return {"exabgp": "5.0.0", "time": 1.5, "type": kind, "neighbor": {**neighbour, **more}}


def prefix(dice: random.Random) -> str:
    """One of a few, so that the same ones come again."""
    number = dice.randrange(40)
    return f"10.244.{number}.0/{dice.choice((24, 26, 32))}" if number < 34 else f"2001:db8:{number}::/48"


def attributes(dice: random.Random) -> dict[str, Any]:
    """As an UPDATE has them."""
    found: dict[str, Any] = {"origin": dice.choice(("igp", "egp", "incomplete"))}
    if dice.random() < 0.5:
        kinds = ("as-sequence", "as-sequence", "as-set")
        found["as-path"] = {
            str(at): {
                "element": dice.choice(kinds),
                "value": [dice.randrange(1 << 32) for _ in range(dice.randrange(4))],
            }
            for at in range(dice.randrange(3))
        }
    for name in ("med", "local-preference"):
        if dice.random() < 0.4:
            found[name] = dice.randrange(1 << 32)
    if dice.random() < 0.3:
        found["community"] = [[dice.randrange(1 << 16), dice.randrange(1 << 16)] for _ in range(dice.randrange(4))]
    if dice.random() < 0.2:
        found["large-community"] = [[dice.randrange(1 << 32) for _ in range(3)]]
        found["originator-id"] = dice.choice(NEXT_HOPS[:3])
        found["cluster-list"] = dice.sample(NEXT_HOPS[:3], dice.randrange(1, 3))
    return found


def nlri(dice: random.Random, identified: bool) -> Any:
    """Compact, or with the identifier of ADD-PATH."""
    return {"nlri": prefix(dice), "path-information": f"0.0.0.{dice.randrange(4)}"} if identified else prefix(dice)


def update(dice: random.Random, peer: Peer) -> dict[str, Any]:
    """An UPDATE, or the End-of-RIB that is one."""
    if dice.random() < 0.08:
        message: dict[str, Any] = {"eor": {"afi": "ipv4", "safi": "unicast"}}
    else:
        inner: dict[str, Any] = {"attribute": attributes(dice)}
        identified = dice.random() < 0.2
        if dice.random() < 0.85:
            hops = dice.sample(NEXT_HOPS, dice.randrange(1, 3))
            routes = {hop: [nlri(dice, identified) for _ in range(dice.randrange(1, 6))] for hop in hops}
            inner["announce"] = {"ipv4 unicast": routes}
        if dice.random() < 0.35:
            inner["withdraw"] = {"ipv4 unicast": [nlri(dice, identified) for _ in range(dice.randrange(1, 4))]}
        message = {"update": inner}
    return envelope(peer, "update", {"direction": "receive", "message": message})


def state(dice: random.Random, peer: Peer) -> dict[str, Any]:
    """Up, down or an attempt."""
    said: dict[str, Any] = {"state": dice.choice(("up", "down", "connected"))}
    if said["state"] == "down":
        said["reason"] = dice.choice(WORDS)
    return envelope(peer, "state", said)


def opened(dice: random.Random, peer: Peer) -> dict[str, Any]:
    """An OPEN."""
    capabilities = {
        "1": {"name": "multiprotocol", "families": ["ipv4/unicast"]},
        "64": {"name": "graceful restart", "time": dice.randrange(4096), "restart-flags": ["forwarding"]},
    }
    body = {"version": 4, "asn": peer.asn, "hold_time": 30, "router_id": "192.0.2.9", "capabilities": capabilities}
    return envelope(peer, "open", {"direction": "receive", "open": body})


def notification(dice: random.Random, peer: Peer) -> dict[str, Any]:
    """A NOTIFICATION, with what the peer likes to say."""
    text = "".join(chr(dice.randrange(1, 0x250)) for _ in range(dice.randrange(12)))
    body = {"code": dice.randrange(8), "subcode": dice.randrange(12), "data": "0x", "message": text}
    return envelope(peer, "notification", {"direction": "receive", "notification": body})


def dumped(dice: random.Random, peer: Peer) -> dict[str, Any]:
    """A line of `show adj-rib`."""
    hop = dice.choice(NEXT_HOPS)
    inner = {"prefix": prefix(dice), "nexthop": hop, "family": {"afi": "ipv4", "safi": "unicast"}}
    found = attributes(dice)
    for name in ("community", "large-community"):
        if name in found:
            found[name] = [":".join(map(str, one)) for one in found[name]]
    if dice.random() < 0.1:
        found["community"] = ["no-export", "64512:1"]
    return {"peer": {"address": peer.address}, "route": {"nlri": inner, "attributes": found}}


MAKERS: list[tuple[Callable[[random.Random, Peer], dict[str, Any]], int]] = [
    (update, 70), (state, 12), (dumped, 10), (opened, 4), (notification, 4),
]  # fmt: skip


# spoiling


def spoilt(dice: random.Random, said: Any, text: str) -> str:
    """The line, wrong in some way; by chance it may mean something all the same."""
    if dice.random() < 0.6:
        for _ in range(dice.choice((1, 1, 1, 2, 4))):
            _change_tree(dice, said)
        return json.dumps(said, ensure_ascii=dice.random() < 0.5)
    at, to = sorted((dice.randrange(len(text) + 1), dice.randrange(len(text) + 1)))
    match dice.randrange(5):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + text[min(to, at + 3) :]
        case 2:
            return text[:at] + dice.choice('{}[]",:0129.eE-\\/ \t\x00\ud800é') + text[at:]
        case 3:
            return text[:at] + chr(ord(text[at : at + 1] or " ") ^ (1 << dice.randrange(7))) + text[at + 1 :]
        case _:
            return text[:to] + text[at:]


def _change_tree(dice: random.Random, said: Any) -> None:
    """Some value in it becomes another, goes, or comes twice."""
    places = list(_places(said))
    if not places:
        return
    place, key = dice.choice(places)
    match dice.randrange(6):
        case 0:
            del place[key]
        case 1 if isinstance(place, dict):
            place[str(dice.choice(ODD))] = place.pop(key)
        case 2 if isinstance(place, list):
            place.insert(key, deepcopy(dice.choice(place)))
        case 3 if isinstance(place[key], int) and not isinstance(place[key], bool):
            place[key] += dice.choice((-1, 1, 1 << 32, -(1 << 33)))
        case 4 if isinstance(place[key], str) and place[key]:
            where = dice.randrange(len(place[key]))
            place[key] = place[key][:where] + dice.choice("0159./:-x \u0661") + place[key][where + 1 :]
        case _:
            place[key] = deepcopy(dice.choice(ODD))


def _places(said: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(said, dict):
        for key in list(said):
            yield said, key
            yield from _places(said[key])
    elif isinstance(said, list):
        for at in range(len(said)):
            yield said, at
            yield from _places(said[at])
