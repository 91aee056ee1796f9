"""UPDATEs on the wire: what is plain is taken apart, and everything else is left alone."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpnet.bgp import plain
from bgpnet.model import ip

ATTRIBUTES = bytes.fromhex("40010100400200400304c0000202")


def update(withdrawn: bytes = b"", attributes: bytes = b"", announced: bytes = b"") -> bytes:
    """A whole message."""
    body = struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attributes)) + attributes + announced
    return plain.MARKER + struct.pack("!HB", plain.HEADER + len(body), plain.UPDATE) + body


def test_a_message_is_found_whole_or_not_at_all() -> None:
    one = update(attributes=ATTRIBUTES, announced=b"\x1a\x0a\xf4\x01\x40")
    for cut in range(len(one)):
        assert plain.frame(one[:cut], 0) == 0
        assert plain.is_waiting(one[:cut])
    assert plain.frame(one, 0) == len(one)
    assert plain.frame(one + one[:30], 0) == len(one)
    assert plain.frame(one + one, len(one)) == len(one)
    assert not plain.is_waiting(one)


@pytest.mark.parametrize(
    "other",
    [
        plain.MARKER + b"\x00\x13\x04",  # KEEPALIVE
        plain.MARKER + b"\x00\x15\x03\x06\x02",  # NOTIFICATION
        b"\x00" + plain.MARKER[1:] + b"\x00\x17\x02\0\0\0\0",
        plain.MARKER + b"\x00\x14\x02\0\0\0\0",  # shorter than an UPDATE can be
    ],
)
def test_another_message_is_not_ours(other: bytes) -> None:
    assert plain.frame(other, 0) == 0
    assert not plain.is_waiting(other)


def test_a_message_that_is_longer_than_agreed_is_left_alone_at_once() -> None:
    announced = b"\x18\x0a\xf4\x01" * 1024
    long = update(attributes=ATTRIBUTES, announced=announced)
    most = update(attributes=ATTRIBUTES, announced=announced[: 4096 - len(update(attributes=ATTRIBUTES))])
    assert (len(most), plain.frame(most, 0)) == (4096, 4096)
    assert plain.frame(long, 0) == 0
    assert not plain.is_waiting(long)
    assert not plain.is_waiting(long[: plain.HEADER])
    assert plain.frame(long, 0, 65535) == len(long)
    assert plain.is_waiting(long[: plain.HEADER], 65535)


def test_the_parts_of_an_update() -> None:
    message = update(b"\x08\x0a", ATTRIBUTES, b"\x20\x01\x02\x03\x04")
    assert plain.parts(message[plain.HEADER :]) == (b"\x08\x0a", ATTRIBUTES, b"\x20\x01\x02\x03\x04")
    assert plain.parts(b"\0\0\0\0") == (b"", b"", b"")


@pytest.mark.parametrize("body", [b"\0\x05\x08\x0a\0\0", b"\0\0\0\x09\x40\x01", b"\xff\xff\0\0", b"\0\x02\x08\x0a\x01"])
def test_parts_that_do_not_fit_are_none(body: bytes) -> None:
    assert plain.parts(body) is None


@pytest.mark.parametrize("data", [b"\x21\x0a\0\0\0\0", b"\x20\x0a\0\0", b"\x08"])
def test_prefixes_that_do_not_fit_are_none(data: bytes) -> None:
    assert plain.prefixes(data) is None


@given(st.lists(st.ip_addresses(v=4).flatmap(lambda one: st.integers(0, 32).map(lambda length: (one, length)))))
def test_prefixes_are_shown_as_people_write_them(found: list[tuple[ip.Address, int]]) -> None:
    nets = [ip.network(str(ip.interface(f"{address}/{length}").network)) for address, length in found]
    wire = b"".join(bytes([net.prefixlen]) + net.network_address.packed[: (net.prefixlen + 7) // 8] for net in nets)
    prefixes = plain.prefixes(wire)
    assert prefixes is not None
    assert [plain.text(one) for one in prefixes] == [str(net) for net in nets]


@given(st.binary(max_size=80))
def test_whatever_arrives_is_taken_apart_or_not_and_nothing_else(data: bytes) -> None:
    length = plain.frame(data, 0)
    assert 0 <= length <= len(data)
    if len(data) >= 4 and (parts := plain.parts(data)) is not None:
        assert sum(map(len, parts)) == len(data) - 4
    if (prefixes := plain.prefixes(data)) is not None:
        assert sum(map(len, prefixes)) == len(data)
        assert [str(ip.network(plain.text(one))) for one in prefixes] == [plain.text(one) for one in prefixes]
