"""What ExaBGP says, line by line, as events. Pure.

Lines may hold text that a peer chose. None of it can raise here: what is not understood is `Unknown`.
Recorded output of ExaBGP 5.0.15 is in tests/unit/data/exabgp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bgpnet.bgp.rib import ORIGINS, Key, Path
from bgpnet.bgp.rib import Update as Update  # the table's, and an event here
from bgpnet.model import ip
from bgpnet.model.ip import Address, Network
from bgpnet.pieces import Pause, never, pieces

_KEPT = ("closing connection", "notification sent (4,0)", "stop, message [shutting down]", "graceful restarted")
_WELL_KNOWN = {
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283",
    "no-peer": "65535:65284",
    "blackhole": "65535:666",
}


_NO_ORIGIN, _NO_NEXT_HOP = "invalid", "no-nexthop"
"""What ExaBGP says of an origin that there is none such as, and of routes without a next hop."""

INSIDE_ONLY: Mapping[str, Any] = {"local_pref": None, "originator_id": "", "cluster_list": ()}
"""What a path from another AS has, whatever its peer says."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer's OPEN. restart_time: seconds of graceful restart it offers, None when it offers none (RFC 4724).

    restarted: it says that it was restarted. families: such as `ipv4 unicast`.
    """

    peer: Address
    asn: int
    router_id: Address
    hold_time: int
    restart_time: int | None
    restarted: bool
    families: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeerUp:
    """The session is established. `opened` is the OPEN that came with it, where it was heard."""

    peer: Address
    local: Address
    asn: int
    external: bool
    opened: Opened | None = None


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The session is over. lost: without a goodbye, so that graceful restart may keep the peer's routes."""

    peer: Address
    reason: str
    lost: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """No session came about, for this reason; told once, until there is another reason."""

    peer: Address
    reason: str


@dataclass(frozen=True, slots=True)
class EndOfRib:
    """The peer has said all that it had to say, in one family."""

    peer: Address
    family: str


@dataclass(frozen=True, slots=True)
class Notification:
    """The peer ends the session (RFC 4271, 4.5); PeerDown follows."""

    peer: Address
    code: int
    subcode: int
    message: str


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """ROUTE-REFRESH: `query` (ExaBGP answers it itself), `begin` or `end` of an answer (RFC 7313)."""

    peer: Address
    family: str
    subtype: str


@dataclass(frozen=True, slots=True)
class PeerState:
    """One neighbour as ExaBGP sees it now. What only an OPEN tells is empty while the session is not established.

    restart_time: seconds for which a graceful peer asks to be waited for; None where ExaBGP does not say.
    """

    peer: Address
    local: Address
    asn: int
    external: bool
    up: bool
    router_id: Address | None = None
    graceful: bool = False
    families: tuple[str, ...] = ()
    restart_time: int | None = None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The answer to `show neighbor json`."""

    states: tuple[PeerState, ...]


@dataclass(frozen=True, slots=True)
class Dumped:
    """One route of the answer to `show adj-rib in|out json`; the line does not say which.

    valid: it has an origin, as what is learned must have.
    """

    path: Path
    valid: bool = True


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to one command."""

    ok: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection was tried; it says nothing of success."""

    peer: Address


@dataclass(frozen=True, slots=True)
class Shutdown:
    """ExaBGP is about to end."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A line that means nothing here."""

    line: str


Event = (
    Opened
    | PeerUp
    | PeerDown
    | Update
    | EndOfRib
    | Notification
    | RefreshRequest
    | Neighbours
    | Dumped
    | Ack
    | Attempt
    | Shutdown
    | Unknown
)


def parse(line: str, pause: Pause = never) -> Event | None:
    """What a line says; None for an empty one. Never raises. pause: called between pieces of a long UPDATE."""
    line = line.strip()
    if not line:
        return None
    if line == "done":
        return Ack(True)
    if line == "error":
        return Ack(False)
    try:
        said = msgspec.json.decode(line)
        if isinstance(said, list):
            return Neighbours(tuple(map(_peer_state, said)))
        if "route" in said:
            return Dumped(_dumped(said), "origin" in said["route"]["attributes"])
        if said["type"] == "update":
            return _update(said, pause) or Unknown(line)
        return _TYPES[said["type"]](said) or Unknown(line)
    except (msgspec.DecodeError, KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return Unknown(line)


def _peer(said: Any) -> Address:
    return _address(said["neighbor"]["address"]["peer"])


def _external(neighbour: Any) -> bool:
    return _number(neighbour["asn"]["local"]) != _number(neighbour["asn"]["peer"])


def _address(said: Any) -> Address:
    """Of text only: numbers are addresses, too, for ipaddress. Raises TypeError or ValueError, as those below."""
    return ip.address(_text(said))


def _network(said: str) -> Network:
    if "/" not in said:
        raise ValueError(said)
    return ip.network(said)


def _text(said: Any) -> str:
    if type(said) is not str:
        raise TypeError(said)
    return said


def _number(said: Any, limit: int = 1 << 32) -> int:
    """Of numbers only: int() takes text, fractions and truths for some."""
    if type(said) is not int:
        raise TypeError(said)
    if not 0 <= said < limit:
        raise ValueError(said)
    return said


def _list(said: Any) -> list[Any]:
    if type(said) is not list:
        raise TypeError(said)
    return said


def _state(said: Any) -> Event | None:
    neighbour = said["neighbor"]
    if neighbour["state"] == "up":
        local = _address(neighbour["address"]["local"])
        return PeerUp(_peer(said), local, _number(neighbour["asn"]["peer"]), _external(neighbour))
    if neighbour["state"] == "down":
        reason = _text(neighbour["reason"])
        return PeerDown(_peer(said), reason, reason.startswith(_KEPT))
    return Attempt(_peer(said)) if neighbour["state"] == "connected" else None


def _open(said: Any) -> Event | None:
    if said["neighbor"]["direction"] != "receive":
        return None
    opened = said["neighbor"]["open"]
    capabilities = opened["capabilities"]
    graceful = capabilities.get("64")
    families = capabilities.get("1", {}).get("families", ["ipv4/unicast"])
    return Opened(
        peer=_peer(said),
        asn=_number(opened["asn"]),
        router_id=_address(opened["router_id"]),
        hold_time=_number(opened["hold_time"]),
        restart_time=_number(graceful["time"]) if graceful else None,
        restarted=bool(graceful and graceful["restart-flags"]),
        families=tuple(str(family).replace("/", " ") for family in families),
    )


def _update(said: Any, pause: Pause) -> Event | None:
    if said["neighbor"]["direction"] != "receive":
        return None
    message = said["neighbor"]["message"]
    if "eor" in message:
        return EndOfRib(_peer(said), f"{_text(message['eor']['afi'])} {_text(message['eor']['safi'])}")
    update = message["update"]
    peer = _peer(said)
    told = update.get("attribute", {})
    valid = told.get("origin", _NO_ORIGIN) != _NO_ORIGIN
    attributes = _attributes(told if valid else {**told, "origin": "igp"}, _external(said["neighbor"]))
    withdrawn = [_nlri(one) for routes in update.get("withdraw", {}).values() for one in pieces(_list(routes), pause)]
    announced: list[Path] = []
    for next_hops in update.get("announce", {}).values():
        for next_hop, routes in next_hops.items():
            keys = map(_nlri, pieces(_list(routes), pause))
            if not valid or next_hop == _NO_NEXT_HOP:  # to be treated as withdrawn (RFC 7606, 3 d and 7.1)
                withdrawn += keys
                continue
            hop = ip.address(next_hop)
            announced += [
                Path(prefix=net, path_id=number, next_hop=hop, peer=peer, **attributes) for net, number in keys
            ]
    return Update(peer, tuple(announced), tuple(withdrawn))


def _nlri(route: Any) -> Key:
    if isinstance(route, str):
        return _network(route), 0
    identifier = route.get("path-information")
    return _network(_text(route["nlri"])), 0 if identifier in (None, "") else int(_address(identifier))


def _attributes(said: Any, external: bool) -> dict[str, Any]:
    """Path's attributes, from either spelling: UPDATEs have communities as numbers, dumps as text.

    From another AS some mean nothing, and would otherwise be a way to be preferred to all of our own (RFC 4271, 5.1.5;
    RFC 7606, 7.5, 7.9 and 7.10).
    """
    found: dict[str, Any] = {
        "origin": _origin(said.get("origin", "igp")),
        "as_path": _as_path(said.get("as-path", {})),
        "local_pref": _optional(said.get("local-preference")),
        "med": _optional(said.get("med")),
        "communities": tuple([_community(one, 2) for one in _list(said.get("community", []))]),
        "large_communities": tuple([_community(one, 3) for one in _list(said.get("large-community", []))]),
        "extended_communities": tuple(
            [_text(one["string"] if isinstance(one, Mapping) else one) for one in said.get("extended-community", ())]
        ),
        "originator_id": str(_address(said["originator-id"])) if "originator-id" in said else "",
        "cluster_list": tuple([str(_address(one)) for one in _list(said.get("cluster-list", []))]),
        "external": external,
    }
    return {**found, **INSIDE_ONLY} if external else found


def _origin(said: Any) -> str:
    if said not in ORIGINS:
        raise ValueError(said)
    return _text(said)


def _optional(said: Any) -> int | None:
    return None if said is None else _number(said)


def _community(said: Any, parts: int) -> str:
    if type(said) is str:
        if said in _WELL_KNOWN:
            return _WELL_KNOWN[said]
        numbers = [_digits(part) for part in said.split(":")]
    else:
        numbers = _list(said)
    if len(numbers) != parts:
        raise ValueError(said)
    limit = 1 << (16 if parts == 2 else 32)
    return ":".join([str(_number(part, limit)) for part in numbers])


def _digits(said: str) -> int:
    """int() takes blanks, signs, underscores, and the digits of every script."""
    if not (said.isascii() and said.isdigit()):
        raise ValueError(said)
    return int(said)


def _as_path(said: Any) -> tuple[int | tuple[int, ...], ...]:
    path: list[int | tuple[int, ...]] = []
    if type(said) is not dict:
        raise TypeError(said)
    for number in sorted(said, key=_digits):
        segment = said[number]
        numbers = [_number(one) for one in _list(segment["value"])]
        if segment["element"] == "as-sequence":
            path.extend(numbers)
        elif segment["element"] == "as-set":
            path.append(tuple(numbers))
        else:
            raise ValueError(segment["element"])
    return tuple(path)  # ExaBGP calls the segments of a confederation (RFC 5065) sequences, too


def _notification(said: Any) -> Event | None:
    if said.get("notification") == "shutdown":
        return Shutdown()
    if said["neighbor"]["direction"] != "receive":
        return None
    told = said["neighbor"]["notification"]
    return Notification(_peer(said), _number(told["code"]), _number(told["subcode"]), _text(told["message"]))


def _refresh(said: Any) -> Event | None:
    told = said["neighbor"]["route-refresh"]
    return RefreshRequest(_peer(said), f"{told['afi']} {told['safi']}", str(told["subtype"]))


_TYPES = {"state": _state, "open": _open, "notification": _notification, "refresh": _refresh}


def _peer_state(said: Any) -> PeerState:
    local, peer = said["local"], said["peer"]
    restart = peer["capabilities"]["graceful-restart"]  # true or false, but by our launcher a number
    return PeerState(
        peer=_address(peer["address"]),
        local=_address(local["address"]),
        asn=_number(peer["as"]),
        external=_number(local["as"]) != _number(peer["as"]),
        up=said["fsm"] == "ESTABLISHED",  # "state" says down for the first second
        router_id=_address(peer["id"]) if peer["id"] else None,
        graceful=bool(restart),
        families=tuple(map(str, said["families"])),
        restart_time=int(restart) if restart and restart is not True else None,
    )


def _dumped(said: Any) -> Path:
    nlri = said["route"]["nlri"]
    return Path(
        prefix=_network(_text(nlri["prefix"])),
        next_hop=_address(nlri["nexthop"]),
        peer=_address(said["peer"]["address"]),
        **_attributes(said["route"]["attributes"], external=False),
    )
