"""rtnetlink messages as bytes, packed by hand: the hot paths (routes, pods) write thousands of them. Pure.

Constants have the names of linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h and fib_rules.h. The tests decode every
message with pyroute2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_SETNEIGHTBL = 67
RTM_NEWNETCONF = 80
NETCONF = 4
"""Bytes of struct netconfmsg, with its padding."""
NETCONFA_IFINDEX, NETCONFA_FORWARDING, NETCONFA_RP_FILTER = 1, 2, 3
NETCONFA_IFINDEX_ALL = 0xFFFFFFFF

AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6 = 0, 2, 7, 10
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 5, 18, 20
IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_EXT_MASK = 26, 27, 28, 31, 32, 29
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER, IFLA_INET_CONF = 1, 2, 1, 1
IFLA_INET6_CONF, IFLA_INET6_ADDR_GEN_MODE, DEVCONF_ACCEPT_RA, IN6_ADDR_GEN_MODE_NONE = 2, 8, 3, 1
IFLA_VXLAN_ID, IFLA_VXLAN_GROUP, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING = 1, 2, 3, 4, 7
IFLA_VXLAN_PROXY, IFLA_VXLAN_RSC, IFLA_VXLAN_L2MISS, IFLA_VXLAN_L3MISS, IFLA_VXLAN_PORT = 11, 12, 13, 14, 15
IFLA_VXLAN_GROUP6, IFLA_VXLAN_UDP_CSUM, IFLA_VXLAN_GBP, IFLA_VXLAN_COLLECT_METADATA = 16, 18, 23, 25
IPV4_DEVCONF_FORWARDING, IPV4_DEVCONF_PROXY_ARP, IPV4_DEVCONF_RP_FILTER = 1, 3, 8
RTEXT_FILTER_SKIP_STATS = 8
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_TABLE = 1, 4, 5, 6, 9, 15
NDA_DST, NDA_LLADDR, NDA_PROTOCOL = 1, 2, 12
NDTA_NAME, NDTA_PARMS, NDTPA_IFINDEX, NDTPA_PROXY_DELAY = 1, 6, 1, 13
FRA_SRC, FRA_PRIORITY, FRA_TABLE, FRA_PROTOCOL = 2, 6, 15, 21
FR_ACT_TO_TBL = 1
NUD_PERMANENT = 0x80
NTF_SELF = 2
NLA_F_NESTED = 0x8000
NLMSGERR_ATTR_MSG = 1
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
IFF_UP = 1
RT_TABLE_UNSPEC, RT_TABLE_MAIN = 0, 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNSPEC, RTN_UNICAST, RTN_BLACKHOLE = 0, 1, 6
RTPROT_BOOT = 3
RTM_F_FIB_MATCH = 0x2000
RTNH_F_ONLINK = 4

HEADER = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")
ADDR = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")
"""A route's fixed part, and a rule's: there the source's length comes third, the action eighth."""
NEIGH = struct.Struct("=BxxxiHBB")
ATTR = struct.Struct("=HH")
NEXTHOP = struct.Struct("=HBBi")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


def attr(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return ATTR.pack(len(data) + 4, kind) + data + _PAD[len(data) & 3]


def text(kind: int, value: str) -> bytes:
    """A string attribute, closed by a NUL."""
    return attr(kind, value.encode(errors="surrogateescape") + b"\0")


def u32(kind: int, value: int) -> bytes:
    """A number of the host's byte order."""
    return attr(kind, struct.pack("=I", value))


def nested(kind: int, *parts: bytes) -> bytes:
    """Attributes inside an attribute."""
    return attr(kind | NLA_F_NESTED, b"".join(parts))


def message(kind: int, flags: int, body: bytes, seq: int = 0) -> bytes:
    """A whole message; the sequence number is set when it is sent (see `numbered`)."""
    return HEADER.pack(len(body) + 16, kind, flags | NLM_F_REQUEST, seq, 0) + body


def numbered(raw: bytes, seq: int, flags: int = 0) -> bytes:
    """The message with its sequence number, and more flags."""
    length, kind, before, _, port = HEADER.unpack_from(raw)
    return HEADER.pack(length, kind, before | flags, seq, port) + raw[16:]


@lru_cache(maxsize=4)
def mac(value: str) -> bytes:
    """`ee:ee:…` as bytes."""
    return bytes.fromhex(value.replace(":", ""))


class Message(NamedTuple):
    """A received message: the type's fixed part starts at byte 0 of `body`."""

    kind: int
    flags: int
    seq: int
    port: int
    body: bytes


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    at = 0
    while at + 16 <= len(data):
        length, kind, flags, seq, port = HEADER.unpack_from(data, at)
        if length < 16 or at + length > len(data):
            return
        yield Message(kind, flags, seq, port, data[at + 16 : at + length])
        at += (length + 3) & ~3


def attributes(body: bytes, start: int) -> dict[int, bytes]:
    """The attributes after a fixed part of `start` bytes; of several of one kind, the last."""
    found: dict[int, bytes] = {}
    at, end = start, len(body)
    while at + 4 <= end:
        length, kind = ATTR.unpack_from(body, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = body[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def string(data: bytes) -> str:
    """A string attribute's value."""
    return data.rstrip(b"\0").decode(errors="surrogateescape")


def number(data: bytes) -> int:
    """A number attribute's value."""
    return int.from_bytes(data, "little" if struct.pack("=H", 1)[0] else "big")


def done(one: Message) -> int:
    """The errno (positive) that an NLMSG_DONE ends with, 0 when the dump is whole."""
    return -struct.unpack_from("=i", one.body)[0] if len(one.body) >= 4 else 0


def failure(one: Message) -> tuple[int, str]:
    """The errno (positive) of an NLMSG_ERROR, 0 for an acknowledgement, and the kernel's own words if it gave any."""
    code = -struct.unpack_from("=i", one.body)[0]
    if not one.flags & NLM_F_ACK_TLVS:
        return code, ""
    length = struct.unpack_from("=I", one.body, 4)[0]
    start = 4 + (16 if one.flags & NLM_F_CAPPED else (length + 3) & ~3)
    told = attributes(one.body, start).get(NLMSGERR_ATTR_MSG, b"")
    return code, string(told)
