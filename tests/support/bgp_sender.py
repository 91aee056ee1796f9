"""A BGP speaker that only speaks: one session from one address, and UPDATEs with whatever attributes (RFC 4271)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from bgpnet.bgp.rib import ORIGINS, Path
from bgpnet.model import ip
from bgpnet.model.ip import Address, Network

MARKER = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
AS_TRANS = 23456
OPTIONAL, TRANSITIVE, EXTENDED = 0x80, 0x40, 0x10
SECONDS = 20.0
HOLD = 240
AS_SET, AS_SEQUENCE = 1, 2


def message(kind: int, body: bytes = b"") -> bytes:
    """One message with its header."""
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


class Sender:
    """An established session. What the other side says after its OPEN is read by nobody."""

    def __init__(self, address: Address, as_number: int, to: tuple[Address, int], router_id: Address) -> None:
        self.address = address
        self._socket = socket.create_connection((str(to[0]), to[1]), SECONDS, source_address=(str(address), 0))
        try:
            self._open(as_number, router_id)
        except BaseException:
            self._socket.close()
            raise

    def _open(self, as_number: int, router_id: Address) -> None:
        families = struct.pack("!BBHBB", 1, 4, 1, 0, 1)  # multiprotocol: IPv4, unicast
        four_bytes = struct.pack("!BBI", 65, 4, as_number)
        capabilities = families + four_bytes
        options = struct.pack("!BB", 2, len(capabilities)) + capabilities
        number = as_number if as_number < 1 << 16 else AS_TRANS
        body = struct.pack("!BHH4sB", 4, number, HOLD, router_id.packed, len(options)) + options
        self._socket.sendall(message(OPEN, body))
        assert self._read() == OPEN, f"{self.address} is refused"
        assert self._read() == KEEPALIVE, f"{self.address} is refused"
        self._socket.sendall(message(KEEPALIVE))

    def announce(self, path: Path) -> None:
        """One UPDATE with one prefix."""
        attributes = b"".join(_attributes(path))
        body = struct.pack("!HH", 0, len(attributes)) + attributes + _nlri(path.prefix)
        self._socket.sendall(message(UPDATE, body))

    def withdraw(self, prefixes: Iterable[Network]) -> None:
        """One UPDATE for each."""
        for prefix in prefixes:
            gone = _nlri(prefix)
            self._socket.sendall(message(UPDATE, struct.pack("!H", len(gone)) + gone + struct.pack("!H", 0)))

    def say(self, body: bytes) -> None:
        """One UPDATE of these bytes, whatever they mean."""
        self._socket.sendall(message(UPDATE, body))

    def keep(self) -> None:
        """Say that it is still there, before the hold time is over."""
        self._socket.sendall(message(KEEPALIVE))

    def is_ended(self, seconds: float) -> bool:
        """Whether the other side ends the session, by a NOTIFICATION or without a word, within so many seconds."""
        self._socket.settimeout(seconds)
        try:
            while self._read() != NOTIFICATION:
                pass
        except TimeoutError:
            return False
        except (OSError, AssertionError):
            return True
        return True

    def end(self) -> None:
        """Without a goodbye."""
        self._socket.close()

    def _read(self) -> int:
        length, kind = struct.unpack("!16xHB", self._exactly(19))
        self._exactly(length - 19)
        return int(kind)

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            some = self._socket.recv(count - len(found))
            assert some, f"{self.address}: the other side hung up"
            found += some
        return found


def _nlri(prefix: Network) -> bytes:
    return bytes([prefix.prefixlen]) + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]


def _attribute(flags: int, code: int, value: bytes) -> bytes:
    return struct.pack("!BBH", flags | EXTENDED, code, len(value)) + value


def _attributes(path: Path) -> Iterable[bytes]:
    yield _attribute(TRANSITIVE, 1, bytes([ORIGINS[path.origin]]))
    yield _attribute(TRANSITIVE, 2, b"".join(_segments(path.as_path)))
    yield _attribute(TRANSITIVE, 3, path.next_hop.packed)
    if path.med is not None:
        yield _attribute(OPTIONAL, 4, struct.pack("!I", path.med))
    if path.local_pref is not None:
        yield _attribute(TRANSITIVE, 5, struct.pack("!I", path.local_pref))
    if path.originator_id:
        yield _attribute(OPTIONAL, 9, ip.address(path.originator_id).packed)
    if path.cluster_list:
        yield _attribute(OPTIONAL, 10, b"".join(ip.address(one).packed for one in path.cluster_list))


def _segments(path: Iterable[int | tuple[int, ...]]) -> Iterable[bytes]:
    for one in path:
        numbers = one if isinstance(one, tuple) else (one,)
        kind = AS_SET if isinstance(one, tuple) else AS_SEQUENCE
        yield struct.pack(f"!BB{len(numbers)}I", kind, len(numbers), *numbers)
