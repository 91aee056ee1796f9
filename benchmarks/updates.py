"""What the BGP benchmarks send and see: sessions that only speak (RFC 4271), and routes as a kernel tells of them."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network

from benchmarks.spawn import inside

MARKER = b"\xff" * 16
OPEN, UPDATE, KEEPALIVE = 1, 2, 4
AS_NUMBER = 64512
HOLD = 240
END_OF_RIB = MARKER + struct.pack("!HBHH", 23, UPDATE, 0, 0)
DEADLINE = 120.0
RTM_NEWROUTE, RTM_DELROUTE, RTMGRP_IPV4_ROUTE = 24, 25, 0x40  # linux/rtnetlink.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
ROOM = 256 << 20


def _message(kind: int, body: bytes) -> bytes:
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def _nlri(nets: Iterable[IPv4Network]) -> bytes:
    return b"".join(bytes([net.prefixlen]) + net.network_address.packed[: (net.prefixlen + 7) // 8] for net in nets)


def announcement(nets: Sequence[IPv4Network], next_hop: IPv4Address) -> bytes:
    """One UPDATE, as a router of the same AS has it: ORIGIN igp, an empty AS_PATH, NEXT_HOP, LOCAL_PREF 100."""
    attributes = b"\x40\x01\x01\x00" + b"\x40\x02\x00" + b"\x40\x03\x04" + next_hop.packed + b"\x40\x05\x04\0\0\0\x64"
    return _message(UPDATE, struct.pack("!HH", 0, len(attributes)) + attributes + _nlri(nets))


def withdrawal(nets: Sequence[IPv4Network]) -> bytes:
    """One UPDATE."""
    gone = _nlri(nets)
    return _message(UPDATE, struct.pack("!H", len(gone)) + gone + b"\0\0")


class Session:
    """An established session of a router that learns nothing; End-of-RIB is said."""

    def __init__(self, address: IPv4Address, to: IPv4Address, within: float = DEADLINE) -> None:
        self._socket = _connected(address, to, within)
        families, restart, four = b"\x01\x04\0\x01\0\x01", b"\x40\x02\0\x78", struct.pack("!BBI", 65, 4, AS_NUMBER)
        capabilities = families + restart + four
        options = struct.pack("!BB", 2, len(capabilities)) + capabilities
        body = struct.pack("!BHH4sB", 4, AS_NUMBER, HOLD, address.packed, len(options)) + options
        self._socket.sendall(_message(OPEN, body))
        self._read()
        self._socket.sendall(_message(KEEPALIVE, b""))
        self._read()
        self._socket.sendall(END_OF_RIB)

    def send(self, messages: bytes) -> None:
        """All of it; raises OSError when the session is over."""
        self._socket.sendall(messages)

    def alive(self) -> bool:
        """Whether the other side has not hung up; what it says is read by nobody else."""
        self._socket.setblocking(False)
        try:
            while data := self._socket.recv(1 << 16):
                if data[18:19] == b"\x03":  # NOTIFICATION
                    return False
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(DEADLINE)
        return False

    def end(self) -> None:
        """Without a goodbye."""
        self._socket.close()

    def _read(self) -> None:
        length = int.from_bytes(self._exactly(19)[16:18], "big")
        self._exactly(length - 19)

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            some = self._socket.recv(count - len(found))
            if not some:
                raise SystemExit("the BGP speaker that is measured hung up")
            found += some
        return found


def _connected(address: IPv4Address, to: IPv4Address, within: float) -> socket.socket:
    deadline = time.monotonic() + within
    while True:
        try:
            found = socket.create_connection((str(to), 179), 5, source_address=(str(address), 0))
        except OSError as problem:
            if time.monotonic() > deadline:
                raise SystemExit(f"{to} takes no BGP session from {address}: {problem.strerror}") from problem
            time.sleep(0.02)
            continue
        found.settimeout(DEADLINE)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found


class Routes:
    """A kernel's notifications of routes that come and go, counted as they are read."""

    def __init__(self, netns: str) -> None:
        with inside(netns):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        self._socket.bind((0, RTMGRP_IPV4_ROUTE))
        self._socket.settimeout(DEADLINE)

    def await_(self, kind: int, count: int) -> float:
        """When so many routes have come, or gone (perf_counter); each counts once, told of twice or not."""
        buffer, seen = bytearray(1 << 20), set[bytes]()
        while len(seen) < count:
            try:
                size = self._socket.recv_into(buffer)
            except TimeoutError:
                raise SystemExit(f"only {len(seen)} of {count} routes after {DEADLINE:g} s") from None
            at = 0
            while at < size:
                length, told = struct.unpack_from("=IH", buffer, at)
                if told == kind:
                    # rtmsg, RTA_TABLE (8 bytes), then RTA_DST; with the prefix length in front
                    seen.add(bytes((buffer[at + 17],)) + buffer[at + 40 : at + 44])
                at += (length + 3) & ~3
        return time.perf_counter()

    def drain(self) -> None:
        """Forget what was told so far."""
        while select.select([self._socket], [], [], 0.05)[0]:
            self._socket.recv(1 << 20)

    def close(self) -> None:
        """No more."""
        self._socket.close()


@contextmanager
def watched(netns: str) -> Iterator[Routes]:
    """The routes of a namespace while the block runs."""
    routes = Routes(netns)
    try:
        yield routes
    finally:
        routes.close()
