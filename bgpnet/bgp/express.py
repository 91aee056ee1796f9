"""Plain UPDATEs past ExaBGP's own decoder, many at a time, for the launcher, which hands in what it takes of exabgp.

ExaBGP takes one message in a turn of its loop, asks the kernel twelve times about it, and makes ten objects of each
prefix. Here all UPDATEs that have arrived are taken at once; only their attributes are decoded by ExaBGP, once for the
same bytes, and what is not plain in any way is left to it. What the peer has taught stays readable by `show adj-rib`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bgpnet.bgp import plain

CHUNK = 1 << 18
"""Bytes that are read of a peer at once."""
TURN = 1 << 18
"""Bytes that one peer may say before the others have their turn, about."""
KNOWN = 1 << 20
"""Bytes of the attribute sets that are remembered of a session: a hostile peer says long ones, each but once."""
KEPT = 256
"""Bytes that remembering a set costs at least."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is taken of exabgp. attributes: decodes them for a session, None where they are wrong; special: codes that
    plain ones do not have; change: makes a route of its prefix and attributes; family: IPv4 unicast, as the
    Adj-RIB-In's key; first: what stands before the prefix in a route's key there; received, nothing: the messages that
    say so; established: the state."""

    attributes: Callable[[bytes, Any], Any]
    special: frozenset[int]
    next_hop: int
    change: Callable[[bytes, Any], Any]
    family: tuple[Any, Any]
    first: bytes
    received: Any
    nothing: Any
    established: Any


class Held:
    """A learned route in exabgp's Adj-RIB-In, in the place of its Change, which is made when somebody asks for it."""

    __slots__ = ("_attributes", "_parts", "_wire")

    def __init__(self, wire: bytes, attributes: Any, parts: Parts) -> None:
        self._wire, self._attributes, self._parts = wire, attributes, parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parts.change(self._wire, self._attributes), name)


def buffer_of(connection: Any) -> bytearray:
    """The connection's bytes that have been read ahead."""
    found = connection.__dict__.get("ahead")
    if found is None:
        found = connection.__dict__["ahead"] = bytearray()
    return found  # type: ignore[no-any-return]  # exabgp has no types


def reader(original: Callable[[Any, int], Iterator[bytes]]) -> Callable[[Any, int], Iterator[bytes]]:
    """exabgp's own way to read so many bytes, which takes first what was read ahead."""

    def read(connection: Any, number: int) -> Iterator[bytes]:
        ahead = buffer_of(connection)
        taken = bytes(ahead[:number])
        del ahead[:number]
        if len(taken) == number and number:
            yield taken
            return
        for data in original(connection, number - len(taken)):
            yield taken + data if data else b""

    return read


def messages(original: Callable[[Any], Iterator[Any]], parts: Parts) -> Callable[[Any], Iterator[Any]]:
    """exabgp's own way to read messages, for all but plain UPDATEs of an established session."""

    def read(protocol: Any) -> Iterator[Any]:
        while _is_plain(protocol, parts):
            ahead = buffer_of(protocol.connection)
            open_ = _fill(protocol.connection, ahead)
            if _take(protocol, ahead, parts):
                yield parts.received
                return
            if not open_ or not plain.is_waiting(ahead, protocol.connection.msg_size):
                break
            yield parts.nothing
        yield from original(protocol)

    return read


def _is_plain(protocol: Any, parts: Parts) -> bool:
    """Whether the session is one whose UPDATEs may be: told to the helper as we would, and without ADD-PATH."""
    if protocol.connection is None or protocol.peer.fsm != parts.established:
        return False
    api, negotiated = protocol.neighbor.api, protocol.negotiated
    if not api.get("receive-parsed") or any(api.get(f"receive-{one}") for one in ("packets", "consolidate")):
        return False
    if api.get("negotiated") or not protocol.neighbor["adj-rib-in"]:
        return False
    return parts.family in negotiated.families and not negotiated.addpath.receive(*parts.family)


def _take(protocol: Any, ahead: bytearray, parts: Parts) -> bool:
    """Tell the helper of all plain UPDATEs at the front; false when there is none."""
    session = _session(protocol)
    at, lines = 0, []
    while at < TURN and (length := plain.frame(ahead, at, protocol.connection.msg_size)):
        line = session.line(bytes(ahead[at + plain.HEADER : at + length]), parts)
        if not line:
            break
        lines.append(line)
        at += length
    if not lines:
        return False
    del ahead[:at]
    session.tell(lines)
    return True


def _fill(connection: Any, ahead: bytearray) -> bool:
    """Take whatever has arrived; false at an end or an error, which exabgp is left to find."""
    if connection.io is None:
        return False
    while len(ahead) < TURN:
        try:
            data = connection.io.recv(CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        ahead += data
    return True


def _session(protocol: Any) -> _Session:
    found = protocol.__dict__.get("express")
    if found is None:
        found = protocol.__dict__["express"] = _Session(protocol)
    return found  # type: ignore[no-any-return]  # exabgp has no types


class _Session:
    """What is the same for all UPDATEs of a session."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._known: dict[bytes, tuple[Any, str, str] | None] = {}
        self._size = 0
        neighbour = protocol.neighbor
        local, peer = neighbour["local-address"], neighbour["peer-address"]
        local_as, peer_as = neighbour["local-as"], neighbour["peer-as"]
        self._head = (
            f'{{"type": "update", "neighbor": {{"address": {{"local": "{local}", "peer": "{peer}"}}, '
            f'"asn": {{"local": {local_as}, "peer": {peer_as}}}, "direction": "receive", "message": {{"update": {{'
        )

    def line(self, body: bytes, parts: Parts) -> str:
        """The line for the helper, as exabgp would have it but for what nobody reads; empty: not plain."""
        split = plain.parts(body)
        if split is None:
            return ""
        gone, attributes, come = split
        withdrawn, announced = plain.prefixes(gone), plain.prefixes(come)
        if withdrawn is None or announced is None or not (withdrawn or announced):
            return ""
        known = self._attributes(attributes, parts)
        if known is None or (announced and not known[2]):
            return ""
        self._remember(withdrawn, announced, known[0], parts)
        told = [f'"attribute": {{{known[1]}}}'] if known[1] else []
        if announced:
            told.append(f'"announce": {{"ipv4 unicast": {{"{known[2]}": [{_listed(announced)}]}}}}')
        if withdrawn:
            told.append(f'"withdraw": {{"ipv4 unicast": [{_listed(withdrawn)}]}}')
        return f"{self._head}{', '.join(told)}}}}}}}}}"

    def _attributes(self, wire: bytes, parts: Parts) -> tuple[Any, str, str] | None:
        """Attributes, their text, and the next hop's; None where they are nothing that a plain UPDATE has."""
        if wire not in self._known:
            self._size += len(wire) + KEPT
            if self._size > KNOWN:
                self._known.clear()
                self._size = len(wire) + KEPT
            self._known[wire] = self._decoded(wire, parts)
        return self._known[wire]

    def _decoded(self, wire: bytes, parts: Parts) -> tuple[Any, str, str] | None:
        found = parts.attributes(wire, self._protocol.negotiated)
        if found is None or parts.special & found.keys():
            return None
        hop = found.get(parts.next_hop)
        return found, found.json(), "" if hop is None else str(hop)

    def _remember(self, withdrawn: list[bytes], announced: list[bytes], attributes: Any, parts: Parts) -> None:
        """In exabgp's Adj-RIB-In, in order: what is in both is announced (RFC 4271, 4.3)."""
        table = self._protocol.neighbor.rib.incoming._seen.setdefault(parts.family, {})
        first = parts.first
        for one in withdrawn:
            table.pop(first + one, None)
        for one in announced:
            table[first + one] = Held(one, attributes, parts)

    def tell(self, lines: list[str]) -> None:
        """In one piece."""
        peer, neighbour = self._protocol.peer, self._protocol.neighbor
        peer.stats["receive-update"] += len(lines)
        processes = peer.reactor.processes
        if not processes.silence:
            for process in neighbour.api["receive-update"]:
                processes.write(process, "\n".join(lines), neighbour)


def _listed(prefixes: list[bytes]) -> str:
    return ", ".join([f'"{plain.text(one)}"' for one in prefixes])
