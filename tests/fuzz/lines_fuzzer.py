"""Fuzz what reads ExaBGP's lines: `python tests/fuzz/lines_fuzzer.py [inputs] [seed]`; `make fuzz` reads a million.

Each input is a line that ExaBGP could say, made from a meaning that is known, and mostly spoilt afterwards: in its
bytes, or in its JSON. A line as it was made must be read as it was meant. A spoilt one must be refused, or mean what
another reading of it says, which knows nothing of bgpnet.bgp.lines: strict, by json and ipaddress alone. What is read
goes into a Table and, by the other reading, into a dictionary; the two must stay the same. And lines pass the relay in
pieces of any size, with agents that come and go, whole and in order.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path as File
from time import monotonic
from typing import Any

from bgpnet.bgp import lines
from bgpnet.bgp.lines import Dumped, EndOfRib, PeerDown, PeerUp, Unknown, Update
from bgpnet.bgp.relay import Relay
from bgpnet.bgp.rib import Path, Table

MILLION = 1_000_000
SESSION = 60
"""Lines that go into one table."""

Key = tuple[str, str, int]
"""Peer, prefix, path identifier."""
Route = tuple[Any, ...]
"""Next hop and attributes of a path, by plain values."""


class Wrong(ValueError):
    """The other reading does not understand."""


# meanings, and how ExaBGP says them


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


# the other reading


def reading(text: str) -> tuple[Any, ...] | None:
    """What the line means, strictly; None: nothing that concerns routes. Raises Wrong where it means nothing at all."""
    try:
        said = json.loads(text, parse_constant=_no)
    except (ValueError, RecursionError) as problem:
        raise Wrong from problem
    if isinstance(said, list):
        return None
    if "route" in _mapping(said):
        return _read_dump(said)
    match said.get("type"):
        case "update":
            return _read_update(said)
        case "state":
            return _read_state(said)
        case _:
            return None


def _no(constant: str) -> None:
    raise Wrong(constant)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong(value)
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Wrong(value)
    return value


def _have(value: Any, *keys: str) -> Any:
    for key in keys:
        value = _mapping(value)
        if key not in value:
            raise Wrong(key)
        value = value[key]
    return value


def _number(value: Any, limit: int = 1 << 32) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise Wrong(value)
    return value


def _address(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(value)
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as problem:
        raise Wrong from problem


def _network(value: Any) -> str:
    if not isinstance(value, str) or "/" not in value:
        raise Wrong(value)
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as problem:
        raise Wrong from problem


def _neighbour(said: Any) -> tuple[str, bool]:
    inner = _have(said, "neighbor")
    ours, theirs = _number(_have(inner, "asn", "local")), _number(_have(inner, "asn", "peer"))
    return _address(_have(inner, "address", "peer")), ours != theirs


def _read_state(said: Any) -> tuple[Any, ...] | None:
    kind = _have(said, "neighbor", "state")
    if kind == "up":
        _address(_have(said, "neighbor", "address", "local"))
        return ("up", _neighbour(said)[0])
    if kind == "down":
        if not isinstance(_have(said, "neighbor", "reason"), str):
            raise Wrong("reason")
        return ("down", _address(_have(said, "neighbor", "address", "peer")))
    return None


def _read_update(said: Any) -> tuple[Any, ...] | None:
    if _have(said, "neighbor", "direction") != "receive":
        return None
    message = _mapping(_have(said, "neighbor", "message"))
    peer = _address(_have(said, "neighbor", "address", "peer"))
    if "eor" in message:
        for word in ("afi", "safi"):
            if not isinstance(_have(message, "eor", word), str):
                raise Wrong(word)
        return ("end", peer)
    inner = _mapping(_have(message, "update"))
    plain = (*_read_attributes(inner.get("attribute", {})), _neighbour(said)[1])
    put: list[tuple[Key, Route]] = []
    for family in _mapping(inner.get("announce", {})).values():
        for hop, routes in _mapping(family).items():
            put += [((peer, *_nlri(route)), (_address(hop), *plain)) for route in _listed(routes)]
    gone = [
        (peer, *_nlri(route)) for family in _mapping(inner.get("withdraw", {})).values() for route in _listed(family)
    ]
    return ("update", put, gone)


def _nlri(route: Any) -> tuple[str, int]:
    if isinstance(route, str):
        return _network(route), 0
    identifier = _mapping(route).get("path-information")
    number = 0 if identifier is None or identifier == "" else int(ipaddress.ip_address(_address(identifier)))
    return _network(_have(route, "nlri")), number


def _read_attributes(said: Any) -> Route:
    found = _mapping(said)
    origin = found.get("origin", "igp")
    if origin not in ("igp", "egp", "incomplete"):
        raise Wrong(origin)
    numbers = [None if found.get(name) is None else _number(found[name]) for name in ("local-preference", "med")]
    return (
        origin,
        _read_path(found.get("as-path", {})),
        *numbers,
        tuple(_community(one, 2) for one in _listed(found.get("community", []))),
        tuple(_community(one, 3) for one in _listed(found.get("large-community", []))),
        _address(found["originator-id"]) if "originator-id" in found else "",
        tuple(_address(one) for one in _listed(found.get("cluster-list", []))),
    )


WELL_KNOWN = {
    "no-export": [65535, 65281], "no-advertise": [65535, 65282], "no-export-subconfed": [65535, 65283],
    "no-peer": [65535, 65284], "blackhole": [65535, 666],
}  # fmt: skip


def _community(said: Any, parts: int) -> str:
    if isinstance(said, str):
        said = WELL_KNOWN[said] if said in WELL_KNOWN else [_digits(part) for part in said.split(":")]
    if len(_listed(said)) != parts:
        raise Wrong(said)
    return ":".join(str(_number(part, 1 << (16 if parts == 2 else 32))) for part in said)


def _read_path(said: Any) -> tuple[Any, ...]:
    found: list[Any] = []
    for number in sorted(_mapping(said), key=_digits):
        numbers = tuple(_number(one) for one in _listed(_have(said[number], "value")))
        match _have(said[number], "element"):
            case "as-sequence":
                found += numbers
            case "as-set":
                found.append(numbers)
            case other:
                raise Wrong(other)
    return tuple(found)


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Wrong(text)
    return int(text)


def _read_dump(said: Any) -> tuple[Any, ...]:
    peer = _address(_have(said, "peer", "address"))
    inner = _have(said, "route", "nlri")
    hop = _address(_have(inner, "nexthop"))
    plain = _read_attributes(_have(said, "route", "attributes"))
    return ("dumped", (peer, _network(_have(inner, "prefix")), 0), (hop, *plain, False))


# comparing


def plain(path: Path) -> Route:
    """A path by plain values, as the other reading has it."""
    return (
        str(path.next_hop), path.origin, path.as_path, path.local_pref, path.med, path.communities,
        path.large_communities, path.originator_id, path.cluster_list, path.external,
    )  # fmt: skip


def meaning(event: object) -> tuple[Any, ...] | None:
    """What an event says of routes, in the other reading's words."""
    match event:
        case Update():
            put = [((str(event.peer), str(one.prefix), one.path_id), plain(one)) for one in event.announced]
            gone = [(str(event.peer), str(net), number) for net, number in event.withdrawn]
            return ("update", put, gone)
        case EndOfRib():
            return ("end", str(event.peer))
        case PeerUp():
            return ("up", str(event.peer))
        case PeerDown():
            return ("down", str(event.peer))
        case Dumped():
            path = event.path
            return ("dumped", (str(path.peer), str(path.prefix), path.path_id), plain(path))
        case _:
            return None


@dataclass
class Report:
    """What came of it; wrong: lines that were misread, with both readings. parse: what is under test."""

    parse: Callable[[str], object] = lines.parse
    inputs: int = 0
    refused: int = 0
    spoilt: int = 0
    relayed: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, text: str, whole: bool) -> object:
        """Read one line in both ways; the event, or None where nothing may follow from it."""
        self.inputs += 1
        self.spoilt += not whole
        event = self.parse(text)
        try:
            wanted = reading(text)
        except Wrong:
            wanted = ("nothing",)
        found = meaning(event)
        if isinstance(event, Unknown):
            self.refused += 1
            if whole:
                self.wrong.append(f"a good line is refused: {text}")
            return None
        if found != wanted and not (found is None and wanted == ("nothing",)):
            self.wrong.append(f"{text}\n  is read as {found}\n  and means   {wanted}")
        return event


def _follow(table: Table, model: dict[Key, Route], event: object) -> Table:
    """The same to both."""
    said = meaning(event)
    if said is None:
        return table
    match event:
        case Update():
            for key in said[2]:
                model.pop(key, None)
            model.update(said[1])
            return table.apply(event)
        case PeerUp() | PeerDown():
            for key in [key for key in model if key[0] == said[1]]:
                del model[key]
            return table.drop(event.peer)
        case _:
            return table


def sessions(inputs: int, dice: random.Random, report: Report) -> None:
    """So many lines; a new table now and then."""
    makers, weights = zip(*MAKERS, strict=True)
    kept: list[str] = []
    while report.inputs < inputs:
        table, model = Table(), {}
        kept.clear()
        for _ in range(SESSION):
            said = dice.choices(makers, weights)[0](dice, dice.choice(PEERS))
            text = json.dumps(said)
            whole = dice.random() < 0.3
            text = text if whole else spoilt(dice, said, text)
            kept.append(text)
            table = _follow(table, model, report.check(text, whole))
        have = {(str(one.peer), str(one.prefix), one.path_id): plain(one) for one in table.paths()}
        if have != model:
            report.wrong.append(f"the table differs: {set(have.items()) ^ set(model.items())}")
        if report.inputs % (SESSION * 50) == 0:
            relayed(kept, dice, report)


# the relay


def relayed(said: list[str], dice: random.Random, report: Report) -> None:
    """The lines pass in pieces; every agent hears whole lines only, in order, and no answer to another's command."""
    whole = [one.replace("\n", " ").encode("utf-8", "replace") for one in said if one.strip()]
    source, feed = os.pipe()
    taken, sink = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        place = str(File(folder) / "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(place)
            listener.listen(4)
            relay = Relay(source, sink, listener)
            heard = _pumped(relay, feed, place, whole, dice)
            relay._part()
    for descriptor in (source, feed, taken, sink):
        os.close(descriptor)
    report.relayed += len(whole)
    if heard != b"".join(line + b"\n" for line in whole):
        report.wrong.append(f"the relay changed lines: {heard[:2000]!r}")


def _pumped(relay: Relay, feed: int, place: str, whole: list[bytes], dice: random.Random) -> bytes:
    """What agents hear, one after another; each comes between two lines, as the former one goes."""
    heard = b""
    agent = _agent(relay, place)
    for line in whole:
        rest = line + b"\n"
        while rest:
            piece, rest = rest[: (size := dice.randrange(1, len(rest) + 1))], rest[size:]
            os.write(feed, piece)
            relay._turn()
            heard += _there(agent)
        if dice.random() < 0.05:
            agent.close()
            agent = _agent(relay, place)
    agent.close()
    return heard


def _agent(relay: Relay, place: str) -> socket.socket:
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    agent.connect(place)
    former = relay.agent
    while relay.agent is former:
        relay._turn()
    agent.setblocking(False)
    return agent


def _there(agent: socket.socket) -> bytes:
    found = b""
    try:
        while more := agent.recv(1 << 16):
            found += more
    except BlockingIOError:
        pass
    return found


def run(inputs: int, seed: int, parse: Callable[[str], object] = lines.parse) -> Report:
    """Fuzz with so many lines; what raises leaves as it is, with the seed in the caller's hands."""
    report = Report(parse)
    sessions(inputs, random.Random(seed), report)  # noqa: S311 - it has to be repeated by its seed
    return report


def main(arguments: list[str]) -> int:
    """Say what was found; 1 where something was."""
    inputs = int(arguments[0]) if arguments else MILLION
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    began = monotonic()
    report = run(inputs, seed)
    for one in report.wrong[:20]:
        print(one)
    print(
        f"{report.inputs} lines ({report.spoilt} spoilt, {report.refused} refused, {report.relayed} through the relay) "
        f"in {monotonic() - began:.0f} s: {len(report.wrong)} misread"
    )
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
