"""Another reading of ExaBGP's lines, which knows nothing of bgpnet.bgp.lines: strict, by json and ipaddress alone."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

Key = tuple[str, str, int]
"""Peer, prefix, path identifier."""
Route = tuple[Any, ...]
"""Next hop and attributes of a path, by plain values."""


class Wrong(ValueError):
    """The line means nothing."""


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
    told = _mapping(inner.get("attribute", {}))
    malformed = told.get("origin", "invalid") == "invalid"
    origin, path, preference, *others = _read_attributes({**told, "origin": "igp"} if malformed else told)
    external = _neighbour(said)[1]
    if external:
        preference, others[-2:] = None, ["", ()]
    plain = (origin, path, preference, *others, external)
    put: list[tuple[Key, Route]] = []
    gone = [
        (peer, *_nlri(route)) for family in _mapping(inner.get("withdraw", {})).values() for route in _listed(family)
    ]
    for family in _mapping(inner.get("announce", {})).values():
        for hop, routes in _mapping(family).items():
            keys = [(peer, *_nlri(route)) for route in _listed(routes)]
            if malformed or hop == "no-nexthop":
                gone += keys
            else:
                put += [(key, (_address(hop), *plain)) for key in keys]
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
