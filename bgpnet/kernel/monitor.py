"""What somebody else changed in the kernel: links, addresses, and routes of ours that went."""

from __future__ import annotations

import errno
import select
from collections.abc import Callable

from bgpnet.kernel import encode, rtnl
from bgpnet.kernel.netlink import Netlink
from bgpnet.kernel.state import Owner
from bgpnet.kernel.table import read_link

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x1, 0x10, 0x40, 0x400
LOOK = 500
"""Milliseconds after which `stop` is looked at."""


def follow(changed: Callable[[str], None], stop: Callable[[], bool], own: Callable[[], set[int]]) -> None:
    """Until stop(): call changed(reason). `own` are the netlink ports whose changes are ours."""
    netlink = Netlink(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)
    poll = select.poll()
    poll.register(netlink.fileno(), select.POLLIN)
    states: dict[int, bool] = {}
    try:
        while not stop():
            if not poll.poll(LOOK):
                continue
            try:
                received = netlink.receive()
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    raise
                changed("notifications were lost in a burst")
                continue
            for one in received:
                if one.port not in own() and (reason := _reason(one, states)):
                    changed(reason)
    finally:
        netlink.close()


def _reason(one: rtnl.Message, states: dict[int, bool]) -> str:
    match one.kind:
        case rtnl.RTM_NEWLINK:
            link = read_link(one)
            before = states.get(link.index)
            states[link.index] = link.up
            # The kernel tells of every carrier change and counter; only up and down lose or need routes.
            return "" if before == link.up else f"link {link.name} is {'up' if link.up else 'down'}"
        case rtnl.RTM_DELLINK:
            link = read_link(one)
            states.pop(link.index, None)
            return f"link {link.name} is gone" if link.group not in (encode.REAPING, encode.MAKING) else ""
        case rtnl.RTM_NEWADDR | rtnl.RTM_DELADDR:
            _, address = encode.read_address(one)
            return f"address {address} {'came' if one.kind == rtnl.RTM_NEWADDR else 'went'}"
        case rtnl.RTM_DELROUTE:
            read = encode.read_route(one, {})
            return f"route {read[1].dst} went" if read and read[0] in tuple(Owner) else ""
        case rtnl.RTM_NEWROUTE if one.flags & rtnl.NLM_F_REPLACE:
            read = encode.read_route(one, {})
            return f"route {read[1].dst} was replaced" if read and read[0] not in tuple(Owner) else ""
        case _:
            return ""
