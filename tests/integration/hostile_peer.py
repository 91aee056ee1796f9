"""A neighbour that means harm: `python hostile_peer.py OWN-ADDRESS OWN-AS NODE COUNT`, run in a node of the test.

One session after another with something malformed in each, and what became of it as a line of JSON; then a session
that stands until it is killed, with routes that no node may take, and COUNT that it may.
"""

from __future__ import annotations

import json
import struct
import sys
import threading

from bgp_sender import Sender

from bgpnet.bgp.rib import Path
from bgpnet.lab.wait import until
from bgpnet.model import ip

EVIL = bytes([24, 198, 18, 66])
"""198.18.66.0/24, as a prefix of an UPDATE."""

ENDS = "longer than a message may be"
"""After this the node has to end the session; of all others it may, and is not waited for."""
NOTICED, SHORTLY = 30.0, 0.3
"""Seconds in which it does, and in which it has where it is not waited for."""

HARMLESS = bytes([25, 203, 0, 113, 128])
"""What no filter asks for: ExaBGP takes it, without what is wrong with it, where RFC 4271 would end the session."""


def attribute(flags: int, code: int, value: bytes) -> bytes:
    """One path attribute, its length as it should be."""
    return bytes([flags, code, len(value)]) + value


def body(*attributes: bytes, announced: bytes = EVIL) -> bytes:
    """An UPDATE that announces with these attributes."""
    every = b"".join(attributes)
    return struct.pack("!HH", 0, len(every)) + every + announced


def malformed(own: ip.Address, as_number: int) -> dict[str, bytes]:
    """What is wrong, and how it is said (RFC 4271, 6.3; RFC 7606)."""
    origin, path = attribute(0x40, 1, b"\0"), attribute(0x40, 2, struct.pack("!BBI", 2, 1, as_number))
    hop = attribute(0x40, 3, own.packed)
    return {
        "unknown origin": body(attribute(0x40, 1, b"\x09"), path, hop),
        "no next hop": body(origin, path),
        "short next hop": body(origin, path, attribute(0x40, 3, own.packed[:3])),
        "no AS path": body(origin, hop),
        "unknown segment": body(origin, attribute(0x40, 2, struct.pack("!BBI", 9, 1, as_number)), hop),
        "segment that ends early": body(origin, attribute(0x40, 2, struct.pack("!BBI", 2, 7, as_number)), hop),
        "attribute longer than all": struct.pack("!HH", 0, 4) + b"\x40\x01\xff\0" + EVIL,
        "attributes longer than the message": struct.pack("!HH", 0, 4000) + origin + path + hop + EVIL,
        "no origin": body(path, hop),
        ENDS: body(origin, path, hop, announced=EVIL * 1100),
        "unknown well-known attribute": body(origin, path, hop, attribute(0x40, 99, b"?"), announced=HARMLESS),
        "origin twice": body(origin, attribute(0x40, 1, b"\x02"), path),
        "prefix of 33 bits": body(origin, path, hop, announced=bytes([33, 198, 18, 66, 0, 0])),
        "prefix that ends early": body(origin, path, hop, announced=bytes([24, 198, 18])),
        "withdrawn longer than the message": struct.pack("!H", 60000) + EVIL,
        "short communities": body(origin, path, attribute(0xC0, 8, b"\1\2\3")),
    }


def opened(own: ip.Address, as_number: int, node: ip.Address) -> Sender:
    """A session; after an error the node may rest a little."""
    found: list[Sender] = []

    def missing() -> str:
        try:
            found.append(Sender(own, as_number, (node, 179), own))
        except (OSError, AssertionError) as problem:
            return f"no session: {problem}"
        return ""

    until(missing, 60)
    return found[0]


def main(own: ip.Address, as_number: int, node: ip.Address, count: int) -> None:
    """As the file's heading says."""
    for name, said in malformed(own, as_number).items():
        sender = opened(own, as_number, node)
        sender.say(said)
        print(json.dumps({"case": name, "ended": sender.is_ended(NOTICED if name == ENDS else SHORTLY)}), flush=True)
        sender.end()
    sender = opened(own, as_number, node)
    for prefix, hop, path in (
        ("0.0.0.0/0", own, ()),
        ("0.0.0.0/1", own, ()),
        ("203.0.113.0/24", own, ()),
        ("127.0.0.0/8", own, ()),
        ("198.18.70.0/24", node, ()),
        ("198.18.71.0/24", ip.address("198.51.100.1"), ()),
        ("198.18.72.0/24", ip.address("224.0.0.1"), ()),
        ("198.18.73.0/24", own, (64512,)),
        (f"{node}/32", own, ()),
        *((f"198.19.{number}.0/24", own, ()) for number in range(count)),
    ):
        sender.announce(Path(prefix=ip.network(prefix), next_hop=hop, peer=own, as_path=(as_number, *path)))
    print(json.dumps({"case": "standing", "ended": False}), flush=True)
    pause = threading.Event()
    while not pause.wait(5):
        sender.keep()


if __name__ == "__main__":
    main(ip.address(sys.argv[1]), int(sys.argv[2]), ip.address(sys.argv[3]), int(sys.argv[4]))
