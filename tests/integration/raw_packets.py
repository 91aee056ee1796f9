"""Packets as nobody should send them: whole IPv4 headers from any place, and who receives them."""

from __future__ import annotations

import select
import socket
import struct
from time import monotonic

from bgpnet.kernel.netns import run_inside
from bgpnet.lab.probe import Place

ICMP, IPIP, UDP = 1, 4, 17
MORE = 0x2000
"""A fragment that is not the last."""
PATIENCE = 30.0
"""Seconds in which a packet that may pass arrives."""
STILL = 0.5
"""Seconds after which one that may pass is sent again."""


def datagram(port: int, text: bytes) -> bytes:
    """UDP without a checksum, which may be left out (RFC 768)."""
    return struct.pack("!HHHH", 40000, port, 8 + len(text), 0) + text


def passes(sender: Place, source: str, receiver: Place, protocol: int, payload: bytes, witness: Place) -> str:
    """As `arrives`, of what has to arrive: on a busy machine the witness's packet may overtake it."""
    deadline = monotonic() + PATIENCE
    while not (found := arrives(sender, source, receiver, protocol, payload, witness)) and monotonic() < deadline:
        continue
    return found


def header(source: str, target: str, protocol: int, fragment: int = 0) -> bytes:
    """Of IPv4, without length and checksum. fragment: flags and offset; all fragments are of one packet."""
    begin = struct.pack("!BBHHHBBH", 0x45, 0, 0, 7 if fragment else 0, fragment, 64, protocol, 0)
    return begin + socket.inet_aton(source) + socket.inet_aton(target)


def too_large(mtu: int, repeated: bytes) -> bytes:
    """ICMP's fragmentation needed (RFC 1191), about the packet that begins so."""
    text = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + repeated
    total = sum(struct.unpack(f"!{len(text) // 2}H", text))
    total = (total & 0xFFFF) + (total >> 16)
    return text[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + text[4:]


def send(place: Place, source: str, target: str, protocol: int, payload: bytes, fragment: int = 0) -> None:
    """From the place, with that source, whosever it is; the kernel adds length and checksum (raw(7))."""
    packet = header(source, target, protocol, fragment) + payload
    with run_inside(place.netns, _sender) as sender:
        sender.sendto(packet, (target, 0))


def _sender() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def arrives(sender: Place, source: str, receiver: Place, protocol: int, payload: bytes, witness: Place) -> str:
    """Under which address the packet gets through the receiver's filters; nothing: it does not.

    witness: a place from which the same packet is let through, sent afterwards: what has not come by then, does not.
    """
    mark, last = b"the first of two", b"the last of two"
    found = ""
    with run_inside(receiver.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)) as heard:
        send(sender, source, receiver.address, protocol, payload + mark)
        deadline = monotonic() + PATIENCE
        while monotonic() < deadline:
            send(witness, witness.address, receiver.address, protocol, payload + last)
            while select.select([heard], [], [], STILL)[0]:
                packet = heard.recv(65536)
                if mark in packet:
                    found = socket.inet_ntoa(packet[12:16])
                if last in packet:
                    return found
    raise AssertionError(f"not even what {witness.name} sends arrives at {receiver.name}")
