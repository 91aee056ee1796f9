"""What ExaBGP says, line by line, as events. Pure.

Lines may hold text that a peer chose. None of it can raise here: what is not understood is `Unknown`.
Recorded output of ExaBGP 5.0.15 is in tests/unit/data/exabgp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bgpnet.bgp.rib import Key, Path
from bgpnet.bgp.rib import Update as Update  # the table's, and an event here
from bgpnet.model import ip
from bgpnet.model.ip import Address

_KEPT = ("closing connection", "notification sent (4,0)", "stop, message [shutting down]", "graceful restarted")
_WELL_KNOWN = {
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283",
    "no-peer": "65535:65284",
    "blackhole": "65535:666",
}


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
    """One route of the answer to `show adj-rib in|out json`; the line does not say which."""

    path: Path


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


def parse(line: str) -> Event | None:
    """What a line says; None for an empty one. Never raises."""
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
            return Dumped(_dumped(said))
        return _TYPES[said["type"]](said) or Unknown(line)
    except (msgspec.DecodeError, KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return Unknown(line)


def _peer(said: Any) -> Address:
    return ip.address(said["neighbor"]["address"]["peer"])


def _external(neighbour: Any) -> bool:
    return bool(neighbour["asn"]["local"] != neighbour["asn"]["peer"])


def _state(said: Any) -> Event | None:
    neighbour = said["neighbor"]
    if neighbour["state"] == "up":
        local = ip.address(neighbour["address"]["local"])
        return PeerUp(_peer(said), local, int(neighbour["asn"]["peer"]), _external(neighbour))
    if neighbour["state"] == "down":
        reason = str(neighbour["reason"])
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
        asn=int(opened["asn"]),
        router_id=ip.address(opened["router_id"]),
        hold_time=int(opened["hold_time"]),
        restart_time=int(graceful["time"]) if graceful else None,
        restarted=bool(graceful and graceful["restart-flags"]),
        families=tuple(str(family).replace("/", " ") for family in families),
    )


def _update(said: Any) -> Event | None:
    if said["neighbor"]["direction"] != "receive":
        return None
    message = said["neighbor"]["message"]
    if "eor" in message:
        return EndOfRib(_peer(said), f"{message['eor']['afi']} {message['eor']['safi']}")
    update = message["update"]
    peer = _peer(said)
    attributes = _attributes(update.get("attribute", {}), _external(said["neighbor"]))
    announced = tuple(
        Path(prefix=prefix, path_id=path_id, next_hop=ip.address(next_hop), peer=peer, **attributes)
        for next_hops in update.get("announce", {}).values()
        for next_hop, routes in next_hops.items()
        for prefix, path_id in map(_nlri, routes)
    )
    withdrawn = tuple(_nlri(route) for routes in update.get("withdraw", {}).values() for route in routes)
    return Update(peer, announced, withdrawn)


def _nlri(route: Any) -> Key:
    if isinstance(route, str):
        return ip.network(route), 0
    identifier = route.get("path-information")
    return ip.network(route["nlri"]), int(ip.address(identifier)) if identifier else 0


def _attributes(said: Any, external: bool) -> dict[str, Any]:
    """Path's attributes, from either spelling: UPDATEs have communities as numbers, dumps as text."""
    return {
        "origin": str(said.get("origin", "igp")),
        "as_path": _as_path(said.get("as-path", {})),
        "local_pref": _number(said.get("local-preference")),
        "med": _number(said.get("med")),
        "communities": tuple(map(_community, said.get("community", ()))),
        "large_communities": tuple(map(_community, said.get("large-community", ()))),
        "extended_communities": tuple(
            str(one["string"]) if isinstance(one, Mapping) else str(one) for one in said.get("extended-community", ())
        ),
        "originator_id": str(ip.address(said["originator-id"])) if "originator-id" in said else "",
        "cluster_list": tuple(map(str, said.get("cluster-list", ()))),
        "external": external,
    }


def _number(said: Any) -> int | None:
    return None if said is None else int(said)


def _community(said: Any) -> str:
    if isinstance(said, str):
        return _WELL_KNOWN.get(said, said)
    return ":".join(str(int(part)) for part in said)


def _as_path(said: Any) -> tuple[int | tuple[int, ...], ...]:
    path: list[int | tuple[int, ...]] = []
    for number in sorted(said, key=int):
        segment = said[number]
        numbers = tuple(map(int, segment["value"]))
        if segment["element"] == "as-sequence":
            path.extend(numbers)
        elif segment["element"] == "as-set":
            path.append(numbers)
    return tuple(path)  # confederation segments count nothing (RFC 5065, 5.3)


def _notification(said: Any) -> Event | None:
    if said.get("notification") == "shutdown":
        return Shutdown()
    if said["neighbor"]["direction"] != "receive":
        return None
    told = said["neighbor"]["notification"]
    return Notification(_peer(said), int(told["code"]), int(told["subcode"]), str(told["message"]))


def _refresh(said: Any) -> Event | None:
    told = said["neighbor"]["route-refresh"]
    return RefreshRequest(_peer(said), f"{told['afi']} {told['safi']}", str(told["subtype"]))


_TYPES = {"state": _state, "open": _open, "update": _update, "notification": _notification, "refresh": _refresh}


def _peer_state(said: Any) -> PeerState:
    local, peer = said["local"], said["peer"]
    restart = peer["capabilities"]["graceful-restart"]  # true or false, but by our launcher a number
    return PeerState(
        peer=ip.address(peer["address"]),
        local=ip.address(local["address"]),
        asn=int(peer["as"]),
        external=bool(local["as"] != peer["as"]),
        up=said["fsm"] == "ESTABLISHED",  # "state" says down for the first second
        router_id=ip.address(peer["id"]) if peer["id"] else None,
        graceful=bool(restart),
        families=tuple(map(str, said["families"])),
        restart_time=int(restart) if restart and restart is not True else None,
    )


def _dumped(said: Any) -> Path:
    nlri = said["route"]["nlri"]
    return Path(
        prefix=ip.network(nlri["prefix"]),
        next_hop=ip.address(nlri["nexthop"]),
        peer=ip.address(said["peer"]["address"]),
        **_attributes(said["route"]["attributes"], external=False),
    )
