"""IPv4 UPDATEs as they are on the wire, without their attributes' meaning: what most of a table consists of. Pure.

Whatever is not well-formed or not plain (RFC 4271, 4.3) is None here, and left to ExaBGP, which knows what to do of it.
"""

from __future__ import annotations

from functools import lru_cache

MARKER = b"\xff" * 16
HEADER = 19
"""Bytes of a message's header: the marker, its length, its type."""
UPDATE = 2
_ADDRESS = 4
_BITS = 32


LONGEST = 4096
"""Bytes of a message, unless the session has extended ones (RFC 8654)."""


def frame(buffer: bytes | bytearray, at: int, longest: int = LONGEST) -> int:
    """The length of the whole UPDATE that begins there; 0 where there is none, or something else, or a longer one."""
    if len(buffer) - at < HEADER + 4 or buffer[at + 18] != UPDATE or buffer[at : at + 16] != MARKER:
        return 0
    length = buffer[at + 16] << 8 | buffer[at + 17]
    return length if HEADER + 4 <= length <= min(longest, len(buffer) - at) else 0


def is_waiting(buffer: bytes | bytearray, longest: int = LONGEST) -> bool:
    """Whether what is there is the beginning of a message, or nothing; false for a whole one, and for what is none."""
    if buffer[:16] != MARKER[: len(buffer)]:
        return False
    return len(buffer) < HEADER or len(buffer) < (buffer[16] << 8 | buffer[17]) <= longest


def parts(body: bytes) -> tuple[bytes, bytes, bytes] | None:
    """The three parts of an UPDATE's body: withdrawn routes, path attributes, and what is announced."""
    after = 2 + (body[0] << 8 | body[1])
    if after + 2 > len(body):
        return None
    begin = after + 2
    end = begin + (body[after] << 8 | body[after + 1])
    if end > len(body):
        return None
    return body[2:after], body[begin:end], body[end:]


def prefixes(data: bytes) -> list[bytes] | None:
    """The prefixes one by one, each as on the wire: its length in bits, and as many bytes as that needs.

    Bits behind the prefix mean nothing (RFC 4271, 4.3) and are made 0.
    """
    found, at, end = [], 0, len(data)
    while at < end:
        bits = data[at]
        after = at + 1 + (bits + 7 >> 3)
        if bits > _BITS or after > end:
            return None
        one = data[at:after]
        if bits & 7 and one[-1] & 0xFF >> (bits & 7):
            one = one[:-1] + bytes((one[-1] & ~(0xFF >> (bits & 7)) & 0xFF,))
        found.append(one)
        at = after
    return found


@lru_cache(maxsize=1 << 15)
def text(prefix: bytes) -> str:
    """`10.0.0.0/26`."""
    a, b, c, d = prefix[1:].ljust(_ADDRESS, b"\0")
    return f"{a}.{b}.{c}.{d}/{prefix[0]}"
